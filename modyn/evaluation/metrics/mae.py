"""Mean absolute error."""

from typing import ClassVar

from sklearn.metrics import mean_absolute_error

from modyn.evaluation.metrics import Metric, as_values
from modyn.types import Array


class Mae(Metric):
    """Mean absolute error: the mean distance between output and label, in the label's unit; lower is better.

    >>> import numpy as np
    >>> round(Mae().score(np.array([0.0, 1.0]), np.array([[0.0], [2.0]])), 4)
    0.5
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[str] = "values"

    def score(self, labels: Array, outputs: Array) -> float:
        return float(mean_absolute_error(labels, as_values(labels, outputs)))
