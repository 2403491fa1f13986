"""Payloads by key: one vectorised gather for each column and shard, in the order asked for."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from modyn.datasets import announcing, direct
from modyn.datasets.catalog import Schema
from modyn.datasets.columns import Column
from modyn.datasets.ranks import as_keys
from modyn.datasets.shards import OpenShard
from modyn.datasets.snapshot import Places, Snapshot
from modyn.datasets.state import State
from modyn.errors import DataError, did_you_mean
from modyn.types import Array, Columns, Int64s

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Ragged:
    """Values of any length without a copy for each: value i is ``data[offsets[i]:offsets[i + 1]]``."""

    data: Array
    offsets: Int64s

    def __len__(self) -> int:
        return len(self.offsets) - 1


class Reader:
    """Reads payloads by key; see ``modyn.types.Reader``. It follows the dataset: what is appended can be read, what is
    deleted cannot, unless it was made from a pinned version. Picklable; after a fork or in another process it maps files anew.
    """

    def __init__(self, state: State, columns: Sequence[str] | None = None) -> None:
        self._state = state
        self._columns = None if columns is None else tuple(columns)
        self._announcer: announcing.Announcer | None = None
        self._spans: tuple[Snapshot, Mapping[str, direct.Span]] | None = None
        self._only: Int64s | None = None
        self._looked: tuple[Snapshot, bool] | None = None
        if isinstance(columns, str):
            raise DataError(f"columns are a list of names, also of one; got '{columns}'")
        if columns is not None:
            known = self._schema(state.snapshot()).columns
            for name in columns:
                if name not in known:
                    raise DataError(f"dataset '{state.name}' has no column '{name}'. {did_you_mean(name, known)}")

    def __getstate__(self) -> dict[str, Any]:
        made_anew = dict.fromkeys(("_announcer", "_spans", "_only", "_looked"))
        return {"_state": self._state, "_columns": self._columns, **made_anew}

    def only(self, keys: Int64s) -> "Reader":
        """A reader of these keys alone. Whether one of them is deleted is looked up once for each change of the dataset, in the order given
        (ascending is fastest), and not at each read, whose keys must be among them.
        """
        reader = copy(self)
        reader._only, reader._looked = as_keys(keys), None
        return reader

    def _knows_live(self, snapshot: Snapshot) -> bool:
        """Whether all keys that may be asked for are known not to be deleted."""
        if self._only is None:
            return not snapshot.deleted
        if self._looked is None or self._looked[0] is not snapshot:
            self._looked = snapshot, not snapshot.deleted.any_among(self._only)
        return self._looked[1]

    def _schema(self, snapshot: Snapshot) -> Schema:
        return snapshot.head.schema or Schema({}, None)

    def _current(self, use: Callable[[Snapshot], T]) -> T:
        return self._state.retrying(use)

    def _chosen(self, snapshot: Snapshot) -> Mapping[str, Column]:
        known = self._schema(snapshot).columns
        return known if self._columns is None else {name: known[name] for name in self._columns}

    @property
    def caches(self) -> Path | None:
        """A folder for what is made of whole samples, by whoever reads them: a purge removes it, and no other dataset has had it."""
        if self._columns is not None:
            return None
        created_at = self._state.snapshot().head.created_at
        return self._state.workspace.caches / self._state.name / f"{self._state.dataset_id}-{created_at}"

    def read(self, keys: Int64s) -> Columns:
        """The payload columns of ``keys`` in that order: arrays ``[n, ...]``; text as an object array of ``str``; bytes of
        any length as an object array of ``memoryview``.

        Raises NotFound if a key was never given or is deleted, Damaged if a shard's file is missing or not what was written.
        """
        asked = as_keys(keys)

        def use(snapshot: Snapshot) -> Columns:
            chosen = self._chosen(snapshot).values()
            live = self._knows_live(snapshot)
            spans = self._spans_of(snapshot) if direct.is_worth_it(snapshot, asked, known_live=live) else {}
            if spans and len(spans) == len(chosen):
                return {name: span.gather(asked) for name, span in spans.items()}
            places = snapshot.locate(asked, known_live=live)
            return {
                c.name: spans[c.name].gather(asked) if c.name in spans else _read(c, places, len(asked)) for c in chosen
            }

        return self._current(use)

    def _spans_of(self, snapshot: Snapshot) -> Mapping[str, direct.Span]:
        """The columns that can be gathered over all shards at once."""
        if self._spans is None or self._spans[0] is not snapshot:
            found = {name: direct.Span.of(snapshot, column) for name, column in self._chosen(snapshot).items()}
            self._spans = snapshot, {name: span for name, span in found.items() if span is not None}
        return self._spans[1]

    def labels(self, keys: Int64s) -> Array | None:
        """``labels[n]`` (or ``[n, c]``) of ``keys`` in that order, payloads untouched; None if unlabelled.

        Raises NotFound like ``read``, unlabelled or not.
        """
        asked = as_keys(keys)

        def use(snapshot: Snapshot) -> Array | None:
            label = self._schema(snapshot).label
            places = snapshot.locate(asked, known_live=self._knows_live(snapshot))
            if label is None:
                return None
            found = _gather(label, places, len(asked), lambda s, rows, out: s.gather_labels(rows, out))
            return snapshot.late.over(asked, found)

        return self._current(use)

    def timestamps(self, keys: Int64s) -> Int64s:
        """``timestamps[n]`` of ``keys`` in that order, payloads untouched."""
        asked = as_keys(keys)

        def fill(shard: OpenShard, rows: Int64s, out: Array) -> None:
            out[...] = shard.timestamps[rows]

        column = Column("timestamp", "array", "int64")
        return self._current(lambda snapshot: _gather(column, snapshot.locate(asked), len(asked), fill))

    def ragged(self, column: str, keys: Int64s) -> Ragged:
        """A column of bytes or text of any length, gathered into one buffer with offsets. Raises DataError for any other."""
        asked = as_keys(keys)
        known = self._schema(self._state.snapshot()).columns
        if column not in known or known[column].kind == "array":
            is_ = f"holds {known[column]}" if column in known else "is not there"
            raise DataError(
                f"dataset '{self._state.name}': column '{column}' {is_}, and not text or bytes of any length"
            )
        found = self._current(lambda snapshot: _gather_any_length(column, snapshot.locate(asked)))
        _, offsets, data = found.buffers()
        bounds = (
            np.frombuffer(offsets, np.int64, len(found) + 1, found.offset * 8) if len(found) else np.zeros(1, np.int64)
        )
        return Ragged(np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), bounds)

    def announce(self, keys: Int64s) -> None:
        """Have the pages of these keys fetched from the disk in the background, if they are not in memory.

        Never raises for keys that cannot be read: ``read`` says so.
        """
        if self._announcer is None or not self._announcer.is_mine():
            self._announcer = announcing.Announcer(self._state, self._columns)
        self._announcer.announce(as_keys(keys))


def _read(column: Column, places: Places, num: int) -> Array:
    if column.kind == "array":
        return _gather(column, places, num, lambda shard, rows, out: shard.gather(column.name, rows, out))
    if column.kind == "text":
        return np.asarray(_gather_any_length(column.name, places, text=True).to_numpy(zero_copy_only=False), object)
    # NumPy takes memoryviews of one length for a second axis, so they are put in one by one.
    views = [view for shard, rows in places.pieces for view in shard.bytes_of(column.name, rows)]
    out = np.empty(num, object)
    for place, view in zip(range(num) if places.order is None else places.order.tolist(), views, strict=True):
        out[place] = view
    return out


def _gather(column: Column, places: Places, num: int, fill: Callable[[OpenShard, Int64s, Array], None]) -> Array:
    """``out[num, ...]``, filled piece after piece and then put into the order asked for."""
    out = np.empty((num, *column.shape), column.storage_dtype)
    if len(places.pieces) == 1 and places.order is None:  # without slices, which cost as much as a few rows
        fill(*places.pieces[0], out)
        return out
    done = 0
    for shard, rows in places.pieces:
        fill(shard, rows, out[done : done + len(rows)])
        done += len(rows)
    return out if places.order is None else out.take(_inverse(places.order), axis=0)


def _inverse(order: Array) -> Array:
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return inverse


def _gather_any_length(name: str, places: Places, *, text: bool = False) -> pa.Array:
    parts = [shard.gather_any_length(name, rows) for shard, rows in places.pieces]
    if not parts:
        return pa.array([], pa.large_string() if text else pa.large_binary())
    whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    return whole if places.order is None else whole.take(pa.array(_inverse(places.order)))
