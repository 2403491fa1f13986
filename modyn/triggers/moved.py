"""Which columns or classes moved most between two windows."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modyn.drift import complete
from modyn.types import Array, Float64s

MOST = 5


def moved_most(reference: Array, current: Array, *, names: Sequence[str | int]) -> list[dict[str, Any]]:
    """The columns of ``[n, d]`` and ``[m, d]`` whose means moved most, in standard deviations (of both, root mean square); for labels the classes' shares.

    >>> moved_most(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[1.0, 3.0]]), names=["temperature", "wind"])[0]
    {'column': 'wind', 'before': 1.0, 'after': 3.0, 'by': 2.0}
    """
    if not len(reference) or not len(current):
        return []
    if list(names) == ["label"]:
        return _classes(reference[:, 0], current[:, 0])
    reference, current = complete(reference, current)
    (before, variance), (after, variance_after) = _moments(reference), _moments(current)
    spread = np.sqrt((variance + variance_after) / 2)
    by = (after - before) / np.where(spread > 0, spread, 1.0)
    return _largest("column", names, before, after, by)


def _moments(rows: Array) -> tuple[Float64s, Float64s]:
    """The mean and the variance of each column."""
    apart = rows.astype(np.float64)
    mean = apart.mean(axis=0)
    apart -= mean
    return mean, np.einsum("ij,ij->j", apart, apart) / len(apart)


def _classes(reference: Array, current: Array) -> list[dict[str, Any]]:
    reference, current = reference[np.isfinite(reference)], current[np.isfinite(current)]
    classes = np.union1d(reference, current)
    if not len(reference) or not len(current) or len(classes) > 1000:
        return []
    before, after = (
        np.bincount(np.searchsorted(classes, labels), minlength=len(classes)) / len(labels)
        for labels in (reference, current)
    )
    named = [int(value) if value.is_integer() else value for value in classes.astype(np.float64).tolist()]
    return _largest("class", named, before, after, after - before)


def _largest(
    what: str, names: Sequence[str | int | float], before: Float64s, after: Float64s, by: Float64s
) -> list[dict[str, Any]]:
    order = np.argsort(-np.abs(by), kind="stable")[:MOST]
    rows = zip(order.tolist(), *(array[order].tolist() for array in (before, after, by)), strict=True)
    return [
        {what: names[row], "before": round(b, 6), "after": round(a, 6), "by": round(moved, 6)}
        for row, b, a, moved in rows
        if moved != 0 and math.isfinite(moved)
    ]
