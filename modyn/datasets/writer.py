"""Appending: rows become shards on the disk first, and then samples in one transaction on the catalog.

The order of what happens, and what a crash leaves at each point:

1. the dataset's append lock is taken, so the next key is known; a crash frees it
2. rows are written to new files and synced; a crash leaves files that no catalog names, which the next sweep removes
3. the folder is synced, and one transaction adds shards, commit and version: all of it happens, or none
4. the new generation is told to other processes; after a crash here the next one to look tells it
"""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from modyn.datasets import catalog, columns, compaction, deletions, labels, linking, shards, sweeping
from modyn.datasets.catalog import COMMITS, DATASETS, SHARDS, Head, Schema
from modyn.datasets.columns import Column, Values
from modyn.datasets.links import Records
from modyn.datasets.locks import exclusive
from modyn.datasets.ranks import as_keys
from modyn.datasets.shards import Rows, Written
from modyn.datasets.state import State, tell
from modyn.errors import BadSample, DataError, NotFound
from modyn.types import Array, Int64s
from modyn.workspace import sync_folder

APPEND_LOCK = "append.lock"
RESERVED = "__"


class Writer:
    """Appends to one dataset, in one transaction; get it from ``Dataset.write()``.

    What is appended is there for everybody when the ``with`` block ends, and not at all if it ends by an error.
    """

    def __init__(self, state: State, *, shard_bytes: int, compact: bool = True) -> None:
        self._state = state
        self._shard_bytes = shard_bytes
        self._compact = compact
        self._exit = ExitStack()
        self._connection: sa.Connection | None = None
        self._pending: list[Rows] = []
        self._doomed = np.empty(0, np.int64)
        self._pending_bytes = 0
        self._entries: list[tuple[dict[str, Any], Future[Written] | None]] = []
        self._background: ThreadPoolExecutor | None = None
        self.committed = False

    def __enter__(self) -> "Writer":
        if self._state.version is not None:
            raise DataError(f"dataset '{self._state.name}' at version {self._state.version} can be read only")
        with self._exit as stack:
            with shards.clear_errors(self._state.folder, "written"):
                stack.enter_context(exclusive(self._state.folder / APPEND_LOCK, purpose="an append"))
            with catalog.reading(self._state.workspace) as connection:
                head = catalog.head_by_id(connection, self._state.dataset_id)
            if head is None:
                raise NotFound(f"dataset '{self._state.name}' has been removed")
            self._exit = stack.pop_all()
            self._state.sweep_once()
        self._head: Head = head
        self._schema = head.schema
        self._classes = head.label_classes
        self._next = head.end_key
        return self

    @property
    def connection(self) -> sa.Connection:
        """The transaction on the catalog in which everything is committed, for rows of one's own.

        The first use takes the catalog's write lock until the block ends: use it late.
        """
        if self._connection is None:
            self._connection = self._exit.enter_context(catalog.changing(self._state.workspace))
        return self._connection

    @property
    def dataset_id(self) -> int:
        """The dataset's number in the catalog."""
        return self._state.dataset_id

    def append(self, given: Mapping[str, Any] | pa.Table, *, timestamps: Any, labels: Any = None) -> range:
        """Add samples: payload columns (each with the samples on its first axis), timestamps (int64 us or datetimes), labels.

        Returns their keys. Raises DataError, with nothing of the call added, if the columns do not fit the dataset.
        """
        moments = _as_timestamps(timestamps)
        table = {name: given.column(name) for name in given.column_names} if isinstance(given, pa.Table) else given
        found = {name: columns.normalise(name, values) for name, values in table.items()}
        label, label_values = self._labels(labels, len(moments))
        for name, (_, values) in found.items():
            if len(values) != len(moments):
                raise DataError(f"column '{name}' has {len(values)} values, but there are {len(moments)} timestamps")
        if not len(moments):
            return range(self._next, self._next)
        self._adopt(Schema({name: column for name, (column, _) in found.items()}, label))
        values = {name: columns.conform(c, *found[name]) for name, c in self._known.columns.items()}
        if self._known.label is not None and label is not None and label_values is not None:
            label_values = _as_array(columns.conform(self._known.label, label, label_values))
        return self._add(Rows(moments, label_values, values))

    def link_files(self, paths: Sequence[str | Path], *, timestamps: Any, labels: Any = None) -> range:
        """Add samples that stay in the user's files, one file a sample: their bytes are the column ``payload``.

        Raises DataError, naming it, for a file that is not there.
        """
        moments = _as_timestamps(timestamps)
        label, label_values = self._labels(labels, len(moments))
        if len(paths) != len(moments):
            raise DataError(f"{len(paths)} files, but {len(moments)} timestamps")
        if not len(moments):
            return range(self._next, self._next)
        rows = linking.index_files(paths, moments, label_values)
        self._adopt(Schema({linking.PAYLOAD: Column(linking.PAYLOAD, "bytes")}, label))
        self._flush()
        keys = self._take_keys(len(moments))
        self._enter("files", rows, keys)
        return keys

    def link_records(self, records: Records) -> range:
        """Add fixed-size records that stay in the user's file; nothing is copied.

        Raises DataError if the file or a field does not fit.
        """
        entry = linking.index_records(records, origin_key=self._next)
        if not records.num_records:
            return range(self._next, self._next)
        self._adopt(Schema(records.column_specs(), records.label_spec()))
        self._flush()
        keys = self._take_keys(records.num_records)
        self._entries.append(({**entry, "first_key": keys.start, "end_key": keys.stop, "num_rows": len(keys)}, None))
        return keys

    def delete(self, keys: Any) -> int:
        """Delete samples in the same transaction; returns how many were live. Raises NotFound for a key never given."""
        asked = np.unique(as_keys(keys))
        doomed = self._state.retrying(lambda now: now.live_of(asked))
        self._doomed = np.union1d(self._doomed, doomed)
        return len(doomed)

    def _labels(self, given: Any, num: int) -> tuple[Column | None, Array | None]:
        if given is None:
            return None, None
        prepared = labels.prepare(given)
        if isinstance(prepared, pa.Array):
            values: Array = self._encode(prepared)
            column = Column("label", "array", "int64")
        else:
            column, values = prepared
            if self._classes is not None:
                labels.check_codes(values, self._classes)
        if len(values) != num:
            raise DataError(f"{len(values)} labels, but {num} timestamps")
        return column, values

    def _encode(self, text: pa.Array) -> Int64s:
        if self._classes is None:
            if self._schema is not None:
                raise DataError(f"labels are {self._schema.label or 'none'} in this dataset; got text")
            self._classes = ()
        if not self._head.classes_fixed:
            self._classes = (*self._classes, *labels.new_classes(text, self._classes))
        return labels.encode(text, self._classes)

    @property
    def _known(self) -> Schema:
        assert self._schema is not None
        return self._schema

    def _adopt(self, given: Schema) -> None:
        """Take the first samples' schema as the dataset's; refuse later ones that lack or add a column."""
        if self._schema is None:
            for name in given.columns:
                if name.startswith(RESERVED) or not name:
                    raise DataError(f"a column cannot be named '{name}': names with {RESERVED} are Modyn's own")
            self._schema = given
            return
        name = self._state.name
        missing = [c for c in self._schema.columns if c not in given.columns]
        unknown = [c for c in given.columns if c not in self._schema.columns]
        if missing or unknown:
            wrong = f"lacks column '{missing[0]}'" if missing else f"has no column '{unknown[0]}'"
            raise DataError(
                f"dataset '{name}': " + (f"what is appended {wrong}" if missing else f"the dataset {wrong}")
            )
        if (given.label is None) != (self._schema.label is None):
            has = "has no labels" if self._schema.label is None else "has labels"
            raise DataError(
                f"dataset '{name}' {has}, but what is appended {'has none' if given.label is None else 'has'}"
            )

    def _take_keys(self, num: int) -> range:
        keys = range(self._next, self._next + num)
        self._next += num
        return keys

    def _add(self, rows: Rows) -> range:
        self._pending.append(rows)
        self._pending_bytes += sum(columns.size_of(v) for v in rows.columns.values()) + 16 * len(rows)
        keys = self._take_keys(len(rows))
        if self._pending_bytes >= self._shard_bytes:
            self._flush(aside=True)
        return keys

    def _flush(self, *, aside: bool = False) -> None:
        """Write what is pending to a shard; ``aside`` in a second thread, while the caller parses on."""
        if not self._pending:
            return
        rows = _join(self._pending, self._known)
        self._pending, self._pending_bytes = [], 0
        end = self._next
        self._enter("arrow", rows, range(end - len(rows), end), aside=aside)

    def _enter(self, kind: str, rows: Rows, keys: range, *, aside: bool = False) -> None:
        entry = {
            "kind": kind,
            "first_key": keys.start,
            "end_key": keys.stop,
            "num_rows": len(keys),
            **shards.time_range(rows.timestamps),
            "link": None,
        }
        self._entries.append((entry, self._write(rows, aside=aside)))

    def _write(self, rows: Rows, *, aside: bool) -> Future[Written]:
        folder = self._state.folder
        if not aside:
            future: Future[Written] = Future()
            future.set_result(shards.write(folder, rows))
            return future
        if self._background is None:
            self._background = self._exit.enter_context(ThreadPoolExecutor(1))
        for _, earlier in self._entries[-1:]:
            if earlier is not None:
                earlier.result()  # at most one shard is on its way, so memory holds two at most
        return self._background.submit(shards.write, folder, rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._exit.__exit__(kind, error, trace)
                return
            generation = self._commit()
            self._exit.__exit__(None, None, None)  # commits the transaction, then frees the lock
            self.committed = True
        except BaseException as failure:
            self._exit.__exit__(type(failure), failure, failure.__traceback__)
            raise
        finally:
            self._release()
        if generation is not None:
            tell(self._state.folder, generation)
            if self._compact:
                compaction.compact_aside(self._state)

    def _release(self) -> None:
        """Give up the files; what no catalog names is removed."""
        written = [future.result() for _, future in self._entries if future is not None and not future.exception()]
        for file in written:
            file.close()
        if written and not self.committed:
            with suppress(DataError, NotFound):
                sweeping.sweep(self._state.workspace, self.dataset_id, self._state.folder)

    def _commit(self) -> int | None:
        """Add everything to the catalog; returns the generation, or None if nothing was appended."""
        self._flush()
        entries = [(entry, None if future is None else future.result()) for entry, future in self._entries]
        if not entries and not len(self._doomed):
            return None
        with shards.clear_errors(self._state.folder, "synced"):
            sync_folder(self._state.folder)
        connection = self.connection
        version, end_key, generation = catalog.advance(connection, self.dataset_id)
        if end_key != self._head.end_key:
            raise DataError(f"dataset '{self._state.name}' was appended to in spite of its lock; nothing was added")
        if entries:
            connection.execute(sa.insert(SHARDS), [_row(self.dataset_id, entry, w) for entry, w in entries])
        changed: dict[str, Any] = {"end_key": self._next}
        if self._head.schema is None:
            changed["schema"] = self._known.to_json()
        if self._classes != self._head.label_classes:
            changed["label_classes"] = json.dumps(self._classes)
        connection.execute(sa.update(DATASETS).where(DATASETS.c.id == self.dataset_id).values(**changed))
        num_deleted = deletions.insert(connection, self.dataset_id, version, self._doomed)
        commit = {"version": version, "at": time.time_ns() // 1000, "start_key": end_key, "end_key": self._next}
        connection.execute(sa.insert(COMMITS).values(dataset_id=self.dataset_id, num_deleted=num_deleted, **commit))
        return generation


def _row(dataset_id: int, entry: dict[str, Any], written: Written | None) -> dict[str, Any]:
    if written is None:
        return {"dataset_id": dataset_id, **entry}
    file = {"file": written.path.name, "num_bytes": written.num_bytes, "sha256": written.sha256}
    return {"dataset_id": dataset_id, **entry, **file}


def _join(parts: list[Rows], schema: Schema) -> Rows:
    if len(parts) == 1:
        return parts[0]
    label = None if schema.label is None else np.concatenate([p.labels for p in parts])
    values = {name: columns.join([p.columns[name] for p in parts]) for name in schema.columns}
    return Rows(np.concatenate([p.timestamps for p in parts]), label, values)


def _as_array(values: Values) -> Array:
    assert isinstance(values, np.ndarray)
    return values


def _as_timestamps(given: Any) -> Int64s:
    """Timestamps in microseconds. Raises DataError if they are neither integers nor datetimes, BadSample for a missing one."""
    column, values = columns.normalise("timestamp", given)
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iuM":
        if not len(values):
            return np.empty(0, np.int64)
        raise DataError(f"timestamps must be int64 microseconds or datetimes, one a sample; got {column}")
    moments = values.astype("M8[us]").view(np.int64) if values.dtype.kind == "M" else values.astype(np.int64)
    missing = np.flatnonzero(moments == np.iinfo(np.int64).min)
    if len(missing):
        raise BadSample(f"row {missing[0]}: the timestamp is missing")
    return moments
