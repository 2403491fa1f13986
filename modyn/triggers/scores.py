"""Scores of the deployed checkpoint that a trigger can watch."""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import AfterValidator

from modyn.errors import did_you_mean
from modyn.triggers import Features
from modyn.types import Array, Int64s

HIGHER_IS_BETTER = {
    "accuracy": True,
    "balanced-accuracy": True,
    "f1-macro": True,
    "roc-auc": True,
    "loss": False,
    "mean-absolute-error": False,
}

NOT_OF_CLASSES = frozenset({"loss", "mean-absolute-error"})
"""Scores that do not say how many samples were wrong."""


def _known(name: str) -> str:
    if name not in HIGHER_IS_BETTER:
        raise ValueError(f"no score is named '{name}'. {did_you_mean(name, HIGHER_IS_BETTER)}")
    return name


ScoreName = Annotated[str, AfterValidator(_known)]
"""accuracy, balanced-accuracy, f1-macro, roc-auc, loss or mean-absolute-error."""


class Scored(NamedTuple):
    """Which of the keys had a label, the score on them (NaN = undefined), and how many of them were wrong (NaN for regression)."""

    keys: Int64s
    value: float
    num_wrong: float


def score(features: Features, name: str, keys: Int64s) -> Scored:
    """The deployed checkpoint's score on the keys whose labels are known."""
    kind = {"accuracy": "error", "loss": "loss"}.get(name, "label")
    column = features.get(kind, keys).reshape(len(keys), -1)[:, 0]
    known = np.isfinite(column)
    keys, column = keys[known], column[known]
    if not len(keys):
        return Scored(keys, float("nan"), 0.0)
    if name == "accuracy":
        return Scored(keys, float(1 - column.mean()), float(column.sum()))
    if name == "loss":
        return Scored(keys, float(column.mean()), float("nan"))
    predicted = features.get("prediction", keys).reshape(len(keys), -1)
    if name == "mean-absolute-error":
        return Scored(keys, float(np.abs(predicted[:, 0] - column).mean()), float("nan"))
    classes = _classes(predicted)
    return Scored(keys, _of_classes(name, column, classes, predicted), float((classes != column).sum()))


def _classes(predicted: Array) -> Array:
    return np.asarray(predicted.argmax(axis=1) if predicted.shape[1] > 1 else predicted[:, 0] >= 0.5, dtype=np.int64)


def _of_classes(name: str, labels: Array, classes: Array, predicted: Array) -> float:
    from sklearn import metrics

    labels = labels.astype(np.int64)
    if name == "f1-macro":
        return float(metrics.f1_score(labels, classes, average="macro", zero_division=0))
    present = np.unique(labels)
    if name == "balanced-accuracy":
        return float(np.mean([(classes[labels == label] == label).mean() for label in present]))
    if len(present) < 2:
        return float("nan")
    if predicted.shape[1] <= 2:
        return float(metrics.roc_auc_score(labels == present[-1], predicted[:, -1]))
    areas = [metrics.roc_auc_score(labels == label, predicted[:, label]) for label in present]
    return float(np.mean(areas))
