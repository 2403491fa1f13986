"""The values that travel inside this package: a file, what was read from it, and what is wrong with a row."""

import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

import numpy as np
import pyarrow as pa

from modyn.errors import DataError
from modyn.types import Array, Int64s

Labels: TypeAlias = Array | pa.Array | None
"""Numbers ``[n]`` or ``[n, c]``, text classes as Arrow text ``[n]``, or none."""
RAW_LIMIT = 64 * 1024
"""A bad row's own bytes are kept beside it up to this size."""


UNREADABLE = (
    pa.ArrowException,
    EOFError,
    ValueError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a file raises if its bytes are not what its format asks for."""


class Unreachable(DataError):
    """A file cannot be got at just now: the look ends, and the next one tries again."""


@dataclass(frozen=True, order=True)
class Cursor:
    """Where reading a file goes on: ``offset`` in the format's unit (bytes, row groups, records), ``row`` rows in."""

    offset: int = 0
    row: int = 0


START = Cursor()


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a source, as it was when it was looked at. ``path`` is as the file system spells it, with its protocol."""

    path: str
    size: int
    mtime_us: int
    fs: Any = field(repr=False, compare=False)
    final: bool = True
    """Whether nobody is writing it any more, so that a last line without a line end is whole."""

    inode: int | None = None
    """Its number on a local disk, by which a file that has taken over the name since it was looked at is told."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_compressed(self) -> bool:
        return self.path.endswith((".gz", ".bz2", ".xz", ".zip", ".zst"))

    def open(self, *, decompress: bool = False) -> IO[bytes]:
        """The file's bytes; with ``decompress``, those inside a .gz, .bz2, .xz or .zip. Raises FileNotFoundError if it has moved."""
        stream: IO[bytes] = self.fs.open(self.path, "rb", compression="infer" if decompress else None)
        try:
            if self.inode is not None and os.stat(self.path).st_ino != self.inode:
                raise FileNotFoundError(self.path)
            return stream
        except FileNotFoundError:
            stream.close()
            raise

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """The file's bytes, or some of them. Many small local files are read four times as fast past fsspec."""
        if "://" in self.path:
            return self.fs.cat_file(self.path, start=start, end=end)  # type: ignore[no-any-return]
        with open(self.path, "rb") as file:
            if self.inode is not None and os.fstat(file.fileno()).st_ino != self.inode:
                raise FileNotFoundError(self.path)
            file.seek(start)
            return file.read() if end is None else file.read(max(0, end - start))


@dataclass(frozen=True, kw_only=True)
class Bad:
    """One unusable row: its number in the file (0 is the first row of data), why, and its bytes where they are few."""

    row: int
    reason: str
    value: str | None = None
    raw: bytes | None = None

    def __str__(self) -> str:
        return self.reason if self.value is None else f"{self.reason}: {self.value!r}"


def as_arrow(values: Array) -> pa.Array:
    """Numbers as an Arrow array over the same memory; ``pa.array`` would import pandas to see that they are no frame."""
    flat = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)])


def as_numpy(array: pa.Array) -> Array:
    """Numbers without gaps as a NumPy array over the same memory, to read only; ``to_numpy`` would import pandas."""
    kind = array.type
    letter = "f" if pa.types.is_floating(kind) else "u" if pa.types.is_unsigned_integer(kind) else "i"
    dtype = np.dtype(f"{letter}{kind.bit_width // 8}")
    if not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def _no_raw(rows: Int64s) -> list[bytes | None]:
    return [None] * len(rows)


@dataclass(frozen=True, eq=False)
class Rows:
    """Consecutive rows read from a file, bad ones set apart.

    ``numbers[n]``: each row's number in the file. ``raw(i)``: the bytes of rows ``i`` of the table, if the format can
    give them. ``end``: where to go on.
    """

    table: pa.Table
    numbers: Int64s
    end: Cursor
    bad: Sequence[Bad] = ()
    raw: Callable[[Int64s], list[bytes | None]] = _no_raw


@dataclass(frozen=True, eq=False)
class Shaped:
    """Samples ready to append: payload columns, ``timestamps[n]`` (us), ``labels[n]`` or ``[n, c]``, ``numbers[n]`` in the file."""

    table: pa.Table
    timestamps: Int64s
    labels: Labels
    numbers: Int64s
    bad: Sequence[Bad] = ()

    def __len__(self) -> int:
        return len(self.timestamps)

    def keep(self, rows: Array) -> "Shaped":
        """Only the samples that the mask (or the positions) ``rows`` names."""
        where = np.flatnonzero(rows) if rows.dtype == bool else rows
        if len(where) == len(self):
            return self
        rows = as_arrow(where)
        labels = self.labels
        if labels is not None:
            labels = labels.take(rows) if isinstance(labels, pa.Array) else labels[where]
        return Shaped(self.table.take(rows), self.timestamps[where], labels, self.numbers[where], self.bad)
