"""Share of samples whose class is predicted."""

import numpy as np
from pydantic import Field

from modyn.evaluation.metrics import Metric, class_labels
from modyn.types import Array


class Accuracy(Metric):
    """The share of samples whose label is among the ``top`` highest outputs.

    >>> import numpy as np
    >>> Accuracy().score(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    top: int = Field(1, ge=1, description="how many of the highest outputs count")

    def score(self, labels: Array, outputs: Array) -> float:
        classes, scores = class_labels(labels, outputs)
        if self.top == 1:
            return float(np.mean(scores.argmax(axis=1) == classes))
        if self.top >= scores.shape[1]:
            return 1.0
        best = np.argpartition(scores, -self.top, axis=1)[:, -self.top :]
        return float(np.mean((best == classes[:, None]).any(axis=1)))
