"""Linked storage: samples that stay where the user keeps them, indexed in place.

``records``  a binary file of fixed-size records: nothing is stored but where the fields of a record lie; labels and timestamps are
             strided views of the user's file. Record ``key - origin_key`` belongs to ``key``.
``files``    one file a sample: an Arrow file of paths, sizes and modification times beside timestamps and labels.

A linked file that is missing, or is not what it was when it was linked, is Damaged, naming it.
"""

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.datasets import late
from modyn.datasets.catalog import Schema, Shard
from modyn.datasets.columns import Column
from modyn.datasets.shards import OpenShard
from modyn.errors import Damaged, DataError
from modyn.types import Array, Int64s

PATH, SIZE, MTIME = "__path", "__size", "__mtime"
PAYLOAD = "payload"
FILES_COLUMNS = {
    PATH: Column(PATH, "text"),
    SIZE: Column(SIZE, "array", "int64"),
    MTIME: Column(MTIME, "array", "int64"),
}
Contents = Callable[[Sequence[str]], Mapping[str, bytes]]
"""Gives the bytes of inline shards by their names; raises FileNotFoundError."""
_EDGE = 4096
"""Bytes at either end of the linked records that are hashed, to know the file again after it grew."""


@dataclass(frozen=True)
class Field:
    """Where a value lies in a record: ``offset`` in bytes, NumPy ``dtype`` with its byte order, ``shape`` of one value.

    A timestamp's value is multiplied by ``scale`` to give microseconds.
    """

    offset: int
    dtype: str
    shape: tuple[int, ...] = ()
    scale: int = 1

    @property
    def num_bytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class Records:
    """Fixed-size records in a user's file: ``num_records`` of ``record_size`` bytes from byte ``start`` on.

    ``columns`` are the payload; ``timestamp`` is a field, or one moment in microseconds for all.
    """

    path: str
    record_size: int
    num_records: int
    columns: Mapping[str, Field]
    timestamp: Field | int
    label: Field | None = None
    start: int = 0

    def column_specs(self) -> dict[str, Column]:
        """What each payload column is."""
        return {
            name: Column(name, "array", np.dtype(field.dtype).newbyteorder("<").name, field.shape)
            for name, field in self.columns.items()
        }

    def label_spec(self) -> Column | None:
        """What the label is: integers become int64."""
        if self.label is None:
            return None
        dtype = np.dtype(self.label.dtype)
        return Column(
            "label", "array", dtype.newbyteorder("<").name if dtype.kind == "f" else "int64", self.label.shape
        )

    def view(self, content: Any, field: Field) -> Array:
        """The field of every record as a strided view of the file's bytes."""
        strides = (self.record_size, *_strides(field))
        return np.ndarray((self.num_records, *field.shape), field.dtype, content, self.start + field.offset, strides)

    def check(self) -> None:
        """Raises DataError if a field leaves the record."""
        fields = {**self.columns, "label": self.label, "timestamp": self.timestamp}
        for name, field in fields.items():
            if isinstance(field, Field) and not 0 <= field.offset <= self.record_size - field.num_bytes:
                raise DataError(
                    f"{self.path}: field '{name}' takes bytes {field.offset} to {field.offset + field.num_bytes} of a "
                    f"record of {self.record_size} bytes"
                )


def _strides(field: Field) -> tuple[int, ...]:
    return np.empty(field.shape, field.dtype).strides


