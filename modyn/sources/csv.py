"""Delimited text: CSV, TSV and their relatives."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
from pydantic import Field, field_validator

from modyn.errors import DataError, counted
from modyn.sources import Bad, Cursor, File, FileSource, Layout, Rows
from modyn.sources.convert import MISSING, cast_or_null, one_array
from modyn.sources.lines import BLOCK, FIRST_BLOCK, Quoting, blocks, continues, end_of_line, split_rows
from modyn.sources.rows import RAW_LIMIT, as_arrow
from modyn.types import Int64s


class Csv(FileSource):
    """Reads CSV, TSV and other delimited text, with or without a header; also inside .gz, .bz2, .xz and .zip.

    Times, and the types of later rows, are checked value by value, so that one row that does not fit does not stop the others.

    >>> Csv(path="flights.csv", label="late", timestamp="time_hour").label_columns
    ['late']
    """

    suffixes: ClassVar[tuple[str, ...]] = (
        ".csv",
        ".tsv",
        ".csv.gz",
        ".tsv.gz",
        ".csv.bz2",
        ".csv.xz",
        ".csv.zip",
        ".tab",
    )
    grows: ClassVar[bool] = True
    untyped: ClassVar[bool] = True

    delimiter: str | None = Field(
        None, description="one character between fields (null = a tab in .tsv and .tab files, else a comma)"
    )
    header: bool = Field(True, description="whether the first line names the columns")
    names: list[str] | None = Field(
        None, description="the columns' names, instead of the header's (without either: f0, f1, ...)"
    )
    quote: str | None = Field(
        '"', description="the character around fields that hold delimiters or line ends (null = none)"
    )
    escape: str | None = Field(None, description="the character that takes the next one's meaning away (null = none)")
    encoding: str = Field("utf8", description="the text's encoding")
    skip: int = Field(0, ge=0, description="lines to leave out before the header")

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or not value.isascii()):
            raise ValueError(f"must be one ASCII character; got {value!r}")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            plain = "a,\n".encode(value) == b"a,\n"
        except LookupError:
            raise ValueError(f"no encoding is named '{value}'") from None
        if not plain:
            raise ValueError(f"'{value}' does not write ASCII as ASCII does; convert the file to UTF-8")
        return value

    @property
    def _quoting(self) -> Quoting:
        return Quoting((self.quote or "").encode(), (self.escape or "").encode(), returns=True)

    def continues(self, file: File, start: Cursor) -> bool:
        """Whether a file that has grown can be read on from ``start``."""
        return continues(file, start.offset)

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The rows of a file from ``start`` (in bytes) on; the header is read again for the names."""
        names, data_start = self._names(file)
        if not names:
            return
        self.check_columns(names, where=file.path, layout=layout)
        reader = _Reader(self, names, self._delimiter(file.path), layout)
        offset, row = (start.offset, start.row) if start.offset else (data_start, 0)
        for block in blocks(file, offset, quoting=self._quoting, first=BLOCK if layout else FIRST_BLOCK):
            rows = reader.read(block.data, first_row=row, end=block.end)
            row = rows.end.row
            yield rows

    def again(self, raws: Sequence[bytes], file: File | None, layout: Layout | None) -> Rows | None:
        """The rows whose bytes were kept, read anew; the columns' names come from the file."""
        names = self.names if not self.header and self.names else None
        if names is None:
            if file is None:
                return None
            names, _ = self._names(file)
        delimiter = self._delimiter(file.path if file else self.path)
        data = b"".join(raw if raw.endswith(b"\n") else raw + b"\n" for raw in raws)
        return _Reader(self, names, delimiter, layout).read(data, first_row=0, end=0)

    def _delimiter(self, path: str) -> str:
        return self.delimiter or ("\t" if ".tsv" in path.rpartition("/")[2] or path.endswith(".tab") else ",")

    def _names(self, file: File) -> tuple[list[str], int]:
        """The columns' names, and the byte at which data begins. No names if the file has no line yet."""
        offset, first = 0, b""
        for block in blocks(file, 0, quoting=self._quoting, first=1 << 20):
            lines = _leading_lines(block.data, self.skip + 1, self._quoting)
            if len(lines) > self.skip:
                offset, first = sum(map(len, lines[: self.skip])), lines[self.skip]
            break
        if not first:
            return [], 0
        bom = 3 if first.startswith(b"\xef\xbb\xbf") and offset == 0 else 0
        fields = self._fields(first[bom:], file.path)
        if self.header:
            return self._checked(self.names or fields, len(fields), file), offset + len(first)
        names = self.names or [f"f{i}" for i in range(len(fields))]
        return self._checked(names, len(fields), file), offset + bom

    def _fields(self, line: bytes, path: str) -> list[str]:
        table = pa.csv.read_csv(
            pa.BufferReader(line.decode(self.encoding, "replace").encode()),
            read_options=pa.csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
            parse_options=self._parsing(self._delimiter(path)),
            convert_options=pa.csv.ConvertOptions(
                column_types={f"f{i}": pa.string() for i in range(line.count(b"") + 1)}
            ),
        )
        return [str(table[i][0].as_py()).strip() for i in range(table.num_columns)]

    def _checked(self, names: Sequence[str], num_fields: int, file: File) -> list[str]:
        if len(names) != num_fields:
            raise DataError(
                f"{file.path}: names gives {counted(len(names), 'column')}, the first line has {num_fields}"
            )
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise DataError(
                f"{file.path}: column '{twice[0]}' stands twice in the header; give names: [...] of your own"
            )
        return list(names)

    def _parsing(self, delimiter: str, handler: Callable[[Any], str] | None = None) -> Any:
        return pa.csv.ParseOptions(
            delimiter=delimiter,
            quote_char=self.quote or False,
            double_quote=bool(self.quote) and self.escape != self.quote,
            escape_char=self.escape or False,
            newlines_in_values=bool(self.quote),
            invalid_row_handler=handler,
        )


