"""Squared distances between the rows of two windows, kept from one check to the next: only those of new rows are computed.

A check then costs (new rows) x (rows of both windows) x columns for the distances, and a pass over what is kept for a kernel of them.
Rows are taken about the reference's mean and rounded to whole multiples of a unit, about a millionth of the reference's largest value, so that
float64 holds every sum of products exactly, in whatever order it is added up. So a distance does not depend on the check that it was
computed at: a trigger that goes on from a state finds the same numbers as one that was never interrupted.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from modyn.drift import SquaredDistances
from modyn.drift.kernels import Kernel, Sums, Tiles, divided, lower, middle_distance, one_blas_thread, thinned, totals
from modyn.types import Array, Float64s, Int64s

MOST_ROWS = 4096
"""Rows of both windows together, beyond which nothing is kept: the distances of so many take about 70 MB."""
_AT_ONCE = 512
_HEADROOM = 3
"""Bits by which a row may exceed the reference's largest value; the products of one that is larger yet are rounded."""


class Keyed(NamedTuple):
    """The rows ``[n, d]`` of a window and their keys ``[n]``, each once."""

    keys: Int64s
    rows: Array


class KeptPairs:
    """The squared distances between two windows that slide; ``forget`` when a key's row changes.

    What ``between`` gives holds until it is asked again.
    """

    def __init__(self) -> None:
        self._reference: _Reference | None = None
        self._keys: Int64s = np.empty(0, np.int64)
        self._slots: Int64s = np.empty(0, np.int64)
        self._order: Int64s = np.empty(0, np.int64)

    def forget(self) -> None:
        """Keep nothing."""
        self._reference = None

    def between(self, reference: Keyed, current: Keyed) -> SquaredDistances | None:
        """The distances of the windows' rows, in their order; None if there are too many, or a value is not finite."""
        if len(reference.keys) + len(current.keys) > MOST_ROWS:
            self._reference = None
            return None
        if self._reference is None or not np.array_equal(self._reference.keys, reference.keys):
            self._reference = _Reference(reference)
            self._reserve(self._reference, len(current.keys))
        if not self._reference.is_finite or not self._add(self._reference, current):
            return None
        return SquaredDistances(self._reference.within, *self._in_order())

    def _in_order(self) -> tuple[Array, Array]:
        """The distances from the current rows and between them, in the windows' order; in memory that is used again at the next check."""
        count = len(self._order)
        between, half, within = (space[:count] for space in self._spaces)
        np.take(self._between, self._order, axis=0, out=between, mode="clip")
        np.take(self._within, self._order, axis=0, out=half, mode="clip")
        within = within.reshape(-1)[: count * count].reshape(count, count)
        np.take(half, self._order, axis=1, out=within, mode="clip")
        return between, within

    def _reserve(self, reference: "_Reference", room: int) -> None:
        """Room for so many rows of the current window and a few more, all empty, behind those of the reference."""
        room += room // 4 + 1
        num_reference = len(reference.keys)
        self._keys = self._slots = np.empty(0, np.int64)
        self._rows = np.concatenate([reference.rows, np.zeros((room, reference.rows.shape[1]))])
        self._squares = np.concatenate([reference.squares, np.zeros(room)])
        self._between = np.zeros((room, num_reference), np.float32)
        self._within = np.zeros((room, room), np.float32)
        self._spaces = np.empty_like(self._between), np.empty_like(self._within), np.empty_like(self._within)

    def _add(self, reference: "_Reference", current: Keyed) -> bool:
        """Find the current rows among those kept, and compute the distances of the others; False if one is not finite."""
        if len(current.keys) > len(self._within):
            self._reserve(reference, len(current.keys))
        slots, known = self._find(current.keys)
        new = np.flatnonzero(~known)
        if len(new):
            rows = reference.units_of(current.rows[new])
            squares: Float64s = np.einsum("ij,ij->i", rows, rows)
            if not np.isfinite(squares).all():
                return False
            free = np.ones(len(self._within), dtype=bool)
            free[slots[known]] = False
            slots[new] = np.flatnonzero(free)[: len(new)]
            for start in range(0, len(new), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                self._put(reference, slots[new[part]], rows[part], squares[part])
        order = np.argsort(current.keys, kind="stable")
        self._keys, self._slots = current.keys[order], slots[order]
        self._order = slots
        return True

    def _find(self, keys: Int64s) -> tuple[Int64s, Array]:
        """The slots of the keys, and which of them have one."""
        slots = np.empty(len(keys), np.int64)
        if not len(self._keys):
            return slots, np.zeros(len(keys), dtype=bool)
        places = np.searchsorted(self._keys, keys)
        known = self._keys.take(places, mode="clip") == keys
        slots[known] = self._slots[places[known]]
        return slots, known

    def _put(self, reference: "_Reference", slots: Int64s, rows: Float64s, squares: Float64s) -> None:
        """Put rows into slots, with their distances from the reference's rows and from those in all slots."""
        num_reference = len(reference.keys)
        self._rows[num_reference + slots], self._squares[num_reference + slots] = rows, squares
        found = _squared(rows, squares, self._rows, self._squares, unit=reference.unit)
        found[np.arange(len(slots)), num_reference + slots] = 0
        self._between[slots] = found[:, :num_reference]
        self._within[slots] = found[:, num_reference:]
        self._within[:, slots] = found[:, num_reference:].T


class _Reference:
    """The reference window's rows about their mean, and the distances within it."""

    def __init__(self, window: Keyed) -> None:
        self.keys = window.keys
        rows = window.rows.astype(np.float64)
        self.mean: Float64s = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        largest = float(np.abs(rows - self.mean).max(initial=0))
        bits = (51 - math.ceil(math.log2(max(1, rows.shape[1])))) // 2 - _HEADROOM
        self.unit = 2.0 ** (math.frexp(largest)[1] - bits) if 0 < largest < math.inf else 1.0
        self.rows = self.units_of(rows)
        self.squares: Float64s = np.einsum("ij,ij->i", self.rows, self.rows)
        self.is_finite = bool(np.isfinite(self.squares).all())
        self.within: Array = np.empty((len(rows), len(rows)), np.float32)
        for start in range(0, len(rows) if self.is_finite else 0, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self.within[part] = _squared(self.rows[part], self.squares[part], self.rows, self.squares, unit=self.unit)
        np.fill_diagonal(self.within, 0)

    def units_of(self, rows: Array) -> Float64s:
        """Rows about the mean, as whole multiples of the unit."""
        found: Float64s = np.rint((rows - self.mean) / self.unit)
        return found


def _squared(left: Float64s, left_squares: Float64s, right: Float64s, right_squares: Float64s, *, unit: float) -> Array:
    """``[n, m]`` squared distances in float32 of rows in units."""
    with one_blas_thread():
        found = left @ right.T
    found *= -2
    found += right_squares
    found += left_squares[:, None]
    np.maximum(found, 0, out=found)
    found *= unit * unit
    return found.astype(np.float32)


def sums_of(squared: SquaredDistances, kernel: Kernel) -> Sums:
    """The kernel's sums over all pairs of different rows, as ``kernels.sums`` gives them."""
    reference, between, current = (_scaled(block, kernel) for block in squared)
    return totals(reference, between, current, kernel)


def permuted_sums_of(squared: SquaredDistances, kernel: Kernel, members: Array) -> Sums:
    """The kernel's sums for each division of the pooled rows, as ``kernels.permuted_sums`` gives them."""
    pooled = np.block([[squared.reference, squared.between.T], [squared.between, squared.current]])
    return divided(_scaled(pooled, kernel), kernel, members)


def _scaled(block: Array, kernel: Kernel) -> Tiles:
    factor = block.dtype.type(kernel.scale)

    def fill(rows: slice, columns: slice, out: Array) -> None:
        np.multiply(block[rows, columns], factor, out=out)

    return Tiles((len(block), block.shape[1]), block.dtype, fill)


def median_of(squared: SquaredDistances, *, rows: int = 200) -> float:
    """The median distance, as ``kernels.median_distance`` gives it."""
    n, m = len(squared.reference), len(squared.current)
    parts = [
        squared.reference.take(_pairs(n, n, rows // 2, within=True)),
        squared.current.take(_pairs(m, m, rows // 2, within=True)),
        squared.between.take(_pairs(m, n, rows // 2, within=False)),
    ]
    return middle_distance(np.concatenate(parts))


@lru_cache(maxsize=8)
def _pairs(num_rows: int, num_columns: int, most: int, *, within: bool) -> Int64s:
    """Where the pairs of evenly spaced rows and columns lie in a matrix, row by row; ``within``: each pair of two different ones once."""
    rows, columns = thinned(num_rows, most), thinned(num_columns, most)
    places: Int64s = (rows[:, None] * num_columns + columns).ravel()
    return places[lower(len(rows))] if within else places
