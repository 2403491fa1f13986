"""Parsed samples in a folder, kept from run to run: rows that are only ever appended, and an index of those that are whole.

The index is a sequence of records, each with a checksum: first how a sample is laid out, then for every append the number of its first row
and the keys of its rows. Rows are on the disk before their record is written, so that after a crash at any instant the index names whole
rows only; what lies behind them is overwritten. Processes take turns to append, by a lock on the index, and see each other's rows.

Whoever removes the folder removes everything: what is open elsewhere has no name any more, and is left for a new folder at the next look.
"""

import contextlib
import errno
import fcntl
import json
import math
import mmap
import os
import secrets
import shutil
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modyn.training.tensors import Inputs, Layout
from modyn.types import Int64s

Bytes = npt.NDArray[np.uint8]
MOST_KEPT = 4
"""Caches of one dataset that are kept: of the parsers that were used last."""
_INDEX, _USED = "index", "in-use"
_HEADER = struct.Struct("<8sQI4x")
_MAGIC = b"modynrow"
_AT_ONCE = 2**30


class Unlike(Exception):
    """The rows of a cache are laid out otherwise than what is to be appended."""


class KeptRows:
    """Rows of tensors in a folder, or in files without a name that are gone with the process.

    ``num_rows`` counts those that ``added`` has told of. Raises OSError where the disk does not do what is asked.
    """

    def __init__(self, folder: Path, *, named: bool) -> None:
        self._folder, self._named = folder, named
        self._open()

    def _open(self) -> None:
        self.layout: Layout | None = None
        self.num_rows = 0
        self._end = 0
        self._columns: list[_Column] = []
        self._files = contextlib.ExitStack()
        self._index = self._open_index()
        self._close = weakref.finalize(self, self._files.close)

    def _open_index(self) -> int:
        if not self._named:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._own(_unnamed(self._folder))
        while True:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                # Through the folder itself, not its name: in one that was removed, no file can be made.
                self._here = self._own(os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                used, index = (self._own(_opened(name, self._here, os.O_CREAT)) for name in (_USED, _INDEX))
            except FileNotFoundError:
                self._files.close()
                continue
            fcntl.flock(used, fcntl.LOCK_SH)
            if _has_name(used) and _has_name(index):
                os.utime(used)
                return index
            self._files.close()

    def _own(self, descriptor: int) -> int:
        """The descriptor, which is closed with the rows."""
        self._files.callback(os.close, descriptor)
        return descriptor

    @property
    def is_gone(self) -> bool:
        """Whether the folder has been removed, by a purge say."""
        return self._named and not _has_name(self._index)

    def renew(self) -> None:
        """Leave files that are gone for new ones."""
        self._close()
        self._open()

    def discard(self) -> None:
        """Remove all that is kept, for every process, and begin anew."""
        if self._named:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.renew()

    def added(self) -> Int64s:
        """Keys of the rows from ``num_rows`` on, appended by whatever process since the last call."""
        size = os.fstat(self._index).st_size
        found: list[Int64s] = []
        if size > self._end:
            content = memoryview(_read(self._index, self._end, size))
            start = self._end
            for payload, end in _records(content):
                if not self._take_in(payload, found):
                    break
                self._end = start + end
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _take_in(self, payload: memoryview, found: list[Int64s]) -> bool:
        """One record of the index; False if it is none that can follow those before."""
        if self.layout is None:
            document = json.loads(bytes(payload))
            self.layout = Layout.from_document(document["layout"])
            self._columns = [self._column(document["files"], n) for n in range(len(self.layout.dtypes))]
            return True
        numbers = np.frombuffer(payload, np.int64)
        if not len(numbers) or numbers[0] != self.num_rows:
            return False
        found.append(numbers[1:])
        self.num_rows += len(numbers) - 1
        return True

    def _column(self, token: str, number: int) -> "_Column":
        assert self.layout is not None
        descriptor = _opened(_rows_of(token, number), self._here) if self._named else _unnamed(self._folder)
        return _Column(self._own(descriptor), self.layout.dtypes[number], self.layout.shapes[number])

    def append(self, keys: Int64s, inputs: Inputs, tensors: Sequence[Tensor]) -> Int64s:
        """Append rows; returns what ``added`` would, the new rows among it. Raises Unlike, and OSError if the disk is full."""
        with _locked(self._index):
            others = self.added()
            if os.fstat(self._index).st_size > self._end:
                os.ftruncate(self._index, self._end)  # a record that a crash cut short
            given = Layout.of(inputs, 0)
            if self.layout is None:
                self._begin(given)
            if self.layout != given:
                raise Unlike
            for column, tensor in zip(self._columns, tensors, strict=True):
                column.write(tensor, first_row=self.num_rows)
            self._write_record(struct.pack("<q", self.num_rows) + np.ascontiguousarray(keys, np.int64).tobytes())
            return np.concatenate([others, self.added()])

    def _begin(self, layout: Layout) -> None:
        """Make the files of the rows, and write down the layout."""
        token = secrets.token_hex(8)
        for number in range(len(layout.dtypes) if self._named else 0):
            os.close(_opened(_rows_of(token, number), self._here, os.O_CREAT))
        self._write_record(json.dumps({"files": token, "layout": layout.to_document()}).encode())
        self.added()

    def _write_record(self, payload: bytes) -> None:
        _write(self._index, memoryview(_HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload), self._end)
        os.fsync(self._index)

    def take(self, rows: Int64s) -> list[Tensor]:
        """The tensors of rows, which must be below ``num_rows``."""
        return [column.take(rows, self.num_rows) for column in self._columns]


class _Column:
    """One tensor's rows in a file, mapped as far as they are needed."""

    def __init__(self, descriptor: int, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape, self._descriptor = dtype, shape, descriptor
        self._width = dtype.itemsize * math.prod(shape)
        self._rows: Bytes = np.empty((0, self._width), np.uint8)

    def write(self, tensor: Tensor, *, first_row: int) -> None:
        if self._width and len(tensor):
            raw = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
            _write(self._descriptor, raw.data, first_row * self._width)
            os.fsync(self._descriptor)

    def take(self, rows: Int64s, num_rows: int) -> Tensor:
        if not self._width or not len(rows):
            return torch.empty((len(rows), *self.shape), dtype=self.dtype)
        if int(rows.max()) >= len(self._rows):
            self._map(num_rows)
        raw = torch.from_numpy(self._rows.take(rows, axis=0))
        return raw.view(-1).view(self.dtype).view(len(rows), *self.shape)

    def _map(self, num_rows: int) -> None:
        before, size = self._rows.nbytes // mmap.PAGESIZE * mmap.PAGESIZE, num_rows * self._width
        if os.fstat(self._descriptor).st_size < size:
            raise OSError(errno.EIO, "the file is shorter than its index says")
        mapped = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        if size - before < os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE:
            mapped.madvise(mmap.MADV_WILLNEED, before, size - before)  # at once, not one page after another
        self._rows = np.frombuffer(mapped, np.uint8).reshape(num_rows, self._width)


def prune(folder: Path, *, most: int = MOST_KEPT) -> list[str]:
    """Remove the caches beside ``folder`` beyond the ``most`` used last, but none that a process uses; returns their names."""
    removed = []
    for other in _by_use(folder.parent)[most:]:
        with contextlib.suppress(OSError):
            descriptor = _opened(other / _USED)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other)
                removed.append(other.name)
            finally:
                os.close(descriptor)
    return removed


def _by_use(parent: Path) -> list[Path]:
    """The caches in a folder, those used last first."""
    used: list[tuple[int, Path]] = []
    for folder in parent.iterdir():
        with contextlib.suppress(OSError):
            used.append(((folder / _USED).stat().st_mtime_ns, folder))
    return [folder for _, folder in sorted(used, reverse=True)]


def _rows_of(token: str, number: int) -> str:
    """The name of the file with the rows of a tensor: never one that was used before."""
    return f"{token}-{number}.rows"


def _opened(path: str | Path, folder: int | None = None, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666, dir_fd=folder)


def _unnamed(folder: Path) -> int:
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


def _has_name(descriptor: int) -> bool:
    return os.fstat(descriptor).st_nlink > 0


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _records(content: memoryview) -> Iterator[tuple[memoryview, int]]:
    """The payloads of whole records, each with where it ends; stops at the first that is cut short or damaged."""
    start = 0
    while start + _HEADER.size <= len(content):
        magic, size, checksum = _HEADER.unpack_from(content, start)
        end = start + _HEADER.size + size
        if magic != _MAGIC or end > len(content):
            return
        payload = content[start + _HEADER.size : end]
        if zlib.crc32(payload) != checksum:
            return
        yield payload, end
        start = end


def _read(descriptor: int, start: int, end: int) -> bytearray:
    content = bytearray(end - start)
    view, done = memoryview(content), 0
    while done < len(content):
        step = os.preadv(descriptor, [view[done : done + _AT_ONCE]], start + done)
        if step == 0:
            break
        done += step
    return content[:done]


def _write(descriptor: int, content: Any, offset: int) -> None:
    """Write all of it: the kernel may take less at once, as when the disk is nearly full."""
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done : done + _AT_ONCE], offset + done)
