"""A 64-bit hash of each row, so that a changed file's rows can be told from those taken before.

Hashes outlive the rows, also those that were deleted and purged, so they are salted by dataset and cannot be run backwards.
Whoever has the catalog, where the salt is too, can still try whether a row that they guess was there.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modyn.sources.convert import is_text, one_array
from modyn.sources.rows import Shaped, as_numpy

Hashes = npt.NDArray[np.uint64]
FORGOTTEN = np.uint64(0)
"""No row has this hash: it stands where a row was taken back, so that the row counts as new if it returns."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def content_hashes(samples: Shaped, *, with_time: bool, salt: str) -> Hashes:
    """``hashes[n]`` of payload, label and, if it belongs to the row, time together; equal rows have equal hashes; none is 0."""
    if not len(samples):
        return np.empty(0, np.uint64)
    found = _mix(samples.timestamps.astype(np.uint64) if with_time else np.zeros(len(samples), np.uint64))
    columns = [(name, one_array(samples.table[name])) for name in samples.table.column_names]
    if isinstance(samples.labels, pa.Array):
        columns.append(("", samples.labels))
    elif samples.labels is not None:
        found = _mix(found ^ _of_numbers(samples.labels))
    for _, array in columns:
        found = _mix(found ^ _of_array(array))
    return _sealed(found, salt) | np.uint64(1)


def column_hashes(samples: Shaped, name: str, *, salt: str) -> Hashes:
    """``hashes[n]`` of one column; none is 0."""
    if not len(samples):
        return np.empty(0, np.uint64)
    return _sealed(_mix(_of_array(one_array(samples.table[name]))), salt) | np.uint64(1)


def _sealed(hashes: Hashes, salt: str) -> Hashes:
    """The hashes with the salt, made one-way (Davies-Meyer): ``_mix`` alone can be undone, and would give a number back."""
    salted = hashes ^ np.uint64(_of_bytes(salt.encode()))
    return _mix(salted) ^ salted


def _of_array(array: pa.Array) -> Hashes:
    if pa.types.is_fixed_size_list(array.type):
        return _of_numbers(as_numpy(array.flatten()).reshape(len(array), array.type.list_size))
    if is_text(array.type) or pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        coded = array.dictionary_encode()
        texts = coded.dictionary.to_pylist()
        hashes = np.array([_of_bytes(t.encode() if isinstance(t, str) else t) for t in texts] + [0], np.uint64)
        found: Hashes = hashes[as_numpy(coded.indices.fill_null(len(texts)))]
        return found
    if pa.types.is_fixed_size_binary(array.type):
        flat = np.frombuffer(
            array.buffers()[1], np.uint8, len(array) * array.type.byte_width, array.offset * array.type.byte_width
        )
        return _of_numbers(flat.reshape(len(array), -1))
    if pa.types.is_timestamp(array.type):
        array = pc.fill_null(pc.cast(array, pa.int64()), np.iinfo(np.int64).min)
    return _of_numbers(as_numpy(pc.cast(array, pa.uint8()) if pa.types.is_boolean(array.type) else array))


def _of_bytes(value: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little")


def _of_numbers(values: npt.NDArray[Any]) -> Hashes:
    """Hashes along the first axis. A value counts by its bits, 0.0 and -0.0 alike."""
    if values.dtype.kind == "f":
        values = values + 0.0
    rows = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8).reshape(len(values), -1)
    width = -(-rows.shape[1] // 8)
    if rows.shape[1] != width * 8:
        rows = np.pad(rows, ((0, 0), (0, width * 8 - rows.shape[1])))
    words = rows.view(np.uint64)
    found = np.full(len(values), width, np.uint64)
    for column in range(width):
        found = _mix(found ^ words[:, column])
    return found


def _mix(values: Hashes) -> Hashes:
    """A bijection of 64-bit integers that spreads every bit (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        mixed = values + _ODD
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def occurrences(hashes: Hashes) -> npt.NDArray[np.int64]:
    """How many times each value has stood before in the array.

    >>> occurrences(np.array([7, 5, 7, 7], np.uint64)).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = (
        np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(hashes) else np.empty(0, np.int64)
    )
    lengths = np.diff(np.append(starts, len(hashes)))
    found = np.empty(len(hashes), np.int64)
    found[order] = np.arange(len(hashes)) - np.repeat(starts, lengths)
    return found
