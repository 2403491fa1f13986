"""Arrow IPC files and streams (Feather version 2)."""

from collections.abc import Iterator
from typing import IO, Any, ClassVar

import pyarrow as pa

from modyn.sources import Cursor, File, FileSource, Layout, Rows
from modyn.sources.tables import rows_of


class Arrow(FileSource):
    """Reads Arrow IPC files and streams, also Feather, a record batch at a time.

    >>> Arrow(path="events.arrow", timestamp="at").describe()
    'events.arrow'
    """

    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".arrows", ".feather", ".ipc")

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The rows of a file from row ``start.row`` on."""
        with file.open() as stream:
            schema, batches = _batches(stream)
            self.check_columns(schema.names, where=file.path)
            yield from rows_of(batches, start)


def _batches(stream: IO[bytes]) -> tuple[pa.Schema, Iterator[Any]]:
    magic = stream.read(6)
    stream.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(stream)
        return reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
    reader = pa.ipc.open_stream(stream)
    return reader.schema, iter(reader)
