"""Labels: integers, floats, several columns of either, or text classes that are stored as their codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.datasets.columns import Column, normalise
from modyn.errors import BadSample, DataError, did_you_mean
from modyn.types import Array, Int64s


def prepare(given: Any) -> tuple[Column, Array] | pa.Array:
    """Labels as a column of int64 or floats ``[n]`` or ``[n, c]``, or the text of classes. Raises DataError otherwise."""
    column, values = normalise("label", given)
    if not isinstance(values, np.ndarray):
        if column.kind == "text":
            return values
        raise DataError("labels must be integers, floats or text; got bytes")
    if values.dtype.kind in "biu":
        values = values.astype(np.int64)
    elif values.dtype.kind != "f":
        raise DataError(f"labels must be integers, floats or text; got {column}")
    if values.ndim > 2:
        raise DataError(f"labels must be [n] or [n, columns]; got an array of shape {values.shape}")
    return Column("label", "array", values.dtype.name, values.shape[1:]), values


def new_classes(text: pa.Array, classes: Sequence[str]) -> list[str]:
    """The classes in the text that are not known yet, in the order of their first appearance."""
    known = set(classes)
    return [name for name in text.unique().to_pylist() if name not in known]


def encode(text: pa.Array, classes: Sequence[str]) -> Int64s:
    """Each text's code: its place in ``classes``. Raises BadSample, naming the nearest class, for a text that is none."""
    codes = pa.compute.index_in(text, pa.array(classes, pa.large_string()))
    if codes.null_count:
        row = int(np.flatnonzero(codes.is_null().to_numpy(zero_copy_only=False))[0])
        name = text[row].as_py()
        raise BadSample(f"row {row}: '{name}' is not a label class of this dataset. {did_you_mean(name, classes)}")
    found: Int64s = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def check_codes(codes: Array, classes: Sequence[str]) -> None:
    """Raises BadSample for an integer label that is no class's code."""
    if codes.dtype.kind != "i" or codes.ndim != 1:
        raise DataError(f"labels must be classes or their codes; got {codes.dtype} of shape {codes.shape}")
    wrong = np.flatnonzero((codes < 0) | (codes >= len(classes)))
    if len(wrong):
        raise BadSample(f"row {wrong[0]}: label {codes[wrong[0]]} is not the code of one of the {len(classes)} classes")
