"""Columns between users' arrays and Arrow buffers: what is given at append becomes one of three kinds, exactly.

``array``  numbers, Booleans and times of one width, with a shape for each sample: ``float32[20]``, ``uint8[160]``, ``int64``
``text``   UTF-8 text of any length; a missing text is the empty text
``bytes``  bytes of any length
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from modyn.errors import BadSample, DataError
from modyn.types import Array

Values: TypeAlias = Array | Any
"""A column's values: a NumPy array for the kind ``array``, an Arrow array of large strings or binaries for the others."""


@dataclass(frozen=True)
class Column:
    """One column's kind. ``dtype`` and ``shape`` (of one sample) say what an ``array`` holds."""

    name: str
    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.kind != "array":
            return self.kind
        return self.dtype + (f"[{','.join(map(str, self.shape))}]" if self.shape else "")

    @cached_property
    def storage_dtype(self) -> np.dtype[Any]:
        """The NumPy type of the bytes on disk (Booleans take a byte each, as Arrow's bits cannot be viewed)."""
        return np.dtype(self.dtype).newbyteorder("<")

    def to_document(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Column":
        return cls(document["name"], document["kind"], document["dtype"], tuple(document["shape"]))


_BYTES = (bytes, bytearray, memoryview)


def normalise(name: str, given: Any) -> tuple[Column, Values]:
    """A column as given, and what it is. Raises DataError for what cannot be a column, BadSample for a missing value."""
    if isinstance(given, pa.ChunkedArray):
        given = given.combine_chunks() if given.num_chunks != 1 else given.chunk(0)
    if isinstance(given, pa.Array):
        return _from_arrow(name, given)
    if isinstance(given, list | tuple) and given and all(isinstance(value, _BYTES) for value in given):
        # NumPy would cut off zeros at the end, and cannot take memoryviews, which a reader gives.
        return _from_arrow(name, pa.array(map(bytes, given), pa.large_binary()))
    try:
        array = np.asarray(given)
    except ValueError:
        raise DataError(f"column '{name}': the samples' values have different shapes") from None
    if array.ndim == 0:
        raise DataError(f"column '{name}': needs one value a sample; got the single value {array!r:.60}")
    if array.dtype.kind in "UTO":
        return _from_arrow(name, _infer(name, array))
    if array.dtype.kind == "S":
        if array.ndim != 1:
            raise DataError(f"column '{name}': bytes must be one value a sample; got an array of shape {array.shape}")
        return _from_arrow(name, pa.array(array.tolist(), pa.large_binary()))
    return _from_numpy(name, array)


def _infer(name: str, array: Array) -> pa.Array:
    if array.ndim != 1:
        raise DataError(f"column '{name}': text must be one value a sample; got an array of shape {array.shape}")
    try:
        return pa.array(array.astype(object) if array.dtype.kind == "T" else array, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column '{name}': {error}") from None


def _from_numpy(name: str, array: Array) -> tuple[Column, Values]:
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")
    elif array.dtype.kind == "V" and array.dtype.names is None and array.ndim == 1:
        array = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), array.dtype.itemsize)
    elif array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(f"column '{name}': values of type {array.dtype} cannot be stored")
    if 0 in array.shape[1:]:
        raise DataError(f"column '{name}': a sample has no values; its shape is {array.shape[1:]}")
    stored, called = _stored_as(array.dtype)
    return Column(name, "array", called, array.shape[1:]), array.astype(stored, copy=False)


@lru_cache(maxsize=64)  # as each small append asks again
def _stored_as(dtype: "np.dtype[Any]") -> "tuple[np.dtype[Any], str]":
    """The type that values of a type are stored in, and its name."""
    stored = dtype.newbyteorder("<")
    return stored, stored.name


