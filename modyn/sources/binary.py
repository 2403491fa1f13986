"""Binary files of fixed-size records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PositiveInt, model_validator

from modyn.errors import DataError
from modyn.policy import Options
from modyn.sources import Bad, Cursor, File, FileSource, Layout, Rows
from modyn.sources.rows import as_arrow
from modyn.sources.times import UNITS
from modyn.types import Array, Int64s

BLOCK = 16 << 20
_Number = Literal[
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"
]


class BinaryField(Options):
    """Where a value, or a row of ``count`` values, lies in a record."""

    offset: int = Field(ge=0, description="first byte in the record")
    type: _Number = Field("uint8", description="type of the value")
    count: PositiveInt | None = Field(None, description="how many values in a row (null = one value)")

    @property
    def num_bytes(self) -> int:
        """Bytes that the field takes in a record."""
        return np.dtype(self.type).itemsize * (self.count or 1)


class Binary(FileSource):
    """Reads fixed-size records: label, time and payload at given bytes, with a byte order. Can be linked in place.

    Without ``fields``, the payload is every byte that is not label or time, as ``uint8[n, width]``.

    >>> criteo = Binary(path="day_0.bin", record_size=160, label_type="int32")
    >>> criteo.layout_of_record()["payload"].offset
    4
    """

    suffixes: ClassVar[tuple[str, ...]] = (".bin", ".dat", ".raw")
    grows: ClassVar[bool] = True
    links: ClassVar[bool] = True

    record_size: PositiveInt = Field(description="bytes of a record")
    header_size: int = Field(0, ge=0, description="bytes before the first record")
    byte_order: Literal["little", "big"] = Field("little", description="order of the bytes of numbers")
    label_type: _Number | None = Field(None, description="type of the label (null = none, or one of the fields)")
    label_offset: int = Field(0, ge=0, description="first byte of the label in the record")
    time_type: _Number | None = Field(
        None, description="type of the time in the record (null = none, or one of the fields)"
    )
    time_offset: int = Field(0, ge=0, description="first byte of the time in the record")
    fields: dict[str, BinaryField] = Field(
        default_factory=dict, description="columns in the record, such as {price: {offset: 4, type: float32}}"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_label_and_time(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            given = dict(given)
            if given.get("label_type") is not None:
                given.setdefault("label", "label")
            if given.get("time_type") is not None:
                given.setdefault("timestamp", "timestamp")
        return given

    @model_validator(mode="after")
    def _fields_fit(self) -> "Binary":
        for name, field in self.layout_of_record().items():
            if field.offset + field.num_bytes > self.record_size:
                end = field.offset + field.num_bytes
                raise ValueError(f"field '{name}' ends at byte {end} of a record of {self.record_size} bytes")
        return self

    def layout_of_record(self) -> dict[str, BinaryField]:
        """Every field by name: those given, label and time, and the rest as ``payload`` if no other payload is named."""
        found = dict(self.fields)
        if self.label_type is not None and isinstance(self.label, str):
            found[self.label] = BinaryField(offset=self.label_offset, type=self.label_type)
        if self.time_type is not None and self.timestamp is not None:
            found[self.timestamp] = BinaryField(offset=self.time_offset, type=self.time_type)
        if set(found) <= {*self.label_columns, self.timestamp}:
            start, end = self._longest_gap(list(found.values()))
            if end > start:
                found["payload"] = BinaryField(offset=start, count=end - start)
        return found

    def _longest_gap(self, taken: Sequence[BinaryField]) -> tuple[int, int]:
        """The bytes between the fields, if they are in one piece; otherwise the longest piece."""
        borders = sorted((f.offset, f.offset + f.num_bytes) for f in taken)
        gaps, end = [], 0
        for start, stop in [*borders, (self.record_size, self.record_size)]:
            gaps.append((end, start))
            end = max(end, stop)
        return max(gaps, key=lambda gap: gap[1] - gap[0])

    def _rest(self) -> list[tuple[int, int]]:
        """Every stretch of a record that is not label or time."""
        borders = sorted(
            (f.offset, f.offset + f.num_bytes) for n, f in self.layout_of_record().items() if n != "payload"
        )
        gaps, end = [], 0
        for start, stop in [*borders, (self.record_size, self.record_size)]:
            if start > end:
                gaps.append((end, start))
            end = max(end, stop)
        return gaps

    def continues(self, file: File, start: Cursor) -> bool:
        """Whether a file that has grown can be read on from ``start``: the records before it were whole."""
        return start.offset == self.header_size + start.row * self.record_size

    def rows(self, file: File, start: Cursor, layout: Layout | None) -> Iterator[Rows]:
        """The records of a file from ``start`` (in bytes) on. Bytes at the end that are no whole record are a bad sample."""
        offset, row = (start.offset, start.row) if start.offset else (self.header_size, 0)
        size = max(1, BLOCK // self.record_size) * self.record_size
        with file.open() as stream:
            stream.seek(offset)
            while data := stream.read(wanted := max(0, min(size, file.size - offset))):
                while len(data) % self.record_size and (more := stream.read(wanted - len(data))):
                    data += more
                num, rest = divmod(len(data), self.record_size)
                bad = []
                if rest and file.final:
                    reason = f"the last {'byte is' if rest == 1 else f'{rest} bytes are'} no whole record of {self.record_size}"
                    bad = [Bad(row=row + num, reason=reason)]
                offset += num * self.record_size
                yield self._rows(data[: num * self.record_size], row, Cursor(offset, row + num), bad)
                row += num
                if rest:
                    return

    def again(self, raws: Sequence[bytes], file: File | None, layout: Layout | None) -> Rows | None:
        """The records whose bytes were kept, read anew."""
        if any(len(raw) != self.record_size for raw in raws):
            return None
        return self._rows(b"".join(raws), 0, Cursor(0, len(raws)), [])

    def _rows(self, data: bytes, first_row: int, end: Cursor, bad: Sequence[Bad]) -> Rows:
        num = len(data) // self.record_size
        records = np.frombuffer(data, np.uint8, num * self.record_size).reshape(num, self.record_size)
        columns = {name: self._column(records, name, field) for name, field in self.layout_of_record().items()}

        def raw(rows: Int64s) -> list[bytes | None]:
            return [records[row].tobytes() for row in rows]

        return Rows(pa.table(columns), np.arange(first_row, first_row + num, dtype=np.int64), end, bad, raw)

    def _column(self, records: Array, name: str, field: BinaryField) -> pa.Array:
        if name == "payload" and name not in self.fields:
            stretches = [records[:, start:end] for start, end in self._rest()]
            values = np.ascontiguousarray(np.concatenate(stretches, axis=1) if len(stretches) > 1 else stretches[0])
            return pa.Array.from_buffers(pa.binary(values.shape[1]), len(values), [None, pa.py_buffer(values)])
        values = self._typed(np.ascontiguousarray(records[:, field.offset : field.offset + field.num_bytes]), field)
        if field.count is None:
            return as_arrow(values[:, 0])
        return pa.FixedSizeListArray.from_arrays(as_arrow(values.reshape(-1)), field.count)

    def _typed(self, values: Array, field: BinaryField) -> Array:
        dtype = np.dtype(field.type).newbyteorder(self.byte_order)
        return values.view(dtype).astype(dtype.newbyteorder("="), copy=False)

    def link_of(self, file: File, start: Cursor, times: int | None) -> dict[str, Any] | None:
        """Where the records from ``start`` on lie, for a dataset that links them; None if there is none.

        Raises DataError for what only a copy can hold.
        """
        self._check_link()
        offset = start.offset or self.header_size
        num = (file.size - offset) // self.record_size
        if num <= 0:
            return None
        fields = self.layout_of_record()
        payload = self.payload_columns(list(fields))
        moment: Any = times
        if times is None and self.timestamp is not None:
            unit = self.time_unit or "us"
            moment = {**self._field(fields[self.timestamp]), "scale": UNITS[unit]}
        return {
            "path": file.path,
            "record_size": self.record_size,
            "num_records": num,
            "start": offset,
            "columns": {name: self._field(fields[name]) for name in payload},
            "label": self._field(fields[self.label_columns[0]]) if self.label_columns else None,
            "timestamp": moment if moment is not None else 0,
        }

    def _check_link(self) -> None:
        """Raise DataError if the records say something that is worked out while copying, and would be lost in place."""
        fields = self.layout_of_record()
        why = None
        if len(self.label_columns) > 1:
            why = f"the label is {len(self.label_columns)} fields, and can be one"
        elif "payload" in fields and "payload" not in self.fields and len(self._rest()) > 1:
            pieces = ", ".join(f"{start}-{end - 1}" for start, end in self._rest())
            why = f"the payload lies in several pieces (bytes {pieces}): name them with fields: {{...}}"
        elif self.timestamp is not None and self.time_from in (None, "column"):
            kind = fields[self.timestamp].type if self.timestamp in fields else ""
            if self.time_unit == "ns":
                why = "times in ns are cut to microseconds"
            elif kind.startswith("float"):
                why = f"times of type {kind} are rounded to microseconds"
        if why is not None:
            raise DataError(f"{self.path} cannot be linked: {why}; make the dataset without linking to copy it")

    def _field(self, field: BinaryField) -> dict[str, Any]:
        shape = [] if field.count is None else [field.count]
        return {"offset": field.offset, "dtype": np.dtype(field.type).newbyteorder(self.byte_order).str, "shape": shape}
