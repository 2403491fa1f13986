"""Points in a space with an inner product, dense or factored, asked in blocks so that no n x n matrix is ever held.

A *direction* is what ``combine`` gives: a vector for dense points, a matrix for factored gradients. It is never looked into, only
added, scaled and handed back to ``towards``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from modyn.types import Array, Float32s, Float64s, Gradients, Int64s, Signal

BLOCK = 64
"""Candidates whose similarities are computed at once; always so many, so that each number comes out the same, bit for bit."""
TILE = 4096
"""Points per tile: a block of 64 x 4096 float32 is 1 MB and stays in the cache while it is reduced."""

SQUARE = 512
"""Points a side of a tile where every pair is computed once: such a product is 1.4 times as fast, pair by pair, as one of 64 x 4096."""


@dataclass(frozen=True, eq=False)
class Dense:
    """Rows of ``x[n, d]``, float32."""

    x: Float32s

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Array) -> "Dense":
        return Dense(self.x[rows])

    @cached_property
    def squared_norms(self) -> Float64s:
        return squared_lengths(self.x)

    def inner(self, rows: Array, tile: slice) -> Float32s:
        """``[b, t]`` inner products of ``rows`` with the points of ``tile``."""
        return self.x[rows] @ self.x[tile].T

    def to_rows(self, rows: Array) -> Float32s:
        """``[b, n]`` inner products of ``rows`` with all points, in the form that is fastest for few rows."""
        return np.ascontiguousarray((self.x @ self.x[rows].T).T)

    def exact(self, rows: Array, others: Array) -> Float64s:
        """``[a, b]`` inner products in float64."""
        return self.x[rows].astype(np.float64) @ self.x[others].T.astype(np.float64)

    def combine(self, rows: Array, weights: Float64s) -> Float64s:
        """The direction ``sum_i weights[i] x[rows[i]]``."""
        return np.asarray(weights @ self.x[rows].astype(np.float64))

    def total(self) -> Float64s:
        """The direction that is the sum of all points."""
        return np.asarray(self.x.sum(axis=0, dtype=np.float64))

    def towards(self, direction: Float64s) -> Float64s:
        """``[n]`` inner products with a direction."""
        return (self.x @ direction.astype(np.float32)).astype(np.float64)

    def centred(self) -> "Dense":
        """The points moved so that their mean is zero: distances stay, rounding errors shrink."""
        return Dense(self.x - self.x.mean(axis=0, dtype=np.float64).astype(np.float32))

    def normalised(self) -> "Dense":
        """The points scaled to length 1; zero becomes zero, and so does what is so short that 1 / length is no float32."""
        norms = np.sqrt(self.squared_norms)
        has_length = norms > np.finfo(np.float32).tiny
        return Dense(
            self.x * np.divide(1, norms, out=np.zeros_like(norms), where=has_length).astype(np.float32)[:, None]
        )


@dataclass(frozen=True, eq=False)
class Factored:
    """Outer products ``outer(e[i], h[i])``: ``<i, j> = (e_i . e_j)(h_i . h_j)`` costs widths, not their product."""

    e: Float32s
    h: Float32s

    def __len__(self) -> int:
        return len(self.e)

    def __getitem__(self, rows: slice | Array) -> "Factored":
        return Factored(self.e[rows], self.h[rows])

    @cached_property
    def squared_norms(self) -> Float64s:
        return squared_lengths(self.e) * squared_lengths(self.h)

    def inner(self, rows: Array, tile: slice) -> Float32s:
        """``[b, t]`` inner products of ``rows`` with the points of ``tile``."""
        found: Float32s = self.e[rows] @ self.e[tile].T
        found *= self.h[rows] @ self.h[tile].T
        return found

    def to_rows(self, rows: Array) -> Float32s:
        """``[b, n]`` inner products of ``rows`` with all points, in the form that is fastest for few rows."""
        found = self.e @ self.e[rows].T
        found *= self.h @ self.h[rows].T
        return np.ascontiguousarray(found.T)

    def exact(self, rows: Array, others: Array) -> Float64s:
        """``[a, b]`` inner products in float64."""
        wide = np.float64
        return (self.e[rows].astype(wide) @ self.e[others].T.astype(wide)) * (
            self.h[rows].astype(wide) @ self.h[others].T.astype(wide)
        )

    def combine(self, rows: Array, weights: Float64s) -> Float64s:
        """The direction ``sum_i weights[i] outer(e[rows[i]], h[rows[i]])``."""
        return np.asarray((self.e[rows] * weights[:, None]).T @ self.h[rows].astype(np.float64))

    def total(self) -> Float64s:
        """The direction that is the sum of all points."""
        parts = [self.e[t].T.astype(np.float64) @ self.h[t].astype(np.float64) for t in tiles(len(self))]
        return np.asarray(np.sum(parts, axis=0))

    def towards(self, direction: Float64s) -> Float64s:
        """``[n]`` inner products with a direction."""
        return np.asarray(np.einsum("ij,ij->i", self.e @ direction.astype(np.float32), self.h, dtype=np.float64))

    def centred(self) -> "Factored":
        """Unchanged: moved outer products are no outer products."""
        return self

    def normalised(self) -> "Factored":
        """The points scaled to length 1; zero stays zero."""
        return Factored(Dense(self.e).normalised().x, Dense(self.h).normalised().x)


Points = Dense | Factored


def squared_lengths(x: Float32s) -> Float64s:
    """``[n]`` squared Euclidean lengths of the rows of ``x[n, d]``."""
    return np.asarray(np.einsum("ij,ij->i", x, x, dtype=np.float64))


def points_of(signal: Signal) -> Points:
    """Points of a signal: ``array[n]`` as ``[n, 1]``, ``array[n, d]`` as it is, gradients kept factored."""
    if isinstance(signal, Gradients):
        errors = np.ascontiguousarray(signal.errors, dtype=np.float32)
        if signal.embeddings is None:
            return Dense(errors)
        ones = np.ones((len(errors), 1), dtype=np.float32)
        return Factored(errors, np.concatenate([np.asarray(signal.embeddings, dtype=np.float32), ones], axis=1))
    x = np.asarray(signal, dtype=np.float32)
    return Dense(np.ascontiguousarray(x.reshape(len(x), -1)))


def tiles(num_points: int, size: int = TILE) -> Iterator[slice]:
    """``[0, num_points)`` in stretches."""
    for start in range(0, num_points, size):
        yield slice(start, min(start + size, num_points))


def blocks(rows: Int64s) -> Iterator[tuple[Int64s, int]]:
    """Rows in blocks of exactly ``BLOCK``, the last one filled up by repeating its first row, with how many are meant."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        meant = len(block)
        if meant < BLOCK:
            block = np.concatenate([block, np.full(BLOCK - meant, block[0])])
        yield block, meant


