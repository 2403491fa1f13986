"""How far confidence lies from accuracy."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from modyn.evaluation.metrics import Metric, class_labels
from modyn.types import Array


class CalibrationError(Metric):
    """Expected calibration error: the mean gap between confidence and accuracy over equal-width bins of confidence.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Lower is better.

    >>> import numpy as np
    >>> CalibrationError().score(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    0.0
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[str] = "probabilities"
    bins: int = Field(15, ge=1, description="how many bins of confidence")

    def score(self, labels: Array, outputs: Array) -> float:
        classes, scores = class_labels(labels, outputs)
        confidence = scores.max(axis=1).astype(np.float64)
        right = (scores.argmax(axis=1) == classes).astype(np.float64)
        which = np.clip(np.ceil(confidence * self.bins).astype(np.int64) - 1, 0, self.bins - 1)
        gaps = np.bincount(which, weights=right - confidence, minlength=self.bins)
        return float(np.abs(gaps).sum() / len(classes))
