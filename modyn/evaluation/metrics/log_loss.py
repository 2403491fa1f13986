"""Negative log likelihood of the labels."""

from typing import ClassVar

import numpy as np
from sklearn.metrics import log_loss

from modyn.evaluation.metrics import Metric, class_labels
from modyn.types import Array


class LogLoss(Metric):
    """The mean negative log of the probability given to the label, in nats; lower is better.

    >>> import numpy as np
    >>> round(LogLoss().score(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]])), 4)
    0.6931
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[str] = "probabilities"

    def score(self, labels: Array, outputs: Array) -> float:
        classes, scores = class_labels(labels, outputs)
        # Float32 rows sum to 1 only to seven digits, which scikit-learn warns about.
        wide = scores.astype(np.float64)
        return float(log_loss(classes, wide / wide.sum(axis=1, keepdims=True), labels=np.arange(scores.shape[1])))
