"""Shards: immutable Arrow IPC files, uncompressed, one record batch each, read through NumPy views of the mapped file.

Columns of a shard's file: ``__key`` (only where keys are missing from its range), ``__timestamp``, ``__label`` (if labelled),
``__time_order`` (only where compaction found the samples out of time order: the rows in the order of their timestamps), then the payload.
A file is written under its final, unique name; it means nothing until the catalog names it.
"""

import hashlib
import mmap
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.datasets import late, ranks
from modyn.datasets.catalog import Schema, Shard
from modyn.datasets.columns import Column, Values, size_of, to_arrow, view
from modyn.datasets.locks import create_owned
from modyn.errors import Damaged, DataError
from modyn.types import Array, Int64s
from modyn.workspace import sync_folder

KEY, TIMESTAMP, LABEL, TIME_ORDER = "__key", "__timestamp", "__label", "__time_order"
SUFFIX = ".arrow"
_PADDING = "padding"
_MANY = 64
"""For fewer rows, finding out that they lie side by side costs more than it saves."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples on their way into a shard. ``keys`` is None where the keys are dense; all have ``n`` on their first axis."""

    timestamps: Int64s
    labels: Array | None
    columns: Mapping[str, Values]
    keys: Int64s | None = None
    time_order: Array | None = None

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def num_bytes(self) -> int:
        """Bytes that the values take."""
        index = [self.timestamps.nbytes, *(values.nbytes for values in (self.labels, self.keys) if values is not None)]
        return sum(index) + sum(size_of(values) for values in self.columns.values())


class Written:
    """A shard's file that no catalog names yet, on its way to the disk: ``wait`` until it is there, before it is named.

    It is owned until ``close``. The file and its folder are synced in a second thread and this one, at the same time.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.num_bytes = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._sync, daemon=True)
        self._thread.start()
        with mmap.mmap(descriptor, self.num_bytes, access=mmap.ACCESS_READ) as content:
            self.sha256 = hashlib.sha256(content).hexdigest()

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as failure:
            self._failure = failure

    def wait(self) -> None:
        """Return once the file and its name are durable. Raises DataError, naming it, if they cannot be."""
        with clear_errors(self.path, "written"):
            sync_folder(self.path.parent)
            self._thread.join()
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Give up the file: the catalog names it now, or it is removed by the next sweep."""
        self._thread.join()
        os.close(self._descriptor)


class Packed:
    """A small shard that the catalog keeps itself: as durable as the transaction that names it."""

    def __init__(self, rows: Rows) -> None:
        self.path = Path(f"{os.urandom(16).hex()}{SUFFIX}")
        sink = pa.BufferOutputStream()
        _write_batch(sink, rows)
        self.content = memoryview(sink.getvalue())
        self.num_bytes = len(self.content)
        self.sha256 = hashlib.sha256(self.content).hexdigest()

    def wait(self) -> None:
        """Nothing: the transaction's end is what is waited for."""

    def close(self) -> None:
        """Nothing: there is no file."""


def write(folder: Path, rows: Rows) -> Written:
    """Write rows to a new file in the folder.

    Raises DataError, naming the file, where the disk is full or read-only; nothing is left then.
    """
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    with clear_errors(path, "written"):
        descriptor = create_owned(path)
        try:
            with pa.OSFile(str(path), "wb") as file:
                _write_batch(file, rows)
            return Written(path, descriptor)
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise


def _write_batch(sink: Any, rows: Rows) -> None:
    index = {KEY: rows.keys, TIMESTAMP: rows.timestamps, LABEL: rows.labels, TIME_ORDER: rows.time_order}
    given: dict[str, Values] = {name: values for name, values in index.items() if values is not None}
    arrays = {name: to_arrow(values) for name, values in {**given, **rows.columns}.items()}
    names = sorted(arrays, key=lambda name: not _fills_pages(arrays[name]))
    batch = pa.RecordBatch.from_arrays([arrays[name] for name in names], names=names)
    if _fills_pages(batch.column(0)):
        batch = batch.replace_schema_metadata({_PADDING: " " * _padding(batch)})
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _fills_pages(array: pa.Array) -> bool:
    """Whether each row takes whole pages, so that it is worth beginning at a page: it would touch one more otherwise."""
    return bool(pa.types.is_fixed_size_binary(array.type) and array.type.byte_width % mmap.PAGESIZE == 0)


