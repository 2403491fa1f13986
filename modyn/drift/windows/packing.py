"""Arrays of integers as short strings, for states that are written as JSON."""

import base64
import zlib

import numpy as np

from modyn.types import Int64s


def pack(values: Int64s) -> str:
    """The array as text: differences, compressed. Consecutive keys take about one character for a hundred of them.

    >>> len(pack(np.arange(100_000))) < 2000
    True
    """
    differences = np.diff(values.astype("<i8"), prepend=np.int64(0))
    return base64.b85encode(zlib.compress(differences.astype("<i8").tobytes(), 6)).decode()


def unpack(text: str) -> Int64s:
    """The array that was packed.

    >>> unpack(pack(np.array([3, 1, -2])))
    array([ 3,  1, -2])
    """
    differences = np.frombuffer(zlib.decompress(base64.b85decode(text)), "<i8")
    return np.cumsum(differences, dtype=np.int64)