def _leading_lines(data: bytes, count: int, quoting: Quoting) -> list[bytes]:
    lines: list[bytes] = []
    start = 0
    while len(lines) < count and start < len(data):
        end = end_of_line(data, start, quoting)
        while quoting.quote and data.count(quoting.quote, start, end) % 2 and end < len(data):
            end = end_of_line(data, end, quoting)
        lines.append(data[start:end])
        start = end
    return lines


class _Reader:
    """Reads blocks of rows: all at once where every value fits its column's type, value by value where not."""

    def __init__(self, source: Csv, names: list[str], delimiter: str, layout: Layout | None) -> None:
        self.source = source
        self.names = names
        self.delimiter = delimiter
        texts = [name for name in (source.timestamp, *source.label_columns) if name is not None]
        self.types: dict[str, pa.DataType] = {name: pa.string() for name in texts}
        self.types |= {name: pa.type_for_alias(kind) for name, kind in source.types.items()}
        self.fixed = layout is not None
        if layout is not None:
            self.types |= {f.name: f.type for f in layout.schema}
            self.include = [n for n in names if n in self.types]
        else:
            self.include = list(names)

    def read(self, data: bytes, *, first_row: int, end: int) -> Rows:
        """The rows of a block. Rows with too few or too many fields are set apart."""
        stored = data
        if (
            self.source.encoding.lower().replace("-", "") != "utf8"
        ):  # what does not decode stays as it is, and is found below
            data = data.decode(self.source.encoding, "surrogateescape").encode("utf8", "surrogateescape")
        try:
            table = self._parse(data, self.types, self.source._parsing(self.delimiter), threads=True)
            numbers = np.arange(first_row, first_row + table.num_rows, dtype=np.int64)
            bad: list[Bad] = []
            total = table.num_rows
            careful = any(pa.types.is_binary(f.type) and f.name not in self.types for f in table.schema)
        except pa.ArrowInvalid:
            careful = True
        if careful:
            table, numbers, bad, total = self._carefully(data, first_row)
        if not self.fixed:  # the rest of this file follows the types of its first block
            self.types = {f.name: f.type for f in table.schema if not pa.types.is_null(f.type)} | self.types

        def raw(rows: Int64s) -> list[bytes | None]:
            lines = split_rows(stored, self.source._quoting)
            return [lines[number - first_row] if number - first_row < len(lines) else None for number in numbers[rows]]

        return Rows(table, numbers, Cursor(end, first_row + total), bad, raw)

    def _parse(self, data: bytes, types: dict[str, pa.DataType], parsing: Any, *, threads: bool) -> pa.Table:
        options = pa.csv.ReadOptions(
            column_names=self.names, use_threads=threads, block_size=1 << 20 if threads else max(len(data), 1)
        )
        convert = pa.csv.ConvertOptions(
            column_types=types, include_columns=self.include, null_values=MISSING, strings_can_be_null=False
        )
        return pa.csv.read_csv(
            pa.BufferReader(data), read_options=options, parse_options=parsing, convert_options=convert
        )

    def _carefully(self, data: bytes, first_row: int) -> tuple[pa.Table, Int64s, list[Bad], int]:
        """The rows of a block in which something does not fit; columns in which a value does not fit stay text."""
        bad: list[Bad] = []
        wrong: list[int] = []

        def set_apart(row: Any) -> str:
            wrong.append(row.number - 1)
            reason = f"has {counted(row.actual_columns, 'field')}, not {row.expected_columns}"
            raw = row.text.encode(self.source.encoding, "surrogateescape")
            bad.append(Bad(row=first_row + row.number - 1, reason=reason, raw=raw if len(raw) <= RAW_LIMIT else None))
            return "skip"

        parsing = self.source._parsing(self.delimiter, set_apart)
        try:
            table = self._parse(data, self.types, parsing, threads=False)
        except pa.ArrowInvalid:
            wrong.clear()
            bad.clear()
            texts = self._parse(data, dict.fromkeys(self.include, pa.binary()), parsing, threads=False)
            table = texts
        total = table.num_rows + len(wrong)
        numbers = first_row + np.delete(np.arange(total, dtype=np.int64), wrong)
        undecodable = self._undecodable(table)
        for place, name in undecodable.items():
            bad.append(Bad(row=int(numbers[place]), reason=f"{name} is not text in {self.source.encoding} (encoding)"))
        kept = np.delete(np.arange(len(numbers), dtype=np.int64), list(undecodable))
        table = table.take(as_arrow(kept)) if undecodable else table
        columns = {name: self._text_or_typed(name, one_array(table[name])) for name in self.include}
        return pa.table(columns), numbers[kept], bad, total

    def _undecodable(self, table: pa.Table) -> dict[int, str]:
        """The rows that hold a text that is none in the file's encoding, and the first column of each that does."""
        found: dict[int, str] = {}
        for name in self.include:
            if pa.types.is_binary(table.schema.field(name).type) and self.types.get(name) != pa.binary():
                _, failed = cast_or_null(one_array(table[name]), pa.string())
                found = dict.fromkeys(np.flatnonzero(failed).tolist(), name) | found
        return found

    def _text_or_typed(self, name: str, column: pa.Array) -> pa.Array:
        """A column in the type decided on, or in text if a value does not fit it."""
        kind = self.types.get(name)
        if not pa.types.is_binary(column.type) or kind == pa.binary():
            return column
        text, _ = cast_or_null(column, pa.string())
        if kind is None or kind == pa.string():
            return text
        typed, failed = cast_or_null(text, kind)
        return text if failed.any() else typed