def _padding(batch: pa.RecordBatch) -> int:
    """How many bytes more of metadata let the first column begin at a page."""
    probe = batch.slice(0, 1).replace_schema_metadata({_PADDING: ""})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, probe.schema) as writer:
        writer.write_batch(probe)
    content = sink.getvalue()
    begins = pa.ipc.open_file(content).get_batch(0).column(0).buffers()[-1].address - content.address
    return int(-begins % mmap.PAGESIZE)


def time_range(timestamps: Int64s) -> dict[str, Any]:
    """What the catalog keeps of at least one timestamp: the range, and whether they ascend."""
    return {
        "min_time": int(timestamps.min()),
        "max_time": int(timestamps.max()),
        "in_time_order": bool((timestamps[1:] >= timestamps[:-1]).all()),
    }


def order_by_time(timestamps: Int64s) -> Array | None:
    """The rows in the order of their timestamps, 4 bytes each; None where that is the order they are in."""
    if (timestamps[1:] >= timestamps[:-1]).all():
        return None
    return np.argsort(timestamps, kind="stable").astype(np.uint32)


@contextmanager
def clear_errors(path: Path, done: str) -> Iterator[None]:
    """Turn the system's errors into DataError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be {done}: {os.strerror(error.errno) if error.errno else error}") from error


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(folder: Path, shard: Shard, content: bytes | None) -> None:
    """Compare a shard's file, or its ``content`` if it is inline, with what was written. Raises Damaged, naming it."""
    path = folder / shard.file
    with missing_is_damage(path):
        _check_size(path, shard, path.stat().st_size if content is None else len(content))
        found = hash_file(path) if content is None else hashlib.sha256(content).hexdigest()
        if found != shard.sha256:
            raise Damaged(f"{path}: bytes have changed since it was written (SHA-256 differs)")


def _check_size(path: Path, shard: Shard, size: int) -> None:
    if size != shard.num_bytes:
        raise Damaged(f"{path}: has {size} bytes, but {shard.num_bytes} were written")


@contextmanager
def missing_is_damage(path: Path) -> Iterator[None]:
    """Turn the system's and Arrow's errors on reading a file into Damaged, naming it."""
    try:
        yield
    except FileNotFoundError:
        raise Damaged(f"{path}: the file is missing") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError) as error:
        raise Damaged(f"{path}: is not the Arrow file that was written: {error}") from None
    except OSError as error:
        raise Damaged(f"{path}: cannot be read: {error.strerror or error}") from error