def _from_arrow(name: str, array: pa.Array) -> tuple[Column, Values]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _from_arrow(name, array.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Column(name, "text"), _compact(array.cast(pa.large_string()).fill_null(""))
    if pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        array = array.cast(pa.timestamp("us"))
    if pa.types.is_floating(array.type):
        return _from_numpy(name, array.to_numpy(zero_copy_only=False))
    if pa.types.is_timestamp(array.type):
        return _from_numpy(name, array.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy().view("M8[us]"))
    _refuse_missing(name, array)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return Column(name, "bytes"), _compact(array.cast(pa.large_binary()))
    if pa.types.is_fixed_size_binary(kind):
        return _from_numpy(name, _plain(array, np.dtype(np.uint8), (kind.byte_width,)))
    if pa.types.is_fixed_size_list(kind):
        _, flat = _from_arrow(name, array.flatten())
        if not isinstance(flat, np.ndarray):
            raise DataError(f"column '{name}': lists of {kind.value_type} cannot be stored")
        return _from_numpy(name, flat.reshape(len(array), kind.list_size, *flat.shape[1:]))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _from_numpy(name, array.to_numpy(zero_copy_only=False))
    raise DataError(f"column '{name}': values of Arrow type {kind} cannot be stored")


def _refuse_missing(name: str, array: pa.Array) -> None:
    if array.null_count:
        row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadSample(f"column '{name}', row {row}: the value is missing")


def _compact(array: pa.Array) -> pa.Array:
    """The array with offsets from 0 and no bytes of its neighbours."""
    return pa.concat_arrays([array.slice(0, 0), array]) if array.offset or _starts_late(array) else array


def _starts_late(array: pa.Array) -> bool:
    offsets = array.buffers()[1]
    return bool(len(array) and np.frombuffer(offsets, np.int64, 1)[0])


def _plain(array: pa.Array, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Array:
    """NumPy's view of an Arrow array's values, without copying."""
    width = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    buffer = array.buffers()[-1]
    if buffer is None or not len(array) or not width:
        return np.empty((len(array), *shape), dtype)
    flat = np.frombuffer(buffer, dtype, len(array) * width // dtype.itemsize, array.offset * width)
    return flat.reshape(len(array), *shape)


def conform(column: Column, given: Column, values: Values) -> Values:
    """The values in the type that the dataset's column has. Raises DataError if that would change them."""
    if given == column:
        return values
    refusal = DataError(f"column '{column.name}' holds {column} in this dataset; got {given}")
    if not isinstance(values, np.ndarray):
        if not len(values):
            return empty(column)
        raise refusal
    if column.kind != "array" or given.shape != column.shape:
        raise refusal
    if not len(values):
        return empty(column)
    target = np.dtype(column.dtype)
    if target.kind in "Mb" or values.dtype.kind in "Mb":
        raise refusal
    if not np.can_cast(values.dtype, target, "safe"):
        with np.errstate(all="ignore"):
            same = values.astype(target).astype(values.dtype) == values
        if not np.all(same | (values != values)):
            row = int(np.flatnonzero(~same.reshape(len(values), -1).all(axis=1))[0])
            raise DataError(f"{refusal}, and row {row} does not fit")
    return values.astype(target)


def empty(column: Column) -> Values:
    """The column with no samples."""
    if column.kind == "array":
        return np.empty((0, *column.shape), column.storage_dtype)
    return pa.array([], pa.large_string() if column.kind == "text" else pa.large_binary())


def join(parts: list[Values]) -> Values:
    """Several stretches of one column as one."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)


def size_of(values: Values) -> int:
    """Bytes that the values take."""
    return int(values.nbytes)


def to_arrow(values: Values) -> pa.Array:
    """Values as an Arrow array over the same memory: fixed-size binary for bytes, lists of fixed size for other shapes."""
    if not isinstance(values, np.ndarray):
        return values
    storage = values.view(np.uint8) if values.dtype == np.bool_ else values
    if storage.dtype == np.uint8 and values.dtype != np.bool_ and values.ndim == 2 and values.shape[1]:
        return pa.Array.from_buffers(pa.binary(values.shape[1]), len(values), [None, pa.py_buffer(storage)])
    flat = pa.Array.from_buffers(
        pa.from_numpy_dtype(storage.dtype), storage.size, [None, pa.py_buffer(storage.reshape(-1))]
    )
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def view(array: pa.Array, column: Column) -> Values:
    """A stored column's values without copying: the inverse of ``to_arrow``."""
    return _plain(array, column.storage_dtype, column.shape) if column.kind == "array" else array
