"""Parquet files."""

from collections.abc import Iterator
from typing import ClassVar

import pyarrow.parquet

from modyn.sources import Cursor, File, FileSource, Layout, Rows
from modyn.sources.tables import rows_of


class Parquet(FileSource):
    """Reads Parquet files, a row group at a time, and only the columns that are used.

    >>> Parquet(path="trips/", label="tip", timestamp="pickup", columns=["distance"]).describe()
    'trips/'
    """

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The rows of a file from row ``start.row`` on."""
        with file.open() as stream, pyarrow.parquet.ParquetFile(stream, pre_buffer=True) as parquet:
            names = parquet.schema_arrow.names
            self.check_columns(names, where=file.path)
            first = 0
            groups: list[int] = []
            for number in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(number).num_rows
                if not groups and first + count <= start.row:
                    first += count
                else:
                    groups.append(number)
            if groups:
                wanted = self.used_columns(names, layout)
                batches = parquet.iter_batches(row_groups=groups, columns=wanted, batch_size=1 << 17)
                yield from rows_of(batches, start, first=first)
