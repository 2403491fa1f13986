"""How far two samples of data lie apart: distances between two arrays, pure functions, no torch at import.

What every metric does with odd data:

- A value that is not finite is missing. Metrics of single columns leave it out; metrics of whole rows put the reference's mean of
  that column in its place, so that a missing value neither hides nor makes drift.
- A column without a known value in either window has no distance and takes no part; an empty window has none at all. No distance is NaN,
  and NaN never meets a criterion.
- Constant and equal columns are at distance 0 with p-value 1. Identical windows are at the least distance the metric has.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from modyn.policy import Policy
from modyn.types import Array, Float64s


class Distance(NamedTuple):
    """A distance (high = different), its p-value where a test exists, and the share of it each column has, where known."""

    value: float
    p_value: float | None = None
    per_column: Array | None = None


class SquaredDistances(NamedTuple):
    """Between the rows of two windows: ``reference[n, n]``, ``between[m, n]`` and ``current[m, m]``, 0 between a row and itself."""

    reference: Array
    between: Array
    current: Array


UNDEFINED = Distance(float("nan"))
"""What a metric answers where there is nothing to compare."""


class DriftMetric(Policy):
    """Measures how far the current window lies from the reference window."""

    role: ClassVar[str] = "drift-metric"

    pca: PositiveInt | None = Field(
        None, description="first project both windows on so many principal components of the reference (null = do not)"
    )

    @property
    def gives_p_value(self) -> bool:
        """Whether its distances come with a p-value."""
        return bool(getattr(self, "permutations", 1))

    def distance(self, reference: Array, current: Array, *, seed: int = 0) -> Distance:
        """The distance between ``reference[n, d]`` and ``current[m, d]``; ``seed`` feeds whatever is random in it."""
        reference, current = as_rows(reference), as_rows(current)
        if not len(reference) or not len(current):
            return UNDEFINED
        if self.pca is not None:
            reference, current = project(*complete(reference, current), components=self.pca)
        return self.measure(reference, current, seed=seed)

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        """The distance between two windows that are not empty; what a metric defines."""
        raise NotImplementedError

    @property
    def needs_rows(self) -> bool:
        """Whether it looks at the rows themselves, not only at the distances between them."""
        return True

    def of_distances(self, squared: SquaredDistances, *, seed: int) -> Distance:
        """The same as ``distance``, up to rounding, from the distances between the rows; for metrics that need no more."""
        raise NotImplementedError


class PerColumn(DriftMetric):
    """A metric of single columns, combined over the columns."""

    combine: Literal["mean", "max", "share", "bonferroni", "benjamini-hochberg"] = Field(
        "mean",
        description="mean or max of the columns' distances; share of columns above column_threshold; or share of columns whose p-value, "
        "corrected for their number by bonferroni or benjamini-hochberg, is at most alpha",
    )
    column_threshold: float | None = Field(None, description="the distance above which combine: share counts a column")
    alpha: float = Field(0.05, gt=0, lt=1, description="the level that a corrected p-value is compared with")
    has_p_value: ClassVar[bool] = True

    @property
    def gives_p_value(self) -> bool:
        return self.has_p_value and super().gives_p_value

    @model_validator(mode="after")
    def _combinable(self) -> "PerColumn":
        if (self.combine == "share") != (self.column_threshold is not None):
            raise ValueError("combine: share and column_threshold go together")
        if self.combine in ("bonferroni", "benjamini-hochberg") and not self.has_p_value:
            raise ValueError(
                f"combine: {self.combine} needs p-values, which this metric has not; use mean, max or share"
            )
        return self

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        """The distance between ``reference[n]`` and ``current[m]``, all finite, neither empty; what a metric defines."""
        raise NotImplementedError

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        found = [
            self.column(*pair, seed=seed) if min(map(len, pair := (known(r), known(c)))) else UNDEFINED
            for r, c in zip(reference.T, current.T, strict=True)
        ]
        values = np.array([distance.value for distance in found])
        p_values = np.array([np.nan if d.p_value is None else d.p_value for d in found])
        return self._combined(values, p_values)

    def _combined(self, values: Float64s, p_values: Float64s) -> Distance:
        usable, tested = values[~np.isnan(values)], p_values[~np.isnan(p_values)]
        if not len(usable):
            return Distance(float("nan"), None, values)
        corrected = benjamini_hochberg(tested) if self.combine == "benjamini-hochberg" else bonferroni(tested)
        overall = float(corrected.min()) if len(corrected) else None
        if self.combine == "mean":
            value = float(usable.mean())
        elif self.combine == "max":
            value = float(usable.max())
        elif self.combine == "share":
            value = float(np.mean(usable > (self.column_threshold or 0.0)))
        else:
            value = float(np.mean(corrected <= self.alpha)) if len(corrected) else float("nan")
        return Distance(value, overall, values)


def as_rows(values: Array) -> Array:
    """``values[n]`` or ``values[n, ...]`` as ``[n, d]`` floats (float32 stays float32)."""
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    return array.reshape(len(array), math.prod(array.shape[1:]))


def known(column: Array) -> Float64s:
    """The finite values of a column, as float64."""
    column = column.astype(np.float64, copy=False)
    finite = np.isfinite(column)
    return np.ascontiguousarray(column if finite.all() else column[finite])


def complete(reference: Array, current: Array) -> tuple[Array, Array]:
    """Both windows with the reference's mean of the column (0 where it has none) in place of values that are not finite."""
    if np.isfinite(reference.sum(dtype=np.float64)) and np.isfinite(current.sum(dtype=np.float64)):
        return reference, current
    finite = np.isfinite(reference)
    totals = np.where(finite, reference, 0).sum(axis=0, dtype=np.float64)
    means = (totals / np.maximum(finite.sum(axis=0), 1)).astype(reference.dtype)
    return np.where(finite, reference, means), np.where(np.isfinite(current), current, means)


