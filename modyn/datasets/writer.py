"""Appending: rows become shards on the disk first, and then samples in one transaction on the catalog.

The order of what happens, and what a crash leaves at each point:

1. the dataset's append lock is taken, so the next key is known; a crash frees it
2. rows are written to new files and synced; a crash leaves files that no catalog names, which the next sweep removes
3. one transaction adds shards, commit and version, and ends once files and folder are synced: all of it happens, or none
   the new generation is told to other processes just before: until it is there, they find that they look in vain
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from modyn.datasets import catalog, columns, compaction, deletions, labels, late, linking, shards, snapshot, sweeping
from modyn.datasets.catalog import Schema
from modyn.datasets.columns import Column, Values
from modyn.datasets.gathering import Gathering
from modyn.datasets.links import Records, from_document
from modyn.datasets.locks import exclusive
from modyn.datasets.ranks import as_keys
from modyn.datasets.shards import Packed, Rows, Written
from modyn.datasets.snapshot import Files, Snapshot
from modyn.datasets.state import State, tell
from modyn.errors import BadSample, DataError, NotFound
from modyn.types import Array, Int64s

APPEND_LOCK = "append.lock"
RESERVED = "__"
SHARD_BYTES = 64 << 20
"""Many appends are gathered to shards of this size. One append of as much is written as it is, without a copy, to shards of up to
``compaction.TARGET_BYTES``: rows of fewer shards are read faster (measured on 156-byte rows: 40 ns each from one shard, 48 from six).
"""
INLINE_BYTES = 256 << 10
"""What is committed at once and takes no more than this is kept in the catalog until it is compacted: one wait for the disk, not two."""


Writing = Written | Packed | Future[Written]
"""A shard, or one that a thread is writing."""


class Writer:
    """Appends to one dataset, in one transaction; get it from ``Dataset.write()``.

    What is appended is there for everybody when the ``with`` block ends, and not at all if it ends by an error.
    """

    def __init__(self, state: State, *, shard_bytes: int | None = None, compact: bool = True) -> None:
        self._state = state
        self._shard_bytes = shard_bytes or SHARD_BYTES
        self._bulk_bytes = compaction.TARGET_BYTES if shard_bytes is None else shard_bytes
        self._compact = compact
        self._exit = ExitStack()
        self._connection: sa.Connection | None = None
        self._gathering: Gathering | None = None
        self._doomed = np.empty(0, np.int64)
        self._late: list[tuple[Int64s, Array]] = []
        self._entries: list[tuple[dict[str, Any], Writing | None]] = []
        self._background: ThreadPoolExecutor | None = None
        self._is_broken = False
        self.committed = False

    def __enter__(self) -> "Writer":
        if self._state.version is not None:
            raise DataError(f"dataset '{self._state.name}' at version {self._state.version} can be read only")
        with self._exit as stack:
            with shards.clear_errors(self._state.folder, "written"):
                stack.enter_context(exclusive(self._state.folder / APPEND_LOCK, purpose="an append"))
            self._before = self._state.snapshot()  # nobody else appends while the lock is held
            self._state.sweep_once()
            self._exit = stack.pop_all()
        head = self._before.head
        self._schema = head.schema
        self._classes = head.label_classes
        self._next = self._sharded = head.end_key
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
        return self._add(Rows(moments, self._conformed(label, label_values, len(moments)), values))

    def _conformed(self, label: Column | None, values: Array | None, num: int) -> Array | None:
        """Labels of the dataset's type; where they may come late, those that are missing are not known yet."""
        known = self._known.label
        if known is None:
            return None
        if label is None or values is None:
            return np.array(late.unknown(known, num))
        return _as_array(columns.conform(known, label, values))

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
        rows = replace(rows, labels=self._conformed(label, label_values, len(moments)))
        self._flush()
        with self._taking(len(moments)) as keys:
            self._enter("files", rows)
        return keys

    def link_records(self, records: Records | Mapping[str, Any]) -> range:
        """Add fixed-size records that stay in the user's file; nothing is copied. A mapping is ``Records`` in JSON's types.

        Raises DataError if the file or a field does not fit.
        """
        records = records if isinstance(records, Records) else from_document(records)
        entry = linking.index_records(records, origin_key=self._next)
        if not records.num_records:
            return range(self._next, self._next)
        self._adopt(Schema(records.column_specs(), records.label_spec()))
        self._flush()
        with self._taking(records.num_records) as keys:
            self._note(entry, len(keys), None)
        return keys

    def delete(self, keys: Any) -> int:
        """Delete samples in the same transaction; returns how many were live. Raises NotFound for a key never given."""
        asked = np.unique(as_keys(keys))
        doomed = self._state.retrying(lambda now: now.live_of(asked))
        self._doomed = np.union1d(self._doomed, doomed)
        return len(doomed)

    def label(self, keys: Any, labels: Any) -> int:
        """Give samples labels that became known after they were appended, or others than they had; returns how many got one.

        Of a key that is named twice the last label counts; a deleted sample stays deleted. From then on samples may be appended without labels.
        Raises NotFound for a key that was never given before, DataError if the labels are of another type than the dataset's.
        """
        asked = as_keys(keys)
        if not len(asked):
            return 0
        column, values = self._labels(labels, len(asked), of="keys")
        if column is None or values is None:
            raise DataError("labels are missing; got None")
        live = self._state.retrying(lambda now: now.live_of(np.unique(asked)))
        if not len(live):
            return 0
        known = self._known
        label = column if known.label is None else known.label
        if known.label is None:
            self._flush()  # what was appended before has no label
            self._gathering = None
        may_miss = label.dtype == "int64" or label.dtype.startswith("float")
        self._schema = replace(known, label=label, late=known.late or may_miss)
        chosen = np.isin(asked, live)
        fitting = _as_array(columns.conform(label, column, values))
        self._late.append((asked[chosen], fitting[chosen]))
        return len(live)

    def _labels(self, given: Any, num: int, *, of: str = "timestamps") -> tuple[Column | None, Array | None]:
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
            raise DataError(f"{len(values)} labels, but {num} {of}")
        return column, values

    def _encode(self, text: pa.Array) -> Int64s:
        if self._classes is None:
            if self._schema is not None and self._schema.label is not None:
                raise DataError(f"labels are {self._schema.label} in this dataset; got text")
            self._classes = ()
        if not self._before.head.classes_fixed:
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
        if (given.label is None) != (self._schema.label is None) and not (self._schema.late and given.label is None):
            late = "dataset.label(keys, labels) or modyn data label gives labels to samples that are there"
            wrong = (
                f"has no labels, but what is appended has; append without them, then {late}"
                if self._schema.label is None
                else f"has labels, but what is appended has none. {late}; from the first of them on, samples may come without"
            )
            raise DataError(f"dataset '{name}' {wrong}")

    @contextmanager
    def _taking(self, num: int) -> Iterator[range]:
        """Keys for samples that are then stored. If that fails nothing can be committed, whoever catches the error: keys would lack rows."""
        keys = range(self._next, self._next + num)
        self._next += num
        try:
            yield keys
        except BaseException:
            self._is_broken = True
            raise

    def _add(self, rows: Rows) -> range:
        if self._shard_bytes <= rows.num_bytes and self._shard_bytes < self._bulk_bytes:
            return self._add_in_bulk(rows)
        if self._gathering is None:
            self._gathering = Gathering(self._known, self._shard_bytes)
        with self._taking(len(rows)) as keys:
            for full in self._gathering.add(rows):
                self._enter("arrow", full, aside=True)
        return keys

    def _add_in_bulk(self, rows: Rows) -> range:
        """Write many rows from the memory they are in, to as few shards as there can be."""
        self._flush()
        num_shards = -(-rows.num_bytes // self._bulk_bytes)
        step = -(-len(rows) // num_shards)
        with self._taking(len(rows)) as keys:
            for start in range(0, len(rows), step):
                self._enter("arrow", _part(rows, slice(start, start + step)))
        return keys

    def _flush(self) -> None:
        """Write what is left to a shard."""
        if self._gathering is not None and len(self._gathering):
            rows = self._gathering.take()
            small = (
                not self._entries and rows.num_bytes <= INLINE_BYTES and catalog.keeps_contents(self._state.workspace)
            )
            with self._taking(0):  # the rows have keys already
                self._enter("inline" if small else "arrow", rows)

    def _enter(self, kind: str, rows: Rows, *, aside: bool = False) -> None:
        """Write a shard of the first rows that have keys but no shard yet; ``aside`` while the caller parses on."""
        entry = {"kind": kind, **shards.time_range(rows.timestamps), "link": None}
        written = Packed(rows) if kind == "inline" else self._write(rows, aside=aside)
        self._note(entry, len(rows), written)

    def _note(self, entry: Mapping[str, Any], num: int, written: Writing | None) -> None:
        keys = {"first_key": self._sharded, "end_key": self._sharded + num, "num_rows": num}
        self._entries.append(({**entry, **keys}, written))
        self._sharded += num

    def _write(self, rows: Rows, *, aside: bool) -> Writing:
        folder = self._state.folder
        if not aside:
            return shards.write(folder, rows)
        if self._background is None:
            self._background = self._exit.enter_context(ThreadPoolExecutor(1))
        for _, earlier in self._entries[-1:]:
            if earlier is not None:
                _done(earlier)  # its memory is the next to be used again
        return self._background.submit(shards.write, folder, rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._exit.__exit__(kind, error, trace)
                return
            after = self._commit()
            self._exit.__exit__(None, None, None)  # commits the transaction, then frees the lock
            self.committed = True
        except BaseException as failure:
            self._exit.__exit__(type(failure), failure, failure.__traceback__)
            raise
        finally:
            self._release()
        if after is not None:
            if not len(self._doomed) and not self._late:
                self._state.take(after, before=self._before)
            if self._compact:
                compaction.compact_aside(self._state)

    def _release(self) -> None:
        """Give up the files; what no catalog names is removed."""
        begun = [writing for _, writing in self._entries if writing is not None]
        written = [_done(w) for w in begun if not (isinstance(w, Future) and w.exception())]
        for file in written:
            file.close()
        if written and not self.committed:
            with suppress(DataError, NotFound):
                sweeping.sweep(self._state.workspace, self.dataset_id, self._state.folder)

    def _commit(self) -> Snapshot | None:
        """Add everything to the catalog; returns what the dataset holds then, or None if nothing was changed."""
        if self._is_broken:
            raise DataError(
                f"dataset '{self._state.name}': an append of this write has failed, so nothing of it is added"
            )
        self._flush()
        entries = [(entry, None if writing is None else _done(writing)) for entry, writing in self._entries]
        if not entries and not len(self._doomed) and not self._late:
            return None
        rows = [_row(self.dataset_id, entry, written) for entry, written in entries]
        connection, start = self.connection, self._before.head.end_key
        if rows or self._late:
            head = catalog.extend(
                connection, self.dataset_id, keys=range(start, self._next), schema=self._known, classes=self._classes
            )
        else:
            head = catalog.advance(connection, self.dataset_id)
        if rows:
            catalog.add_shards(connection, rows)
        if self._late and head.generation > self._before.head.generation + 1:
            self._late = self._still_there(connection)
        if self._late:
            delivered = late.NONE.extended(self._late, head.version)
            assert delivered.labels is not None
            late.insert(connection, self.dataset_id, head.version, delivered.keys, delivered.labels)
        for _, written in entries:
            if isinstance(written, Packed):
                catalog.add_content(connection, self.dataset_id, written.path.name, written.content)
        num_deleted = deletions.insert(connection, self.dataset_id, head.version, self._doomed)
        catalog.add_commit(connection, head, start_key=start, num_deleted=num_deleted)
        for _, written in entries:
            if written is not None:
                written.wait()
        tell(self._state.folder, head.generation)
        return self._before.extended(head, [catalog.shard_of(row) for row in rows])

    def _still_there(self, connection: sa.Connection) -> list[tuple[Int64s, Array]]:
        """The labels without those of samples that were purged since they were given: nothing would ever remove them."""
        files = Files(self._state.folder, partial(catalog.contents, self._state.workspace, self.dataset_id))
        now = snapshot.take(connection, self.dataset_id, files, version=self._before.version)
        there = [now.present(keys) for keys, _ in self._late]
        found = zip(self._late, there, strict=True)
        return [(keys[mask], values[mask]) for (keys, values), mask in found if mask.any()]


def _done(writing: Writing) -> Written | Packed:
    """The shard, once it is written. Raises what went wrong."""
    return writing.result() if isinstance(writing, Future) else writing


def _row(dataset_id: int, entry: dict[str, Any], written: Written | Packed | None) -> dict[str, Any]:
    if written is None:
        return {"dataset_id": dataset_id, **entry}
    file = {"file": written.path.name, "num_bytes": written.num_bytes, "sha256": written.sha256}
    return {"dataset_id": dataset_id, **entry, **file}


def _part(rows: Rows, chosen: slice) -> Rows:
    """Some of the rows: views, unless an array is not laid out as a file has it."""
    labels = None if rows.labels is None else np.ascontiguousarray(rows.labels[chosen])
    stored = {
        name: np.ascontiguousarray(values[chosen]) if isinstance(values, np.ndarray) else values[chosen]
        for name, values in rows.columns.items()
    }
    return Rows(rows.timestamps[chosen], labels, stored)


def _as_array(values: Values) -> Array:
    assert isinstance(values, np.ndarray)
    return values


_MISSING = np.iinfo(np.int64).min


def _as_timestamps(given: Any) -> Int64s:
    """Timestamps in microseconds. Raises DataError if they are neither integers nor datetimes, BadSample for a missing one."""
    column, values = columns.normalise("timestamp", given)
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iuM":
        if not len(values):
            return np.empty(0, np.int64)
        raise DataError(f"timestamps must be int64 microseconds or datetimes, one a sample; got {column}")
    moments = values.view(np.int64) if values.dtype.kind == "M" else values
    moments = np.ascontiguousarray(moments, np.int64)
    if len(moments) and moments.min() == _MISSING:
        raise BadSample(f"row {moments.argmin()}: the timestamp is missing")
    return moments
