"""Conversions of whole columns that say which values did not convert, instead of stopping at the first."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modyn.sources.rows import as_numpy
from modyn.types import Array

_NUMBER = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:nan|inf|infinity)\s*$"
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "-NaN", "n/a", "null", "NULL", "None", "<NA>")
"""Texts that stand for no value, in columns that are not text."""
MOSTLY = 0.9
"""A text column is taken as one of numbers with bad rows if at least this share of its values are numbers."""


def one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def filled(array: pa.Array, value: object) -> pa.Array:
    """The array with ``value`` where there is none; asking Arrow only then, as it imports pandas for a Python value."""
    return pc.fill_null(array, value) if array.null_count else array


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def decoded(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column in one piece, its dictionary (pandas' category) resolved and its text of the ordinary type."""
    array = one_array(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return pc.cast(array, pa.string()) if is_text(array.type) and array.type != pa.string() else array


def cast_or_null(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, Array]:
    """The array as another type, and ``failed[n]``: where a value was there but did not convert, leaving null.

    The whole array is converted at once; only if that fails is it halved, and the halves, down to the values that fail.
    """
    if array.type == kind:
        return array, np.zeros(len(array), bool)
    if is_text(array.type) and not is_text(kind):
        array = _without_missing(array)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return _numbers(array, kind)
    return _cast(array, kind)


def _without_missing(array: pa.Array) -> pa.Array:
    missing = pc.is_in(array, value_set=pa.array(MISSING, pa.string()))
    return pc.if_else(missing, pa.scalar(None, array.type), pc.utf8_trim_whitespace(array))


def _numbers(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, Array]:
    looks = pc.match_substring_regex(array, _NUMBER)
    failed = to_mask(pc.invert(looks))
    if failed.any():
        array = pc.if_else(looks, array, pa.scalar(None, array.type))
    converted, more = _cast(array, kind)
    return converted, failed | more


def _cast(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, Array]:
    try:
        return pc.cast(array, kind), np.zeros(len(array), bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if isinstance(error, pa.ArrowNotImplementedError):
            return pa.nulls(len(array), kind), to_mask(array.is_valid())
        if len(array) == 1:
            return pa.nulls(1, kind), np.ones(1, bool)
    half = len(array) // 2
    (left, a), (right, b) = _cast(array[:half], kind), _cast(array[half:], kind)
    return pa.concat_arrays([left, right]), np.concatenate([a, b])


def to_mask(array: pa.Array | pa.ChunkedArray) -> Array:
    """Booleans as NumPy has them; null is False."""
    return as_numpy(pc.cast(filled(one_array(array), False), pa.uint8())).view(np.bool_)


def plain(column: pa.ChunkedArray | pa.Array, *, mend_text: bool = False) -> pa.Array:
    """The column in a type that arrays have: no dictionaries, decimals, or missing values in integers.

    Whole numbers and booleans with missing values become floats (NaN). With ``mend_text``, text of which most values are numbers
    becomes numbers, and what does not convert is left as null.
    """
    array = decoded(column)
    kind = array.type
    if pa.types.is_null(kind) or pa.types.is_decimal(kind) or kind == pa.float16():
        array = pc.cast(array, pa.float64())
    elif pa.types.is_temporal(kind) and not pa.types.is_duration(kind) and not pa.types.is_time(kind):
        array = pc.cast(array, pa.timestamp("us"), safe=False)
    elif (pa.types.is_integer(kind) or pa.types.is_boolean(kind)) and array.null_count:
        array = pc.cast(pc.cast(array, pa.int64(), safe=False), pa.float64(), safe=False)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        array = _fixed_size(array)
    elif mend_text and is_text(kind):
        array = _mended(array)
    return array


def _fixed_size(array: pa.Array) -> pa.Array:
    """Lists that are all equally long as lists of that size; others as they are."""
    lengths = pc.unique(pc.list_value_length(array.drop_null())).to_pylist()
    if len(lengths) != 1 or not lengths[0]:
        return array
    if array.null_count:
        return pc.cast(array, pa.list_(array.type.value_type, lengths[0]))
    return pa.FixedSizeListArray.from_arrays(array.flatten(), lengths[0])


def _mended(array: pa.Array) -> pa.Array:
    present = _without_missing(array)
    count = len(array) - present.null_count
    numbers = pc.sum(pc.match_substring_regex(present, _NUMBER)).as_py() or 0
    if not count or numbers < (count if count < 10 else MOSTLY * count):
        return array
    whole, failed = cast_or_null(array, pa.int64())
    if not failed.sum() > count - numbers and not present.null_count:
        return whole
    return cast_or_null(array, pa.float64())[0]


def show(array: pa.Array, row: int) -> str:
    """One value as an error message shows it."""
    text = str(array[row].as_py())
    return text if len(text) <= 60 else text[:57] + "..."


def promoted(kind: pa.DataType) -> pa.DataType:
    """The type with whole numbers widened to floats, for columns of which only a part has been seen."""
    if pa.types.is_integer(kind):
        return pa.float64()
    return pa.list_(promoted(kind.value_type)) if pa.types.is_list(kind) else kind