def map_records(records: Records) -> mmap.mmap:
    """Map the user's file. Raises Damaged, naming it, if it is missing or too short."""
    end = records.start + records.num_records * records.record_size
    try:
        with open(records.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < end:
                raise Damaged(f"{records.path}: the linked file has {size} bytes, but the records linked need {end}")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise Damaged(f"{records.path}: the linked file is missing") from None
    except OSError as error:
        raise Damaged(f"{records.path}: the linked file cannot be read: {error.strerror}") from error


def fingerprint(records: Records, content: mmap.mmap) -> str:
    """SHA-256 of both ends of the linked records."""
    end = records.start + records.num_records * records.record_size
    digest = hashlib.sha256(content[records.start : min(records.start + _EDGE, end)])
    digest.update(content[max(end - _EDGE, records.start) : end])
    return digest.hexdigest()


def to_json(records: Records, *, origin_key: int, mtime_ns: int, edges: str) -> str:
    """What the catalog keeps of linked records."""
    return json.dumps({**asdict(records), "origin_key": origin_key, "mtime_ns": mtime_ns, "edges": edges})


def from_json(text: str) -> tuple[Records, int, int, str]:
    """Records, origin key, modification time (ns) and the hash of both ends."""
    document = json.loads(text)
    origin, mtime, edges = document.pop("origin_key"), document.pop("mtime_ns"), document.pop("edges")
    return from_document(document), origin, mtime, edges


def from_document(document: Mapping[str, Any]) -> Records:
    """Records from JSON's types."""
    fields = dict(document)
    fields["columns"] = {name: _field(field) for name, field in fields["columns"].items()}
    fields["label"] = None if fields["label"] is None else _field(fields["label"])
    if isinstance(fields["timestamp"], Mapping):
        fields["timestamp"] = _field(fields["timestamp"])
    return Records(**fields)


def _field(document: Mapping[str, Any]) -> Field:
    return Field(document["offset"], document["dtype"], tuple(document["shape"]), document.get("scale", 1))


class OpenFiles(OpenShard):
    """One file a sample: paths are stored, the payload is read from the user's files."""

    @property
    def stored(self) -> Mapping[str, Column]:
        return FILES_COLUMNS

    def bytes_of(self, name: str, rows: Int64s) -> list[memoryview]:
        paths = super().gather_any_length(PATH, rows).to_pylist()
        sizes, mtimes = self.column(SIZE)[rows].tolist(), self.column(MTIME)[rows].tolist()
        return [memoryview(_read(*known)) for known in zip(paths, sizes, mtimes, strict=True)]

    def gather_any_length(self, name: str, rows: Int64s) -> pa.Array:
        if name in FILES_COLUMNS:
            return super().gather_any_length(name, rows)
        return pa.array([bytes(part) for part in self.bytes_of(name, rows)], pa.large_binary())

    def span(self, name: str, rows: Int64s) -> None:
        """The bytes lie in the user's files, each to be opened by itself."""

    def link_faults(self) -> list[str]:
        """What is wrong with the linked files: a line for each that is missing or has changed."""
        known = zip(self.column(PATH).to_pylist(), self.column(SIZE).tolist(), self.column(MTIME).tolist(), strict=True)  # type: ignore[union-attr]
        faults = []
        for path, size, mtime in known:
            try:
                _check_stat(path, _stat(path), size, mtime)
            except Damaged as damage:
                faults.append(str(damage))
        return faults


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise Damaged(f"{path}: the linked file is missing or cannot be read: {error.strerror}") from None


def _check_stat(path: str, found: os.stat_result, size: int, mtime_ns: int) -> None:
    if found.st_size != size or found.st_mtime_ns != mtime_ns:
        raise Damaged(f"{path}: the linked file has changed since it was linked")


def _read(path: str, size: int, mtime_ns: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            _check_stat(path, os.fstat(file.fileno()), size, mtime_ns)
            return file.read()
    except OSError as error:
        raise Damaged(f"{path}: the linked file is missing or cannot be read: {error.strerror}") from None


class OpenRecords(OpenShard):
    """Linked fixed-size records: every array is a strided view of the user's file.

    Which samples there are is known without it, so that those of a file that is lost can be counted, and deleted.
    """

    def __init__(self, folder: Path, shard: Shard, schema: Schema) -> None:
        assert shard.link is not None
        self.records, self._origin, self._mtime_ns, self._edges = from_json(shard.link)
        if shard.is_dense:
            self.shard, self.schema, self.path, self._views = shard, schema, Path(self.records.path), {}
            self.mapping = None
        else:  # some were purged: a file of the keys that are left
            super().__init__(folder, shard, schema)
        self._num_gone = self.records.num_records - shard.num_rows

    @cached_property
    def _content(self) -> mmap.mmap:
        """The user's file, mapped when something of it is first asked for. Raises Damaged if it is missing or has changed."""
        content = map_records(self.records)
        touched = os.stat(self.records.path).st_mtime_ns != self._mtime_ns
        if touched and fingerprint(self.records, content) != self._edges:
            raise Damaged(f"{self.records.path}: the linked file has changed since it was linked")
        self.mapping = content
        return content

    def link_faults(self) -> list[str]:
        """What is wrong with the linked file: nothing, or a line."""
        try:
            self._content  # noqa: B018 looking at it is the check
        except Damaged as damage:
            return [str(damage)]
        return []

    @property
    def stored(self) -> Mapping[str, Column]:
        return {}

    @cached_property
    def _records_left(self) -> Int64s | None:
        """Which records of the file the rows are; None where all."""
        if self.keys is not None:
            return self.keys - self._origin
        if self._num_gone:
            first = self.shard.first_key - self._origin
            return np.arange(first, first + self.shard.num_rows)
        return None

    def _left(self, values: Array) -> Array:
        return values if self._records_left is None else values[self._records_left]

    @property
    def timestamps(self) -> Int64s:
        stamp = self.records.timestamp
        if isinstance(stamp, int):
            return np.broadcast_to(np.int64(stamp), (self.shard.num_rows,))
        return self._left(self.records.view(self._content, stamp)).astype(np.int64) * stamp.scale

    @property
    def labels(self) -> Array | None:
        label, field = self.schema.label, self.records.label
        if label is None:
            return None
        if field is None:
            return late.unknown(label, len(self))
        values = self._left(self.records.view(self._content, field))
        return values if values.dtype == label.storage_dtype else values.astype(label.storage_dtype)

    @property
    def time_order(self) -> Array | None:
        return None

    def column(self, name: str) -> Array:
        return self._left(self._field(name))

    def _field(self, name: str) -> Array:
        return self.records.view(self._content, self.records.columns[name])

    def span(self, name: str, rows: Int64s) -> tuple[Int64s, Int64s]:
        assert self._content is self.mapping
        records = rows if self._records_left is None else self._records_left[rows]
        starts = self.records.start + records * self.records.record_size
        return starts, starts + self.records.record_size

    def gather(self, name: str, rows: Int64s, out: Array) -> None:
        out[...] = self._field(name)[rows if self._records_left is None else self._records_left[rows]]

    def gather_labels(self, rows: Int64s, out: Array) -> None:
        if self.records.label is None:
            assert self.schema.label is not None
            out[...] = late.unknown(self.schema.label, 1)
            return
        values = self.records.view(self._content, self.records.label)
        out[...] = values[rows if self._records_left is None else self._records_left[rows]]


def open_shard(folder: Path, shard: Shard, schema: Schema, content: bytes | None) -> OpenShard:
    """Map a shard of any kind; ``content`` are the bytes of an inline one.

    Raises FileNotFoundError if its file in the workspace is gone, Damaged if it was changed.
    """
    kinds: Mapping[str, type[OpenShard]] = {"arrow": OpenShard, "files": OpenFiles, "records": OpenRecords}
    return (
        OpenShard(folder, shard, schema, content)
        if shard.kind == "inline"
        else kinds[shard.kind](folder, shard, schema)
    )
