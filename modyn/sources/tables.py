"""Row groups and record batches as rows: what Parquet, Arrow and in-memory tables have in common."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from modyn.sources.rows import Cursor, Rows, as_arrow
from modyn.types import Int64s

PIECE = 16 << 20
"""Bytes of a table that are handed on at a time."""


def rows_of(batches: Iterable[pa.RecordBatch], start: Cursor, *, first: int = 0) -> Iterator[Rows]:
    """The rows from ``start.row`` on of consecutive batches, of which the first begins at row ``first``."""
    row = first
    for batch in batches:
        for piece in _pieces(batch):
            end = row + len(piece)
            if end > start.row:
                kept = piece.slice(max(0, start.row - row))
                numbers = np.arange(end - len(kept), end, dtype=np.int64)
                table = pa.Table.from_batches([kept])
                yield Rows(table, numbers, Cursor(end, end), raw=_as_raw(table))
            row = end


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    step = max(1, len(batch) * PIECE // max(batch.nbytes, 1))
    for begin in range(0, len(batch), step):
        yield batch.slice(begin, step)


class _as_raw:  # noqa: N801
    """Rows of a table as text, for people to read; such rows are read from the file again, not from this."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __call__(self, rows: Int64s) -> list[bytes | None]:
        return [repr(row).encode() for row in self.table.take(as_arrow(rows)).to_pylist()]
