"""Harmonic mean of precision and recall."""

from typing import Literal

from pydantic import Field
from sklearn.metrics import f1_score

from modyn.errors import EvaluationError
from modyn.evaluation.metrics import Metric, class_labels
from modyn.types import Array


class F1(Metric):
    """The F1 score: the harmonic mean of precision and recall, combined over the classes that are present or predicted.

    >>> import numpy as np
    >>> round(F1(average="binary").score(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])), 3)
    0.667
    """

    average: Literal["macro", "micro", "weighted", "binary"] = Field(
        "macro", description="how the classes' scores are combined; binary = that of class 1"
    )

    def score(self, labels: Array, outputs: Array) -> float:
        classes, scores = class_labels(labels, outputs)
        if self.average == "binary" and scores.shape[1] != 2:
            raise EvaluationError(f"f1 with average: binary needs two classes; the model gives {scores.shape[1]}")
        return float(f1_score(classes, scores.argmax(axis=1), average=self.average, zero_division=0))
