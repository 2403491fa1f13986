"""Composite models: which checkpoint would have been serving in each window.

*active* is the newest checkpoint trained only on data before the window's start; *trained* is its successor, which was
trained on data of that window (or the active one where there is no successor).
"""

import numpy as np

from modyn.types import Int64s


def active(window_starts: Int64s, data_until: Int64s) -> Int64s:
    """The number of the active checkpoint of each window, ``[w]``; -1 where none was trained early enough.

    ``window_starts[w]`` and ``data_until[c]`` (rising; exclusive) are in microseconds.

    >>> active(np.array([0, 10, 25]), np.array([10, 20])).tolist()
    [-1, 0, 1]
    """
    found: Int64s = np.searchsorted(data_until, window_starts, side="right").astype(np.int64) - 1
    return found


def trained(window_starts: Int64s, data_until: Int64s) -> Int64s:
    """The number of the trained checkpoint of each window, ``[w]``: the successor of the active one; -1 if there is none at all.

    >>> trained(np.array([0, 10, 25]), np.array([10, 20])).tolist()
    [0, 1, 1]
    """
    return np.minimum(active(window_starts, data_until) + 1, len(data_until) - 1)
