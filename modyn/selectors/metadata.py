"""What training noted of each sample: its loss when last trained on, and whether it was right then. Columns of the run.

One Arrow file an epoch, ``samples/ROUND-EPOCH.arrow`` in the run's folder, with ``key`` (int64), ``loss`` (float32) and ``right``
(int8: 1 = predicted right, 0 = wrong, -1 = there is no right or wrong), in the order of training. Files are written once and never changed; what is
asked for is folded from them into dense columns by key, each file once.
"""

import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from modyn.errors import Damaged
from modyn.types import Array, Float32s, Int64s
from modyn.workspace import write_durably

Place = tuple[int, int]
"""A round and an epoch."""


class Metadata:
    """Per-sample training metadata of one run. Appending costs the epoch's samples; asking costs the keys asked for.

    What is asked for is as it stood before epoch ``before[1]`` of round ``before[0]`` (None = by now): so a round that is trained again
    after a crash sees what it saw the first time, whatever the crash left behind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "samples"
        self._folded: set[str] = set()
        self._columns = _Columns()

    def append(self, round: int, epoch: int, *, keys: Int64s, losses: Array, right: Array | None = None) -> None:  # noqa: A002
        """Note an epoch, durably. ``losses[n]`` and ``right[n]`` (bool) as they were when each of ``keys[n]`` was trained on.

        Rows are in the order of training; a key may come several times. An epoch that is noted again (after a crash) replaces the first.
        """
        marks = np.full(len(keys), -1, np.int8) if right is None else np.asarray(right).astype(np.int8)
        table = pa.table({"key": keys, "loss": np.asarray(losses, dtype=np.float32), "right": marks})
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{round:06d}-{epoch:06d}.arrow"
        if path.name in self._folded:
            self._start_over()
        write_durably(path, sink.getvalue())

    def losses(self, keys: Int64s, *, before: Place | None = None) -> Float32s:
        """``[n]``: the loss of each key when last trained on; NaN = never."""
        return self._until(before).get("loss", keys)

    def forgotten(self, keys: Int64s, *, before: Place | None = None) -> Int64s:
        """``[n]``: how many times each key was right and then wrong."""
        return self._until(before).get("forgotten", keys)

    def forgetting(self, keys: Int64s, *, before: Place | None = None) -> Array:
        """``[n]`` float32: how many times each key was forgotten; NaN for those that were never right, or never trained on."""
        counts = self.forgotten(keys, before=before).astype(np.float32)
        counts[self.learned(keys, before=before) == 0] = np.nan
        return counts

    def learned(self, keys: Int64s, *, before: Place | None = None) -> Int64s:
        """``[n]``: how many times each key was wrong, or new, and then right."""
        return self._until(before).get("learned", keys)

    def times_trained(self, keys: Int64s, *, before: Place | None = None) -> Int64s:
        """``[n]``: how many times each key was trained on, over all epochs."""
        return self._until(before).get("times", keys)

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if re.fullmatch(r"\d{6,}-\d{6,}\.arrow", p.name))

    def _start_over(self) -> None:
        self._folded, self._columns = set(), _Columns()

    def _until(self, before: Place | None) -> "_Columns":
        files = [path for path in sorted(self._files(), key=_place) if before is None or _place(path) < before]
        if not self._folded <= {path.name for path in files}:
            self._start_over()
        for path in files:
            if path.name not in self._folded:
                self._columns.fold(*_read(path))
                self._folded.add(path.name)
        return self._columns


def _place(path: Path) -> Place:
    round_number, epoch = path.stem.split("-")
    return int(round_number), int(epoch)


def _read(path: Path) -> tuple[Int64s, Float32s, Array]:
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        return table["key"].to_numpy(), table["loss"].to_numpy(), table["right"].to_numpy()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise Damaged(f"{path} does not hold per-sample metadata: {error}") from error


class _Columns:
    """Dense columns by key, grown as keys come."""

    def __init__(self) -> None:
        self._of: dict[str, Array] = {
            "loss": np.full(0, np.nan, np.float32),
            "right": np.full(0, -1, np.int8),
            "forgotten": np.zeros(0, np.int64),
            "learned": np.zeros(0, np.int64),
            "times": np.zeros(0, np.int64),
        }

    def get(self, name: str, keys: Int64s) -> Array:
        self._grow(int(keys.max()) + 1 if len(keys) else 0)
        return self._of[name][keys]

    def fold(self, keys: Int64s, losses: Float32s, right: Array) -> None:
        """Take in one epoch; a key that comes several times is taken in that often, in order."""
        if not len(keys):
            return
        self._grow(int(keys.max()) + 1)
        for rows in _rounds_of_unique(keys):
            self._fold_unique(keys[rows], losses[rows], right[rows])

    def _fold_unique(self, keys: Int64s, losses: Float32s, right: Array) -> None:
        before = self._of["right"][keys]
        self._of["forgotten"][keys] += (before == 1) & (right == 0)
        self._of["learned"][keys] += (before != 1) & (right == 1)
        self._of["times"][keys] += 1
        self._of["loss"][keys] = losses
        self._of["right"][keys] = right

    def _grow(self, size: int) -> None:
        have = len(self._of["loss"])
        if size <= have:
            return
        room = max(size - have, have // 2)
        for name, values in self._of.items():
            fill: float = {"loss": np.nan, "right": -1}.get(name, 0)
            self._of[name] = np.concatenate([values, np.full(room, fill, values.dtype)])


def _rounds_of_unique(keys: Int64s) -> list[Int64s | slice]:
    """Rows in groups without a repeated key, in order: all at once if none repeats."""
    order = np.argsort(keys, kind="stable")
    arranged = keys[order]
    first = np.concatenate([[True], arranged[1:] != arranged[:-1]])
    if first.all():
        return [slice(None)]
    starts = np.flatnonzero(first)
    nth = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
    return [np.sort(order[nth == number]) for number in range(int(nth.max()) + 1)]