def project(reference: Array, current: Array, *, components: int) -> tuple[Array, Array]:
    """Both windows on the first principal components of the reference (Pearson 1901): ``[n, k]`` and ``[m, k]``.

    ``k`` is at most the number of columns and one less than the number of reference rows; with a single row nothing is projected.
    """
    rank = min(components, reference.shape[1], len(reference) - 1)
    if rank < 1:
        return reference, current
    mean = reference.mean(axis=0, dtype=np.float64)
    centred = reference - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    kept = axes[:, ::-1][:, :rank]
    return centred @ kept, (current - mean) @ kept


def bonferroni(p_values: Float64s) -> Float64s:
    """P-values multiplied by their number, at most 1 (Dunn 1961).

    >>> bonferroni(np.array([0.01, 0.4]))
    array([0.02, 0.8 ])
    """
    return np.minimum(p_values * len(p_values), 1.0)


def benjamini_hochberg(p_values: Float64s) -> Float64s:
    """P-values adjusted so that those at most q have a false discovery rate of at most q (Benjamini and Hochberg 1995).

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.04, 0.04])
    """
    order = np.argsort(p_values)
    scaled = p_values[order] * len(p_values) / np.arange(1, len(p_values) + 1)
    adjusted = np.empty_like(scaled)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def memberships(num_reference: int, num_current: int, *, permutations: int, seed: int) -> Float64s:
    """Which of the pooled rows count as the reference: ``[n + m, 1 + permutations]`` of 0 and 1; the first column as it is."""
    rng = np.random.default_rng(seed)
    members = np.zeros((num_reference + num_current, 1 + permutations))
    members[:num_reference, 0] = 1
    for column in range(1, 1 + permutations):
        members[rng.permutation(len(members))[:num_reference], column] = 1
    return members


def permutation_p_value(statistics: Array) -> float | None:
    """The p-value (b + 1) / (B + 1) of ``statistics[1 + B]``: b of the B permuted ones are at least the first one.

    None without permutations. Values that differ by rounding count as equal. (Phipson and Smyth 2010.)

    >>> permutation_p_value(np.array([3.0, 1.0, 2.0, 5.0]))
    0.5
    """
    observed, permuted = float(statistics[0]), np.asarray(statistics[1:])
    if not len(permuted) or np.isnan(observed):
        return None
    least = observed - 1e-7 * max(abs(observed), 1e-300)
    return float((np.count_nonzero(permuted >= least) + 1) / (len(permuted) + 1))


def permuted(
    function: Callable[[Array, Array], float], reference: Array, current: Array, *, permutations: int, seed: int
) -> Distance:
    """A distance with its permutation p-value, by evaluating it anew for each permutation of the pooled rows."""
    statistics = [function(reference, current)]
    rng, pooled = np.random.default_rng(seed), np.concatenate([reference, current])
    for _ in range(permutations):
        shuffled = pooled[rng.permutation(len(pooled))]
        statistics.append(function(shuffled[: len(reference)], shuffled[len(reference) :]))
    return Distance(statistics[0], permutation_p_value(np.array(statistics)))
