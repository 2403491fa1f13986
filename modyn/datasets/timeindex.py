"""Which rows of a shard lie in a time window: two binary searches where its samples are in time order, one scan otherwise.

A shard that compaction found out of time order keeps its rows' order by time, so that the binary search works there too.
"""

from bisect import bisect_left

import numpy as np

from modyn.datasets.shards import OpenShard
from modyn.types import Int64s


def rows_between(shard: OpenShard, start: int, end: int) -> slice | Int64s:
    """Rows with a timestamp in ``[start, end)``, ascending; a slice where they lie side by side."""
    known = shard.shard
    if end <= known.min_time or known.max_time < start:
        return slice(0, 0)
    if start <= known.min_time and known.max_time < end:
        return slice(0, known.num_rows)
    timestamps = shard.timestamps
    if known.in_time_order:
        low, high = np.searchsorted(timestamps, (start, end))
        return slice(int(low), int(high))
    order = shard.time_order
    if order is None:
        return np.flatnonzero((timestamps >= start) & (timestamps < end))
    # Not np.searchsorted(sorter=order): it would first make int64 of the whole order.
    low, high = (bisect_left(order, moment, key=timestamps.__getitem__) for moment in (start, end))
    return np.sort(order[low:high]).astype(np.int64)
