"""Cutting a file of text lines into blocks of whole rows, and finding the bytes of single rows again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from modyn.errors import DataError
from modyn.sources.rows import File
from modyn.types import Int64s

BLOCK = 16 << 20
"""Bytes read at a time."""
FIRST_BLOCK = 64 << 20
"""Bytes from which the types of columns are decided."""
LONGEST_ROW = 256 << 20


@dataclass(frozen=True)
class Quoting:
    """How line ends inside a field are protected: by ``quote`` around it; ``escape`` takes a quote's meaning away.

    With ``returns``, a carriage return alone ends a line too, as on old Macs and in files of some spreadsheets.
    """

    quote: bytes = b""
    escape: bytes = b""
    returns: bool = False


NONE = Quoting()


@dataclass(frozen=True)
class Block:
    """Whole rows: their bytes, and where in the file they begin and end."""

    data: bytes
    start: int
    end: int


def blocks(
    file: File, start: int, *, quoting: Quoting = NONE, first: int = BLOCK, decompress: bool = True
) -> Iterator[Block]:
    """The whole rows of a file from byte ``start`` on, as far as it went when it was looked at.

    A last row without a line end is left out unless the file is final.
    """
    left = None if file.is_compressed else file.size - start
    with file.open(decompress=decompress) as stream:
        if start:
            stream.seek(start)
        rest, size = b"", first
        while True:
            new = _read(stream, size if left is None else max(0, min(size, left)))
            left = None if left is None else left - len(new)
            data, ended = rest + new, len(new) < size
            is_all = ended and file.final and not stream.read(1)
            whole = len(data) if is_all else end_of_rows(data, quoting)
            if whole:
                yield Block(data[:whole], start, start + whole)
                start += whole
            elif not ended and len(data) > LONGEST_ROW:
                raise DataError(f"{file.path}: the row that begins at byte {start} does not end: is a quote missing?")
            rest, size = data[whole:], BLOCK
            if ended:
                return


def _read(stream: IO[bytes], size: int) -> bytes:
    """``size`` bytes, fewer only at the end."""
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            break
        data += more
    return data


def line_ends(data: bytes, quoting: Quoting) -> Int64s:
    """The positions after each line end of the data that is not inside quotes."""
    array = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(array == 10)
    if quoting.returns and b"\r" in data:  # one at the very end may have its line feed yet to come
        alone = np.flatnonzero((array[:-1] == 13) & (array[1:] != 10))
        ends = np.sort(np.concatenate([ends, alone]))
    if not quoting.quote or quoting.quote not in data:
        return ends + 1
    quotes = np.flatnonzero(array == quoting.quote[0])
    if quoting.escape and quoting.escape != quoting.quote:
        before = np.where(quotes > 0, array[quotes - 1], 0)
        quotes = quotes[before != quoting.escape[0]]
    outside: Int64s = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return outside + 1


def end_of_rows(data: bytes, quoting: Quoting) -> int:
    """How many of the bytes are whole rows.

    >>> end_of_rows(b'1,2\\n3,"a\\n', Quoting(b'"'))
    4
    """
    if not quoting.quote or quoting.quote not in data:
        end = data.rfind(b"\n") + 1
        return max(end, data.rfind(b"\r", end, len(data) - 1) + 1) if quoting.returns else end
    ends = line_ends(data, quoting)
    return int(ends[-1]) if len(ends) else 0


def split_rows(data: bytes, quoting: Quoting) -> list[bytes]:
    """The rows of a block, blank ones left out."""
    ends = line_ends(data, quoting)
    starts = np.concatenate([[0], ends])
    ends = np.concatenate([ends, [len(data)]])
    rows = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return [row for row in rows if row.strip(b"\r\n")]


def continues(file: File, offset: int) -> bool:
    """Whether reading may go on at ``offset``: a line ends there."""
    if offset == 0:
        return True
    with file.open() as stream:
        stream.seek(offset - 1)
        near = stream.read(2)
    return near[:1] in (b"\n", b"\r") or near[1:] in (b"", b"\n", b"\r")


def end_of_line(data: bytes, start: int, quoting: Quoting) -> int:
    """Where the line that begins at ``start`` ends, whatever quotes say; at the end of the data if nothing ends it.

    >>> end_of_line(b"a\\rb\\r\\nc", 0, Quoting(returns=True)), end_of_line(b"a\\rb\\r\\nc", 2, Quoting(returns=True))
    (2, 5)
    """
    end = data.find(b"\n", start) + 1 or len(data)
    alone = data.find(b"\r", start, end) + 1 if quoting.returns else 0
    return alone if alone and data[alone : alone + 1] != b"\n" else end
