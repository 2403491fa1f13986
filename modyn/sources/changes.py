"""A changed file against what was taken of it: which rows are new, which are gone, and which must stay away."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from modyn.errors import Damaged
from modyn.sources.hashing import FORGOTTEN, Hashes, occurrences
from modyn.sources.ledger import Extent, keys_of
from modyn.types import Array, Int64s, Window


@dataclass(frozen=True, eq=False)
class Past:
    """What was taken of a file: ``keys[k]``, which of them are ``live[k]``, and their rows' hashes if they were kept."""

    extents: Sequence[Extent]
    keys: Int64s
    live: Array
    contents: Hashes | None
    subjects: Hashes | None

    def without(self, rows: Array) -> list[Extent]:
        """The extents with the hashes of the rows ``rows[k]`` forgotten; only those that change."""
        changed, start = [], 0
        for extent in self.extents:
            part = rows[start : start + len(extent)]
            start += len(extent)
            if part.any() and extent.contents is not None:
                subjects = None if extent.subjects is None else np.where(part, FORGOTTEN, extent.subjects)
                changed.append(replace(extent, contents=np.where(part, FORGOTTEN, extent.contents), subjects=subjects))
        return changed


class HasSamples(Protocol):
    """A dataset, as far as it is asked here."""

    def keys(self, window: Window | None = None) -> Int64s: ...


def past_of(dataset: HasSamples, extents: Sequence[Extent]) -> Past:
    """What was taken of a file, and which of it is still live."""
    keys = keys_of(extents)
    live = [_live_of(dataset, e) for e in extents]
    return Past(
        extents,
        keys,
        np.concatenate([np.empty(0, bool), *live]),
        _joined([e.contents for e in extents]),
        _joined([e.subjects for e in extents]),
    )


def _live_of(dataset: HasSamples, extent: Extent) -> Array:
    """Which keys of an extent are live; all, for what is known, if they lie in a linked file that is gone."""
    try:
        return np.isin(keys_of([extent]), dataset.keys(Window(extent.first_key, extent.end_key)))
    except Damaged:
        return np.ones(len(extent), bool)


def _joined(parts: Sequence[Hashes | None]) -> Hashes | None:
    found = [part for part in parts if part is not None]
    return None if len(found) < len(parts) else np.concatenate([np.empty(0, np.uint64), *found])


def differences(past: Past, contents: Hashes, subjects: Hashes | None) -> tuple[Array, Array]:
    """``take[n]``: which rows of the changed file are new; ``gone[k]``: which rows taken before are in it no more.

    A row is known if it was taken before, live or deleted since, as often as it stands in the file. A new row whose subject
    had samples of which every one was deleted stays away: the subject was erased. Without hashes all is new and all old gone.

    >>> past = Past((), np.arange(3), np.ones(3, bool), np.array([5, 5, 9], np.uint64), None)
    >>> [rows.tolist() for rows in differences(past, np.array([5, 7, 9, 9], np.uint64), None)]
    [[False, True, False, True], [False, True, False]]
    """
    if past.contents is None:
        return np.ones(len(contents), bool), np.ones(len(past.keys), bool)
    kept = past.contents != FORGOTTEN
    take = occurrences(contents) >= _counts(past.contents[kept], contents)
    gone = kept & (occurrences(past.contents) >= _counts(contents, past.contents))
    if subjects is not None and past.subjects is not None:
        erased = np.setdiff1d(past.subjects[kept & ~past.live], past.subjects[kept & past.live])
        take &= ~np.isin(subjects, erased)
    return take, gone


def _counts(among: Hashes, of: Hashes) -> Int64s:
    """How many times each value of ``of`` stands in ``among``."""
    ordered = np.sort(among)
    counts: Int64s = np.searchsorted(ordered, of, "right") - np.searchsorted(ordered, of, "left")
    return counts
