"""JSON lines."""

import json
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.json

from modyn.sources import Bad, Cursor, File, FileSource, Layout, Rows
from modyn.sources.convert import promoted
from modyn.sources.lines import BLOCK, FIRST_BLOCK, NONE, blocks, continues, split_rows
from modyn.sources.rows import RAW_LIMIT
from modyn.types import Int64s


class Jsonl(FileSource):
    """Reads JSON lines, one object a sample; also inside .gz, .bz2, .xz and .zip. Nested objects become columns ``outer.inner``.

    >>> Jsonl(path="clicks.jsonl", label="clicked", timestamp="at", time_unit="ms").label_columns
    ['clicked']
    """

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".jsonl.bz2", ".jsonl.xz")
    grows: ClassVar[bool] = True

    def continues(self, file: File, start: Cursor) -> bool:
        """Whether a file that has grown can be read on from ``start``."""
        return continues(file, start.offset)

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The rows of a file from ``start`` (in bytes) on."""
        row = start.row
        for block in blocks(file, start.offset, first=BLOCK if layout else FIRST_BLOCK):
            rows = self._read(block.data, row, block.end, layout)
            row = rows.end.row
            yield rows

    def again(self, raws: Sequence[bytes], file: File | None, layout: Layout | None) -> Rows | None:
        """The rows whose bytes were kept, read anew."""
        return self._read(b"".join(raw if raw.endswith(b"\n") else raw + b"\n" for raw in raws), 0, 0, layout)

    def _read(self, data: bytes, first_row: int, end: int, layout: Layout | None) -> Rows:
        """The rows of a block: all at once if they fit, else by halves down to the lines that do not."""
        schema = _schema(layout)
        bad: list[Bad] = []
        try:
            table = _parse(data, schema)
            numbers = np.arange(first_row, first_row + table.num_rows, dtype=np.int64)
            total = table.num_rows
        except pa.ArrowInvalid:
            lines = split_rows(data, NONE)
            parts = list(_halved(lines, 0, schema or _likely_schema(lines), bad))
            kept = np.delete(np.arange(len(lines), dtype=np.int64), [b.row for b in bad])
            bad = [Bad(row=first_row + b.row, reason=b.reason, raw=b.raw) for b in bad]
            table = pa.concat_tables(parts, promote_options="default") if parts else pa.table({})
            numbers, total = first_row + kept, len(lines)

        def raw(rows: Int64s) -> list[bytes | None]:
            lines = split_rows(data, NONE)
            return [lines[number - first_row] for number in numbers[rows]]

        table = _flat(table)
        return Rows(self._with_columns(table, layout), numbers, Cursor(end, first_row + total), bad, raw)

    def _with_columns(self, table: pa.Table, layout: Layout | None) -> pa.Table:
        """The table with the columns that its rows lack and earlier ones had: a line need not name what is missing."""
        if layout is None or not table.num_columns:
            return table
        wanted = [*layout.schema.names, *self.label_columns, *([self.timestamp] if self.timestamp else [])]
        for name in wanted:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(table.num_rows))
        return table


def _schema(layout: Layout | None) -> pa.Schema | None:
    """The types that the payload has, as JSON may give them; nested columns, whose names have a dot, are left to be inferred."""
    if layout is None:
        return None
    fields = [f for f in layout.schema if "." not in f.name and not pa.types.is_timestamp(f.type)]
    return pa.schema([pa.field(f.name, _as_json_has_it(f.type)) for f in fields])


def _as_json_has_it(kind: pa.DataType) -> pa.DataType:
    return pa.list_(kind.value_type) if pa.types.is_fixed_size_list(kind) else kind


def _parse(data: bytes, schema: pa.Schema | None) -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(data),
        read_options=pa.json.ReadOptions(block_size=max(len(data), 1)),
        parse_options=pa.json.ParseOptions(explicit_schema=schema),
    )


def _likely_schema(lines: Sequence[bytes]) -> pa.Schema | None:
    """The types of the longest stretch of lines that can be read together, whole numbers widened."""
    size = len(lines)
    while size:
        for start in range(0, len(lines), size):
            try:
                schema = _parse(b"".join(lines[start : start + size]), None).schema
                return pa.schema([pa.field(f.name, promoted(f.type)) for f in schema])
            except pa.ArrowInvalid:
                continue
        size //= 2
    return None


def _halved(lines: Sequence[bytes], first: int, schema: pa.Schema | None, bad: list[Bad]) -> Iterator[pa.Table]:
    """Tables of the lines that fit, in order; the others go to ``bad``."""
    if not lines:
        return
    try:
        yield _parse(b"".join(lines), schema)
        return
    except pa.ArrowInvalid as error:
        if len(lines) == 1:
            raw = lines[0] if len(lines[0]) <= RAW_LIMIT else None
            bad.append(Bad(row=first, reason=_why(lines[0], str(error)), raw=raw))
            return
    half = len(lines) // 2
    yield from _halved(lines[:half], first, schema, bad)
    yield from _halved(lines[half:], first + half, schema, bad)


def _why(line: bytes, error: str) -> str:
    try:
        value = json.loads(line)
    except ValueError as failure:
        return f"not valid JSON: {failure}"
    if not isinstance(value, dict):
        return f"not an object but {type(value).__name__}"
    return error.removeprefix("JSON parse error: ").partition(" in row")[0].lower()


def _flat(table: pa.Table) -> pa.Table:
    """Nested objects as columns ``outer.inner``."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table
