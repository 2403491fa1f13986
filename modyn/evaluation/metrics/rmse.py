"""Root mean squared error."""

from typing import ClassVar

from sklearn.metrics import root_mean_squared_error

from modyn.evaluation.metrics import Metric, as_values
from modyn.types import Array


class Rmse(Metric):
    """Root mean squared error: the root of the mean squared distance between output and label, in the label's unit; lower is better.

    >>> import numpy as np
    >>> round(Rmse().score(np.array([0.0, 1.0]), np.array([[0.0], [2.0]])), 4)
    0.7071
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[str] = "values"

    def score(self, labels: Array, outputs: Array) -> float:
        return float(root_mean_squared_error(labels, as_values(labels, outputs)))
