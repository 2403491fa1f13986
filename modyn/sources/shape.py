"""From a file's columns to samples: which are payload, label and time, of what types, and which rows are unusable."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modyn.errors import DataError, did_you_mean
from modyn.sources.convert import MISSING, cast_or_null, decoded, filled, is_text, one_array, plain, show, to_mask
from modyn.sources.rows import RAW_LIMIT, Bad, Labels, Rows, Shaped, as_numpy
from modyn.sources.times import times_of
from modyn.types import Array, Int64s

if TYPE_CHECKING:
    from modyn.sources import Source

NOT_A_TIME = int(np.iinfo(np.int64).min)


@dataclass(frozen=True, eq=False)
class Layout:
    """What the first rows decided and later ones must follow: the payload's types, and what labels are."""

    schema: pa.Schema
    label_kind: str | None
    salt: str = ""
    """A random text of the dataset that the hashes of its rows begin with, so that those of two datasets do not compare."""

    def to_bytes(self) -> bytes:
        """The layout as the catalog keeps it: an Arrow schema with the labels in its metadata."""
        about = json.dumps({"label_kind": self.label_kind, "salt": self.salt})
        return bytes(self.schema.with_metadata({"modyn": about}).serialize().to_pybytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Layout":
        """The layout that ``to_bytes`` gave."""
        schema = pa.ipc.read_schema(pa.py_buffer(data))
        about = json.loads(schema.metadata[b"modyn"])
        return cls(schema.remove_metadata(), about["label_kind"], about.get("salt", ""))


class Faults:
    """The first thing wrong with each row, gathered column by column."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.mask = np.zeros(len(rows.numbers), bool)
        self._found: dict[int, tuple[str, str | None]] = {}

    def add(self, failed: Array, reason: str, values: pa.Array | None = None) -> None:
        """Note that the rows of the mask ``failed`` are unusable, and the value that made them so."""
        new = np.flatnonzero(failed & ~self.mask)
        for row in new.tolist():
            self._found[row] = (reason, None if values is None or not values[row].is_valid else show(values, row))
        self.mask |= failed

    def bad(self) -> list[Bad]:
        """The unusable rows, with their bytes where they are few."""
        where = np.flatnonzero(self.mask)
        raws = self.rows.raw(where) if len(where) else []
        return [
            Bad(
                row=int(self.rows.numbers[row]),
                reason=self._found[row][0],
                value=self._found[row][1],
                raw=raw if raw is not None and len(raw) <= RAW_LIMIT else None,
            )
            for row, raw in zip(where.tolist(), raws, strict=True)
        ]


def need(names: Sequence[str], known: Sequence[str], *, where: str, role: str) -> None:
    """Raise DataError, with the nearest name and the list of columns, unless all ``names`` are among the ``known``."""
    for name in names:
        if name not in known:
            listed = ", ".join(list(known)[:30]) + (", ..." if len(known) > 30 else "")
            near = did_you_mean(name, known)
            hint = f"{near} " if near.startswith("Did") else ""
            raise DataError(f"{where} has no column '{name}' (the {role}). {hint}Its columns: {listed}")


def shape(
    rows: Rows, source: "Source", layout: Layout | None, *, where: str, times: Int64s | int | None
) -> tuple[Shaped, Layout]:
    """Samples from a file's rows, and the layout, decided here if there is none yet.

    ``where`` names the file in messages; ``times`` are the rows' if they come from outside them.
    """
    names = rows.table.column_names
    source.check_columns(names, where=where)
    faults = Faults(rows)
    moments = _times(rows.table, source, faults, times)
    labels, label_kind = _labels(rows.table, source, layout, faults)
    table = _payload(rows.table, source, layout, faults, where)
    found = layout or Layout(table.schema, label_kind, secrets.token_hex(8))
    shaped = Shaped(table, moments, labels, rows.numbers, sorted([*rows.bad, *faults.bad()], key=lambda bad: bad.row))
    return shaped.keep(~faults.mask), found


def _times(table: pa.Table, source: "Source", faults: Faults, given: Int64s | int | None) -> Int64s:
    if given is not None or source.timestamp is None:
        told = np.broadcast_to(np.asarray(0 if given is None else given, np.int64), table.num_rows)
        faults.add(told == NOT_A_TIME, "the path tells no time (time_pattern, time_format)")
        return told
    column = table[source.timestamp]
    times, failed = times_of(
        column,
        what=source.timestamp,
        unit=source.time_unit,
        pattern=source.time_format,
        timezone=source.timezone,
    )
    if failed.any():
        missing = to_mask(decoded(column).is_null())
        faults.add(failed & missing, f"{source.timestamp} (the timestamp) is missing")
        faults.add(failed, f"{source.timestamp} is not a time", decoded(column))
    return times


def _labels(table: pa.Table, source: "Source", layout: Layout | None, faults: Faults) -> tuple[Labels, str | None]:
    """``labels[n]`` (or ``[n, columns]``) and their kind."""
    names = source.label_columns
    if not names:
        return None, None
    if len(names) > 1:
        columns = [_numeric_label(name, table, "float", faults) for name in names]
        return np.stack(columns, axis=1), "float"
    kind = layout.label_kind if layout is not None else _kind_of(table[names[0]], source)
    if kind == "text":
        return _class_label(names[0], table, source.classes, faults), kind
    return _numeric_label(names[0], table, kind or "float", faults), kind


def _kind_of(column: pa.ChunkedArray, source: "Source") -> str:
    """integer, float or text: as told, or as the first labels look."""
    if source.classes is not None:
        return "text"
    if source.label_kind is not None:
        return source.label_kind
    array = decoded(column).drop_null()
    if source.untyped and is_text(array.type):
        array = array.filter(pc.invert(pc.is_in(array, value_set=pa.array(MISSING, pa.string()))))
    kind = plain(array, mend_text=source.untyped).type
    if is_text(kind):
        return "text"
    return "integer" if pa.types.is_integer(kind) or pa.types.is_boolean(kind) else "float"


def _numeric_label(name: str, table: pa.Table, kind: str, faults: Faults) -> Array:
    array = decoded(table[name])
    if pa.types.is_boolean(array.type):
        array = pc.cast(array, pa.int8())
    converted, failed = cast_or_null(array, pa.int64() if kind == "integer" else pa.float64())
    faults.add(failed, f"{name} (the label) is not a {'whole number' if kind == 'integer' else 'number'}", array)
    missing = converted.is_null() if kind == "integer" else pc.is_null(converted, nan_is_null=True)
    faults.add(to_mask(missing), f"{name} (the label) is missing")
    dtype = np.int64 if kind == "integer" else np.float64
    return as_numpy(filled(converted, 0)).astype(dtype, copy=False)


def _class_label(name: str, table: pa.Table, classes: tuple[str, ...] | None, faults: Faults) -> pa.Array:
    """Text classes; the dataset numbers them. Only the ``classes``, if they are given."""
    array = decoded(table[name])
    if not is_text(array.type):
        array = pc.cast(array, pa.string())
    faults.add(to_mask(pc.or_kleene(array.is_null(), pc.equal(array, ""))), f"{name} (the label) is missing")
    if classes is not None:
        known = pc.is_in(array, value_set=pa.array(classes, pa.string()))
        faults.add(to_mask(pc.invert(known)), f"{name} (the label) is none of the classes", array)
    return array


def _payload(table: pa.Table, source: "Source", layout: Layout | None, faults: Faults, where: str) -> pa.Table:
    if layout is not None:
        need(layout.schema.names, table.column_names, where=where, role="payload")
        return pa.table([_as(table[f.name], f, faults) for f in layout.schema], schema=layout.schema)
    names = source.payload_columns(table.column_names)
    arrays = [_decided(name, one_array(table[name]), source, faults) for name in names]
    return pa.table(dict(zip(names, arrays, strict=True)))


def _decided(name: str, array: pa.Array, source: "Source", faults: Faults) -> pa.Array:
    """A payload column in the type that it is going to keep."""
    told = source.types.get(name)
    if told is not None:
        return _as(array, pa.field(name, pa.type_for_alias(told)), faults)
    clean = plain(array, mend_text=source.untyped)
    if is_text(decoded(array).type) and not is_text(clean.type):
        return _as(array, pa.field(name, clean.type), faults)
    return _without_gaps(clean, name, faults)


def _as(column: pa.ChunkedArray | pa.Array, field: pa.Field, faults: Faults) -> pa.Array:
    """A column in the type decided on; what does not convert makes its row unusable, what is missing stays so where it can."""
    array = decoded(column)
    if array.type == field.type and not array.null_count:
        return array
    if pa.types.is_timestamp(field.type) and pa.types.is_temporal(array.type):
        array = pc.cast(array, field.type, safe=False)
    converted, failed = cast_or_null(array, field.type)
    faults.add(failed, f"{field.name} is not {_in_words(field.type)}", array)
    if pa.types.is_floating(field.type):
        return filled(converted, float("nan"))
    if pa.types.is_integer(field.type) or pa.types.is_boolean(field.type):
        faults.add(
            to_mask(converted.is_null()), f"{field.name} is missing, and its type {field.type} has no way to say so"
        )
        return filled(converted, pa.scalar(0, pa.int8()).cast(field.type)) if converted.null_count else converted
    return _without_gaps(converted, field.name, faults)


def _without_gaps(array: pa.Array, name: str, faults: Faults) -> pa.Array:
    """Missing texts as empty ones, as CSV has them; a row in which an array is missing is unusable. Other gaps stay."""
    if not array.null_count:
        return array
    if is_text(array.type):
        return filled(array, "")
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        return filled(array, b"")
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type) or pa.types.is_large_list(array.type):
        faults.add(to_mask(array.is_null()), f"{name} is missing")
    return array


def _in_words(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "a whole number"
    if pa.types.is_floating(kind):
        return "a number"
    return "a time" if pa.types.is_timestamp(kind) else str(kind)
