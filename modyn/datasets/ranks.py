"""Pure functions on ascending and arbitrary int64 keys: which are there, where each stands, which lie side by side."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modyn.errors import DataError
from modyn.types import Int64s

Mask = npt.NDArray[np.bool_]


def as_keys(given: Any) -> Int64s:
    """Keys as a one-dimensional array of int64. Raises DataError for anything else."""
    array = np.asarray(given)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise DataError(f"keys must be a one-dimensional array of integers; got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64, copy=False)


@dataclass(frozen=True, eq=False)
class Rank:
    """Where each key stands among ascending ``keys`` with holes, in a quarter of a byte for each key of the range.

    ``words[i]`` has a bit for each of the 64 keys from ``first + 64 i``; ``before[i]`` counts the keys before them.

    >>> Rank.of(np.array([3, 4, 7, 200])).rows_of(np.array([200, 3, 5, 7])).tolist()
    [3, 0, -1, 2]
    """

    first: int
    words: npt.NDArray[np.uint64]
    before: Int64s

    @classmethod
    def of(cls, keys: Int64s) -> "Rank":
        """Build from ascending distinct keys, at least one."""
        first = int(keys[0])
        bits = np.zeros(((int(keys[-1]) - first) // 64 + 1) * 64, np.bool_)
        bits[keys - first] = True
        words = np.packbits(bits, bitorder="little").view(np.uint64)
        before = np.concatenate(([0], np.cumsum(np.bitwise_count(words[:-1]), dtype=np.int64)))
        return cls(first, words, before)

    def rows_of(self, keys: Int64s) -> Int64s:
        """The row of each key; -1 for a key that is not there. Keys must lie in the range."""
        offsets = keys - self.first
        places = offsets >> 6
        bits = (offsets & 63).astype(np.uint64)
        words = self.words[places]
        below = words & ((np.uint64(1) << bits) - np.uint64(1))
        rows = self.before[places] + np.bitwise_count(below)
        present = (words >> bits) & np.uint64(1)
        return np.where(present.astype(np.bool_), rows, np.int64(-1))


def runs(values: Int64s, gap: int = 0) -> tuple[Int64s, Int64s]:
    """Ascending distinct integers as half-open runs ``(starts, ends)``; runs up to ``gap`` apart count as one.

    >>> [a.tolist() for a in runs(np.array([1, 2, 3, 7, 9, 10]))]
    [[1, 7, 9], [4, 8, 11]]
    >>> [a.tolist() for a in runs(np.array([1, 2, 3, 7, 9, 10]), gap=1)]
    [[1, 7], [4, 11]]
    """
    if not len(values):
        return values, values
    breaks = np.flatnonzero(np.diff(values) > gap + 1)
    starts = values[np.concatenate(([0], breaks + 1))]
    ends = values[np.concatenate((breaks, [len(values) - 1]))] + 1
    return starts, ends


_FEW = 48
"""Up to so many shards, comparing keys with each shard's first one costs less than a binary search for each key."""


def group(keys: Int64s, first_keys: Int64s) -> tuple[npt.NDArray[np.intp] | None, Int64s]:
    """Group keys by the shard they lie in: ``(order[n], bounds[shards + 1])``.

    ``keys[order][bounds[i]:bounds[i + 1]]`` lie in shard i, which begins at ``first_keys[i]``, in the order in which they were given.
    ``order`` is None if the keys are ascending: they are grouped already. The shards' numbers are sorted by radix, at a tenth of the cost of
    sorting keys (5 ns each instead of 41, for 6 shards).

    >>> order, bounds = group(np.array([9, 2, 5, 1]), np.array([0, 4, 8]))
    >>> order.tolist(), bounds.tolist()
    ([1, 3, 2, 0], [0, 2, 3, 4])
    """
    if keys[0] <= keys[-1] and bool((keys[1:] >= keys[:-1]).all()):
        return None, np.append(np.searchsorted(keys, first_keys), len(keys)).astype(np.int64)
    shard = shard_of(keys, first_keys)
    order = np.argsort(shard, kind="stable")
    counts = np.bincount(shard, minlength=len(first_keys))
    return order, np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def shard_of(keys: Int64s, first_keys: Int64s) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The number of the shard of each key, in the smallest type that holds it."""
    if len(first_keys) > _FEW:
        return (np.searchsorted(first_keys, keys, side="right") - 1).astype(np.min_scalar_type(len(first_keys)))
    shard = np.zeros(len(keys), np.uint8)
    for first in first_keys[1:]:
        shard += keys >= first
    return shard
