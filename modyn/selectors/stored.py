"""Selections and their scores as files, Arrow IPC: columns of keys and weights, or of key ranges where the keys run on."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from modyn.errors import Damaged
from modyn.types import Array, Int64s, Selection
from modyn.workspace import write_durably


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
    return _packed(table)


def read(path: Path) -> Selection:
    """A selection that ``to_bytes`` made. Raises Damaged, naming the file, if it is not one."""
    table = read_columns(path)
    if "start" in table.column_names:
        starts, ends = (table[name].to_numpy() for name in ("start", "end"))
        counts = ends - starts
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return Selection(np.repeat(starts, counts) + offsets)
    weights = table["weight"].to_numpy() if "weight" in table.column_names else None
    return Selection(table["key"].to_numpy().astype(np.int64), weights)


def scores_of(folder: Path, number: int, epoch: int | None = None) -> tuple[Int64s, Array] | None:
    """Keys and scores of what a round of the run in ``folder`` selected; None where a score is no number, or none was computed.

    ``epoch`` asks for those of the selection that was made in that epoch, while the round trained.
    """
    path = folder / "scores" / _named(number, epoch)
    if not path.exists():
        return None
    table = read_columns(path)
    return table["key"].to_numpy(), table["score"].to_numpy()


def keep_scores(folder: Path, number: int, epoch: int | None, *, keys: Int64s, scores: Array) -> None:
    """Keep the scores of what was selected, for ``scores_of``."""
    write_columns(folder / "scores" / _named(number, epoch), {"key": keys, "score": scores})


def keep_made_while_training(folder: Path, number: int, epoch: int, selection: Selection) -> None:
    """Keep what was selected in an epoch while the round trained: anew, or out of its batches."""
    path = folder / "selections" / _named(number, epoch)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, to_bytes(selection))


def made_while_training(folder: Path, number: int) -> dict[int, Selection]:
    """What was selected while the round trained, by epoch, in their order."""
    files = {int(path.stem.partition("-")[2]): path for path in (folder / "selections").glob(f"{number}-*.arrow")}
    return {epoch: read(files[epoch]) for epoch in sorted(files)}


def latest(parts: Sequence[tuple[Int64s, Array]]) -> tuple[Int64s, Array]:
    """Keys, each once and ascending, with the value that the last of the parts gives to it."""
    keys = np.concatenate([part for part, _ in parts])[::-1]
    values = np.concatenate([part for _, part in parts])[::-1]
    found, first = np.unique(keys, return_index=True)
    return found, values[first]


def _named(number: int, epoch: int | None) -> str:
    return f"{number}.arrow" if epoch is None else f"{number}-{epoch}.arrow"


def write_columns(path: Path, columns: Mapping[str, Array]) -> None:
    """Write arrays of one length as an Arrow IPC file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, _packed(pa.table(dict(columns))))


def read_columns(path: Path) -> pa.Table:
    """What ``write_columns`` wrote. Raises Damaged, naming the file, if it is not that."""
    try:
        return pa.ipc.open_file(path).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise Damaged(f"{path} cannot be read: {error}") from error


def _packed(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
