"""Selections as files: Arrow IPC with a column of keys and one of weights, or of key ranges where the keys run on."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa

from modyn.errors import Damaged
from modyn.types import Selection


def to_bytes(selection: Selection) -> bytes:
    """The selection as an Arrow IPC file. Consecutive keys without weights are kept as ranges ``[start, end)``."""
    keys = selection.keys
    breaks = np.flatnonzero(np.diff(keys) != 1) + 1
    if selection.weights is None and len(keys) and len(breaks) + 1 <= len(keys) // 2:
        starts = keys[np.concatenate([[0], breaks])]
        ends = keys[np.concatenate([breaks, [len(keys)]]) - 1] + 1
        table = pa.table({"start": starts, "end": ends})
    else:
        table = pa.table({"key": keys} | ({} if selection.weights is None else {"weight": selection.weights}))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def read(path: Path) -> Selection:
    """A selection that ``to_bytes`` made. Raises Damaged, naming the file, if it is not one."""
    try:
        table = pa.ipc.open_file(path).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise Damaged(f"{path} is not a selection: {error}") from error
    if "start" in table.column_names:
        starts, ends = (table[name].to_numpy() for name in ("start", "end"))
        counts = ends - starts
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return Selection(np.repeat(starts, counts) + offsets)
    weights = table["weight"].to_numpy() if "weight" in table.column_names else None
    return Selection(table["key"].to_numpy().astype(np.int64), weights)