def distances(points: Points, rows: Array, tile: slice, squared_norms: Float32s) -> Float32s:
    """``[b, t]`` Euclidean distances of ``rows`` to the points of ``tile``, given all ``squared_norms`` as float32.

    A point is at exactly 0 from itself.
    """
    found = points.inner(rows, tile)
    found *= -2
    found += squared_norms[tile]
    found += squared_norms[rows][:, None]
    np.maximum(found, 0, out=found)
    start, stop, _ = tile.indices(len(points))
    inside = np.flatnonzero((rows >= start) & (rows < stop))
    found[inside, rows[inside] - start] = 0
    return np.sqrt(found, out=found)


def total_distances(points: Points, squared_norms: Float32s, num_others: int | None = None) -> Float64s:
    """``[n]``: the sum of each point's Euclidean distances to all points, or to the first ``num_others``; no n x n matrix is held.

    Each pair of points that both are among those others is computed once.
    """
    n = len(points)
    limit = n if num_others is None else num_others
    found = np.zeros(n)
    for rows in (*tiles(limit, SQUARE), *(slice(limit + t.start, limit + t.stop) for t in tiles(n - limit, SQUARE))):
        numbers, is_other = np.arange(rows.start, rows.stop), rows.start < limit
        for others in tiles(limit, SQUARE):
            if is_other and others.start < rows.start:
                continue
            between = distances(points, numbers, others, squared_norms)
            found[rows] += np.add.reduce(between, axis=1)
            if is_other and others.start > rows.start:
                found[others] += np.add.reduce(between, axis=0)
    return found
