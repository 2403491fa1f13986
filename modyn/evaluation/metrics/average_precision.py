"""Area under the precision-recall curve."""

import numpy as np
from sklearn.metrics import average_precision_score

from modyn.evaluation.metrics import Metric, class_labels, single_class
from modyn.types import Array


class AveragePrecision(Metric):
    """The area under the precision-recall curve of class 1; over several classes, the mean of each against the rest.

    Undefined where the window holds a single class; over several classes, those missing from the window are left out.

    >>> import numpy as np
    >>> AveragePrecision().score(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    1.0
    """

    def score(self, labels: Array, outputs: Array) -> float:
        classes, scores = class_labels(labels, outputs)
        single_class(classes)
        if scores.shape[1] == 2:
            return float(average_precision_score(classes, scores[:, 1]))
        return float(np.mean([average_precision_score(classes == c, scores[:, c]) for c in np.unique(classes)]))