class OpenShard:
    """A shard's file, mapped. Arrays are views of the mapping; nothing is read until it is used.

    An inline shard has its ``content`` in memory instead.
    """

    def __init__(self, folder: Path, shard: Shard, schema: Schema, content: bytes | None = None) -> None:
        """Map the file. Raises FileNotFoundError if it is gone, Damaged if it is not what was written."""
        self.shard = shard
        self.path = folder / shard.file
        self.schema = schema
        self.mapping: mmap.mmap | None = None
        self._views: dict[str, Values] = {}
        if content is None:
            with self.path.open("rb") as file:
                _check_size(self.path, shard, os.fstat(file.fileno()).st_size)
                self.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        else:
            _check_size(self.path, shard, len(content))
        with missing_is_damage(self.path):
            reader = pa.ipc.open_file(pa.py_buffer(self.mapping if content is None else content))
            if reader.num_record_batches != 1 or (batch := reader.get_batch(0)).num_rows != shard.num_rows:
                raise Damaged(f"{self.path}: does not hold the {shard.num_rows} rows that were written")
            self._batch = batch

    def __len__(self) -> int:
        return self.shard.num_rows

    @property
    def stored(self) -> Mapping[str, Column]:
        """The columns of the file beyond the index columns."""
        return self.schema.columns

    @cached_property
    def keys(self) -> Int64s | None:
        """The keys, ascending; None where they are dense."""
        return None if self.shard.is_dense else self._index(KEY, "int64")

    @cached_property
    def rank(self) -> ranks.Rank | None:
        """Where each key stands among the keys; None where they are dense."""
        return None if self.keys is None else ranks.Rank.of(self.keys)

    @property
    def timestamps(self) -> Int64s:
        found: Int64s = self._index(TIMESTAMP, "int64")
        return found

    @property
    def labels(self) -> Array | None:
        label = self.schema.label
        if label is None:
            return None
        return self._array(LABEL, label) if self._holds_labels else late.unknown(label, len(self))

    @cached_property
    def _holds_labels(self) -> bool:
        """Whether the samples came with a label, or one that was not known yet."""
        return LABEL in self._batch.schema.names

    @property
    def time_order(self) -> Array | None:
        """The rows in the order of their timestamps, where the shard keeps that."""
        return self._index(TIME_ORDER, "uint32") if TIME_ORDER in self._batch.schema.names else None

    def column(self, name: str) -> Values:
        """A stored column: an array, or an Arrow array of large text or binary."""
        column = self.stored[name]
        found = self._views.get(name)
        if found is None:
            with missing_is_damage(self.path):
                found = view(self._batch.column(name), column)
                if not isinstance(found, np.ndarray):
                    found.validate()
            self._views[name] = found
        return found

    def _array(self, name: str, column: Column) -> Array:
        found = self._views.get(name)
        if found is None:
            with missing_is_damage(self.path):
                found = self._views[name] = view(self._batch.column(name), column)
        assert isinstance(found, np.ndarray)
        return found

    def _index(self, name: str, dtype: str) -> Any:
        return self._array(name, Column(name, "array", dtype))

    def explicit_keys(self) -> Int64s:
        """The keys, ascending, also where they are dense."""
        return np.arange(self.shard.first_key, self.shard.end_key) if self.keys is None else self.keys

    def rows_of(self, keys: Int64s) -> Int64s:
        """Rows of keys that lie in the shard's range, to be read only; -1 for a key that is not there."""
        if self.rank is not None:
            return self.rank.rows_of(keys)
        return keys - self.shard.first_key if self.shard.first_key else keys

    def gather(self, name: str, rows: Int64s, out: Array) -> None:
        """Copy the rows of a column of kind ``array`` to ``out[n, ...]``; rows must be in range."""
        column = self._views.get(name)
        if column is None:
            column = self.column(name)
        if len(rows) >= _MANY and rows[-1] - rows[0] == len(rows) - 1 and (rows[1:] - rows[:-1] == 1).all():
            out[...] = column[rows[0] : rows[-1] + 1]  # side by side: one copy
        else:
            column.take(rows, axis=0, out=out, mode="clip")

    def gather_labels(self, rows: Int64s, out: Array) -> None:
        """Copy the labels of rows to ``out[n, ...]``."""
        label = self.schema.label
        assert label is not None
        if self._holds_labels:
            np.take(self._array(LABEL, label), rows, axis=0, out=out, mode="clip")
        else:
            out[...] = late.unknown(label, 1)

    def gather_any_length(self, name: str, rows: Int64s) -> pa.Array:
        """The rows of a column of kind ``text`` or ``bytes``, as one new Arrow array. Raises Damaged for bad offsets."""
        self._ranges(name, rows)
        return self.column(name).take(pa.array(rows))

    def bytes_of(self, name: str, rows: Int64s) -> list[memoryview]:
        """The rows of a column of kind ``bytes``, each a view of the mapped file. Raises Damaged for bad offsets."""
        starts, ends = self._ranges(name, rows)
        data = memoryview(self.column(name).buffers()[2])  # type: ignore[union-attr]
        return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def span(self, name: str, rows: Int64s) -> tuple[Int64s, Int64s] | None:
        """Where the bytes of a column's rows lie in the mapped file: ``(starts[n], ends[n])``; None if they are not in it."""
        column, values = self.stored[name], self.column(name)
        if self.mapping is None:
            return None
        base = self.address
        if isinstance(values, np.ndarray):
            width = values.strides[0]
            starts = values.ctypes.data - base + rows * width
            return starts, starts + width
        if column.kind != "array" and values.buffers()[2] is not None:
            begins, ends = self._ranges(name, rows)
            data = values.buffers()[2].address - base
            return begins + data, ends + data
        return None

    @cached_property
    def address(self) -> int:
        """Where the mapping begins in memory."""
        assert self.mapping is not None
        return int(np.frombuffer(self.mapping, np.uint8).ctypes.data)

    def _ranges(self, name: str, rows: Int64s) -> tuple[Int64s, Int64s]:
        _, offsets, data = self.column(name).buffers()  # type: ignore[union-attr]
        places = np.frombuffer(offsets, np.int64)
        starts, ends = places[rows], places[rows + 1]
        if len(rows) and (starts.min() < 0 or (ends < starts).any() or ends.max() > (data.size if data else 0)):
            raise Damaged(f"{self.path}: column '{name}' points outside the file")
        return starts, ends
