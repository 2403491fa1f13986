"""Area under the receiver operating characteristic."""

from typing import Literal

import numpy as np
from pydantic import Field
from sklearn.metrics import roc_auc_score

from modyn.evaluation.metrics import Metric, class_labels, single_class
from modyn.types import Array


class RocAuc(Metric):
    """The chance that a positive sample is ranked above a negative one; over several classes, one against the rest.

    Undefined where the window holds a single class; over several classes, those missing from the window are left out.

    >>> import numpy as np
    >>> RocAuc().score(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]))
    0.5
    """

    average: Literal["macro", "weighted"] = Field("macro", description="how several classes' areas are combined")

    def score(self, labels: Array, outputs: Array) -> float:
        classes, scores = class_labels(labels, outputs)
        single_class(classes)
        if scores.shape[1] == 2:
            return float(roc_auc_score(classes, scores[:, 1]))
        present, counts = np.unique(classes, return_counts=True)
        areas = [roc_auc_score(classes == label, scores[:, label]) for label in present]
        return float(np.average(areas, weights=counts if self.average == "weighted" else None))
