"""Metrics: a number for the predictions on one window."""

from typing import ClassVar

import numpy as np

from modyn.errors import EvaluationError
from modyn.policy import Policy
from modyn.types import Array


class Undefined(Exception):
    """The metric has no value on this window; the message says why. It is shown as undefined, never as 0."""


class Metric(Policy):
    """Scores predictions against labels."""

    role: ClassVar[str] = "metric"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "classes"
    """``classes``: class labels and ``outputs[n, classes]`` that are scores of classes; ``probabilities``: the same, and a hard
    guess will not do; ``values``: real labels and ``outputs[n]`` or ``[n, columns]``."""

    def score(self, labels: Array, outputs: Array) -> float:
        """The metric of ``outputs`` against ``labels[n]``. Raises Undefined where it has no value."""
        raise NotImplementedError


def class_labels(labels: Array, outputs: Array) -> tuple[Array, Array]:
    """Labels as integers ``[n]`` and outputs as ``[n, classes]``; one output column is the probability of class 1.

    Raises EvaluationError if the labels are not whole numbers within the classes.
    """
    scores = outputs[:, None] if outputs.ndim == 1 else outputs
    if scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    classes = labels.astype(np.int64)
    if labels.ndim != 1 or not np.array_equal(classes, labels) or (len(classes) and classes.min() < 0):
        raise EvaluationError("this metric needs whole-number class labels >= 0; these labels are not")
    if len(classes) and classes.max() >= scores.shape[1]:
        raise EvaluationError(f"label {classes.max()} has no output: the model gives {scores.shape[1]} classes")
    return classes, scores


def as_values(labels: Array, outputs: Array) -> Array:
    """Outputs in the shape of real-valued labels. Raises EvaluationError if the model gives another number of values a sample."""
    if outputs.size != labels.size:
        per_sample = outputs.size // max(1, len(outputs))
        raise EvaluationError(
            f"this metric needs one output for each label value; the model gives {per_sample} a sample"
        )
    return outputs.reshape(labels.shape)


def single_class(classes: Array) -> None:
    """Raise Undefined if the labels hold fewer than two classes."""
    found = np.unique(classes)
    if len(found) < 2:
        raise Undefined(f"all labels are {found[0]}" if len(found) else "no samples")
