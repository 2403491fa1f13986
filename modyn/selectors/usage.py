"""What the run remembers of each sample: the round it arrived in, and how often it was trained on.

Derived from the journal alone (the rounds' ends and their selections), so a run that goes on after a crash rebuilds it.
"""

import numpy as np

from modyn.selectors import History
from modyn.types import Candidates, Columns, Int64s, Samples, Selection


class Usage:
    """In how many rounds, and in which last one, each key was trained on; grows with the keys, not with the rounds."""

    def __init__(self) -> None:
        self._times = np.zeros(0, dtype=np.int64)
        self._last = np.full(0, -1, dtype=np.int64)
        self._ends: list[int] = []

    def record(self, end_key: int, selection: Selection) -> None:
        """Note a finished round: it saw the keys up to ``end_key`` (exclusive) and trained on the selection."""
        self._grow(end_key)
        keys = np.unique(selection.keys)
        self._times[keys] += 1
        self._last[keys] = len(self._ends)
        self._ends.append(end_key)

    def candidates(
        self, samples: Samples, history: History, *, end_key: int, columns: Columns | None = None
    ) -> Candidates:
        """The candidates of the next round among ``samples`` (ascending keys), which all lie before ``end_key``.

        ``columns`` holds arrays as long as ``samples``. Costs in terms of the candidates.
        """
        self._grow(end_key)
        rows = self._rows(samples, history)
        chosen = samples[rows]
        keys = chosen.keys
        first, last = (int(keys[0]), int(keys[-1]) + 1) if len(keys) else (0, 0)
        at: slice | Int64s = slice(first, last) if last - first == len(keys) else keys
        arrived = np.searchsorted(self._ends, keys, side="right") if self._ends else np.zeros(len(keys), np.int64)
        given = {name: values[rows] for name, values in (columns or {}).items()}
        return Candidates(chosen, arrived, self._times[at], self._last[at], len(self._ends), given)

    def _rows(self, samples: Samples, history: History) -> slice | Int64s:
        if history.last is not None and history.last <= len(self._ends):
            start = self._ends[len(self._ends) - history.last]
            return slice(int(np.searchsorted(samples.keys, start)), None)
        if history.samples is not None:
            return slice(max(0, len(samples) - history.samples), None)
        if history.time is not None and len(samples):
            recent: Int64s = np.flatnonzero(samples.timestamps > samples.timestamps.max() - history.time)
            return recent
        return slice(None)

    def _grow(self, end_key: int) -> None:
        missing = end_key - len(self._times)
        if missing > 0:
            room = max(missing, len(self._times) // 2)
            self._times = np.concatenate([self._times, np.zeros(room, np.int64)])
            self._last = np.concatenate([self._last, np.full(room, -1, np.int64)])
