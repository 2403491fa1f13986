"""Facility location: every sample should have a near representative."""

from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt

from modyn.selectors.pickers import Picked, Picker
from modyn.selectors.pickers.greedy import Method, maximise
from modyn.selectors.pickers.points import BLOCK, TILE, Points, blocks, distances, points_of, tiles, total_distances
from modyn.types import Array, Float32s, Float64s, Int64s, Signal

Metric = Literal["euclidean", "cosine"]
KEPT_BYTES = 1 << 29
"""All pairs are kept while they take no more than this (11,585 points): then a similarity is computed once, not at each look."""
MOST_EXACT, SAMPLED = 20_000, 10_000
"""Up to the first the function counts all points; beyond, a random sample of the second, unless ``sample`` says otherwise."""


class FacilityLocation(Picker):
    """Greedily maximises ``sum_i max_{j in S} s(i, j)``; the weight of a row is the size of its cluster, so weights sum to n.

    ``s(i, j)`` is ``c - ||x_i - x_j||`` with a ``c`` no distance exceeds, or ``(1 + cos) / 2``. The value is at least (1 - 1/e) of
    the best one. Beyond some 10,000 rows memory is O(n): similarities are computed in blocks when they are needed. Beyond 20,000 rows the
    sum over i is estimated on 10,000 random ones (``sample``); every row may be taken all the same, and cluster sizes count all.

    Mirzasoleiman, Karbasi, Sarkar & Krause 2013, "Distributed Submodular Maximization" (the estimate); Mirzasoleiman, Bilmes & Leskovec 2020, "Coresets for Data-efficient Training of Machine Learning Models".

    >>> FacilityLocation(metric="cosine").method
    'lazy'
    """

    metric: Metric = Field("euclidean", description="how alike two samples are: euclidean distance, or cosine")
    method: Method = Field("lazy", description="lazy (exactly naive's result), naive, or stochastic greedy")
    epsilon: float = Field(
        0.01, gt=0, lt=1, description="stochastic greedy looks at n/k ln(1/epsilon) candidates a step"
    )

    sample: PositiveInt | None = Field(
        None,
        description="how many random rows are to be represented, all of which may be taken (null = all up to 20,000, beyond that 10,000)",
    )

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        num_rows = len(signal)
        sample = self.sample or (num_rows if num_rows <= MOST_EXACT else SAMPLED)
        if sample >= num_rows:
            return self._maximised(Cover(points_of(signal), self.metric), num_rows, budget, rng)
        order = rng.permutation(num_rows)
        cover = Cover(points_of(signal[order]), self.metric, num_seen=sample)
        picked = self._maximised(cover, num_rows, budget, rng)
        return Picked(order[picked.rows], picked.weights)

    def _maximised(self, cover: "Cover", num_rows: int, budget: int, rng: np.random.Generator) -> Picked:
        rows = maximise(cover, num_rows, budget, rng, method=self.method, epsilon=self.epsilon)
        return Picked(rows, cluster_sizes(cover, rows))


class Cover:
    """The facility-location function while its set grows: how well each of the first ``num_seen`` points (None = all) is represented so far."""

    def __init__(self, points: Points, metric: Metric, *, num_seen: int | None = None) -> None:
        self._seen = len(points) if num_seen is None else num_seen
        self._cosine = metric == "cosine"
        self._points = points.normalised() if self._cosine else points.centred()
        self._norms = self._points.squared_norms.astype(np.float32)
        self.ceiling = 2 * float(np.sqrt(self._points.squared_norms.max()))
        start = -1.0 if self._cosine else self.ceiling
        self._best = np.full(self._seen, start, dtype=np.float32)
        is_small = self._seen == len(points) and 4 * len(points) ** 2 <= KEPT_BYTES
        self._kept = self._all_pairs() if is_small else None
        self._first: Float64s | None = None
        self._is_empty = True

    def _all_pairs(self) -> Float32s:
        kept = np.empty((len(self._points), len(self._points)), dtype=np.float32)
        for block, meant in blocks(np.arange(len(kept))):
            for tile in tiles(len(kept)):
                kept[block[:meant], tile] = self._compute(block, tile)[:meant]
        return kept

    def gains(self, rows: Int64s) -> Float64s:
        if self._is_empty and self._kept is None:
            self._first = self._first_gains() if self._first is None else self._first
            return self._first[rows]
        return np.concatenate([self._block_gains(block)[:meant] for block, meant in blocks(rows)])

    def _first_gains(self) -> Float64s:
        """``[n]``: what each row alone is worth; at half the distances, or none at all where inner products sum up."""
        if self._cosine:
            return (self._seen + self._points.towards(self._points[: self._seen].total())) / 2
        return self._seen * self.ceiling - total_distances(self._points, self._norms, self._seen)

    def _block_gains(self, rows: Int64s) -> Float64s:
        found = np.zeros(len(rows))
        for tile in tiles(self._seen):
            near, best = self.nearness(rows, tile), self._best[tile]
            better = np.subtract(near, best, out=near) if self._cosine else np.subtract(best, near, out=near)
            np.maximum(better, 0, out=better)
            found += np.add.reduce(better, axis=1)
        return found / 2 if self._cosine else found

    def add(self, row: int) -> None:
        self._is_empty, self._first = False, None
        near = self.nearness(np.array([row]), slice(0, self._seen))[0]
        if self._cosine:
            np.maximum(self._best, near, out=self._best)
        else:
            np.minimum(self._best, near, out=self._best)
        if row < self._seen:
            self._best[row] = max(1.0, float(self._best[row])) if self._cosine else 0.0

    def nearness(self, rows: Array, tile: slice) -> Float32s:
        """``[b, t]``: cosine, or distance; a fresh array."""
        return self._compute(rows, tile) if self._kept is None else np.asarray(self._kept[rows, tile])

    def _compute(self, rows: Array, tile: slice) -> Float32s:
        return self._points.inner(rows, tile) if self._cosine else distances(self._points, rows, tile, self._norms)

    @property
    def value(self) -> float:
        """The function's value on the set so far (0 on the empty set)."""
        best = self._best.astype(np.float64)
        return float(((1 + best) / 2).sum() if self._cosine else (self.ceiling - best).sum())

    def nearest(self, rows: Int64s) -> Int64s:
        """``[n]``: which of ``rows`` (by its place among them) each point is nearest to; each of ``rows`` is nearest to itself."""
        found = np.empty(len(self._points), dtype=np.int64)
        for tile in tiles(len(self._points), size=max(1, min(TILE, BLOCK * TILE // len(rows)))):
            near = self.nearness(rows, tile)
            found[tile] = near.argmax(axis=0) if self._cosine else near.argmin(axis=0)
        found[rows] = np.arange(len(rows))
        return found


def cluster_sizes(cover: Cover, rows: Int64s) -> Float64s:
    """``[k]``: how many points have each of ``rows`` as their nearest; they sum to n."""
    return np.bincount(cover.nearest(rows), minlength=len(rows)).astype(np.float64)
