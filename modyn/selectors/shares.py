"""Fair shares: how a budget is divided among groups, and which rows belong to each. Vectorised over the samples."""

from collections.abc import Sequence

import numpy as np

from modyn.errors import ConfigError
from modyn.types import Array, Int64s, Selection

MOST_SMALL_CODES = 65_536
"""Integer labels spread over fewer values than this are counted, not sorted."""


def water_fill(counts: Int64s, total: int) -> Int64s:
    """Shares of ``total`` for groups of these sizes: all alike, a small group gives what it has, and the sum is exact.

    What cannot be divided goes to the first groups with room. The sum is ``min(total, counts.sum())``.

    >>> water_fill(np.array([10, 2, 10]), 9).tolist()
    [4, 2, 3]
    """
    counts = np.asarray(counts, dtype=np.int64)
    total = min(int(total), int(counts.sum()))
    if total <= 0:
        return np.zeros_like(counts)
    ascending = np.sort(counts)
    poured = np.concatenate([[0], np.cumsum(ascending)[:-1]]) + ascending * np.arange(len(counts), 0, -1)
    full = int(np.searchsorted(poured, total, side="right"))
    left = total - int(ascending[:full].sum())
    level = int(ascending[full - 1]) if full == len(counts) else left // (len(counts) - full)
    shares = np.minimum(counts, level)
    roomy = np.flatnonzero(counts > level)
    shares[roomy[: total - int(shares.sum())]] += 1
    return shares


def group_codes(values: Array) -> tuple[Array, int]:
    """``codes[n]`` (0, 1, ... by ascending value) and how many groups there are; small unsigned integers where they do."""
    if values.dtype.kind in "iub" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < MOST_SMALL_CODES:
            shifted = np.subtract(values, low, dtype=np.int64).astype(np.uint8 if high - low < 256 else np.uint16)
            present = np.bincount(shifted, minlength=1) > 0
            if present.all():
                return shifted, int(present.size)
            renumbered = (np.cumsum(present) - 1).astype(shifted.dtype)
            return renumbered[shifted], int(present.sum())
    found, codes = np.unique(values, return_inverse=True)
    return (codes.astype(np.uint16) if len(found) <= MOST_SMALL_CODES else codes), len(found)


def grouped_rows(codes: Array, num_groups: int) -> list[Int64s]:
    """The rows of each group, ascending. One stable sort (a radix sort where the codes are small)."""
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=num_groups))
    return np.split(order, ends[:-1])


def joined(parts: Sequence[Selection]) -> Selection:
    """Disjoint selections as one, keys ascending; a part without weights has weight 1."""
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys, kind="stable")
    if all(part.weights is None for part in parts):
        return Selection(keys[order])
    weights = [np.ones(len(p), np.float32) if p.weights is None else p.weights for p in parts]
    return Selection(keys[order], np.concatenate(weights)[order])


def class_labels(labels: Array | None, what: str) -> Array:
    """``labels[n]`` if they are classes. Raises ConfigError, naming what needs them, for none, several a sample, or fractions."""
    if labels is None:
        raise ConfigError(f"{what} needs labels, and these samples have none")
    if labels.ndim != 1:
        raise ConfigError(f"{what} needs one class a sample, and these have {labels.shape[1]} labels each")
    if labels.dtype.kind == "f" and (labels != np.round(labels)).any():
        raise ConfigError(f"{what} needs classes, and these labels are measured values")
    return labels
