"""Share of the labels' variance that the outputs explain."""

from typing import ClassVar

import numpy as np
from sklearn.metrics import r2_score

from modyn.evaluation.metrics import Metric, Undefined, as_values
from modyn.types import Array


class R2(Metric):
    """The coefficient of determination: 1 is perfect, 0 no better than the mean. Undefined where all labels are equal.

    >>> import numpy as np
    >>> R2().score(np.array([0.0, 1.0]), np.array([[0.0], [1.0]]))
    1.0
    """

    needs: ClassVar[str] = "values"

    def score(self, labels: Array, outputs: Array) -> float:
        if len(labels) < 2 or np.all(labels == labels[0]):
            raise Undefined("all labels are equal")
        return float(r2_score(labels, as_values(labels, outputs)))
