"""The evaluation windows of a run that follows its dataset, as they pass: which are over, filled and labelled, and who is to be scored on them.

They are laid out as time goes on and counted from the first sample that the run saw. What is known of each is brought up to date by the samples
that come, so a look costs in terms of these (and a few operations on arrays with a row a window).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from modyn.errors import ConfigError
from modyn.evaluation.windows import EvaluationWindows
from modyn.types import Array, Int64s, Samples, Window, unlabelled

MOST_WINDOWS = 1_000_000
"""Two years of windows of a minute; each costs about 200 bytes."""


class Passing:
    """The windows from the time ``first`` on (microseconds). ``warn`` is told, once, if they become too many.

    Samples later than ``now``, by the wall clock, wait for their window until their time has come, or an earlier one reaches it.
    """

    def __init__(
        self, policy: EvaluationWindows, first: int, *, now: Callable[[], int], warn: Callable[[str], None]
    ) -> None:
        self.policy, self.first, self.warn = policy, first, warn
        self.windows: list[Window] = []
        self._last = first
        self._newest = Newest(first, now)
        self._is_full = False
        self._edges = np.zeros((0, 2), np.int64)
        self._num_samples = np.zeros(0, np.int64)
        self._num_unknown = np.zeros(0, np.int64)
        self._done = np.zeros((0, 3), np.int64)

    @property
    def starts(self) -> Int64s:
        """``[w]``"""
        return self._edges[:, 0]

    def begin(self, samples: Samples) -> None:
        """Lay out the first windows. Raises ConfigError if they are more than anybody can mean."""
        self._newest.see(samples.timestamps)
        self._add(self.policy.lay_out(self.first, self._newest.time))
        self.count_anew(samples)

    def count_anew(self, samples: Samples) -> None:
        """Take in all samples that there are, after a deletion or a delivery of labels, or when a run goes on."""
        self._newest.see(samples.timestamps)
        self._reach()
        self._num_samples = np.zeros(len(self.windows), np.int64)
        self._num_unknown = np.zeros(len(self.windows), np.int64)
        self._count(samples, np.arange(len(self.windows)))

    def count(self, fresh: Samples, samples: Samples) -> None:
        """Take in what was appended to ``samples``, which hold it already."""
        if len(fresh):
            self._count(fresh, np.arange(len(self.windows)))
            self._newest.see(fresh.timestamps)
            self.go_on(samples)

    def go_on(self, samples: Samples) -> None:
        """Lay out the windows that samples reach by now, as the time of some has come."""
        known = len(self.windows)
        self._reach()
        if len(self.windows) > known:
            self._count(samples, np.arange(known, len(self.windows)))

    def _count(self, samples: Samples, rows: Int64s) -> None:
        """Add samples to what is known of the windows ``rows``."""
        times = samples.timestamps
        if not len(times) or not len(rows):
            return
        low, high = self._edges[rows, 0].min(), self._edges[rows, 1].max()
        inside = samples if low <= times.min() and times.max() < high else samples[(times >= low) & (times < high)]
        edges, labels = self._edges[rows], inside.labels
        self._num_samples[rows] += _num_between(inside.timestamps, edges)
        if labels is not None and (missing := unlabelled(labels)).any():
            self._num_unknown[rows] += _num_between(inside.timestamps[missing], edges)

    # Laying out ------------------------------------------------------------------------------------------------------

    def _reach(self) -> None:
        """Lay out windows up to the newest sample; where these are very many, in stretches."""
        last = self._newest.time
        step = last - self._last
        while self._last < last and not self._is_full:
            until = min(self._last + step, last)
            try:
                self._add(self.policy.further(self.first, until, len(self.windows)))
                self._last = until
            except ConfigError:
                step //= 2
            if step == 0 or len(self.windows) > MOST_WINDOWS:
                self._is_full = True
                self.warn(
                    f"there are {len(self.windows):,} evaluation windows, more than can be kept track of: later ones are not scored. Are the "
                    "clocks of all samples right? A new run begins a new count"
                )

    def _add(self, windows: Sequence[Window]) -> None:
        if not windows:
            return
        self.windows += windows
        self._edges = np.concatenate([self._edges, np.array([(w.start, w.end) for w in windows], np.int64)])
        self._num_samples, self._num_unknown, self._done = (
            np.concatenate([known, np.full((len(windows), *known.shape[1:]), fill, np.int64)])
            for known, fill in ((self._num_samples, 0), (self._num_unknown, 0), (self._done, -1))
        )

    # Scoring ---------------------------------------------------------------------------------------------------------

    def due(self, moment: int, serving: Mapping[str, Int64s]) -> dict[int, list[int]]:
        """The number of a checkpoint to those windows that are over by a moment, and that it is to be scored on and was not.

        ``serving`` says for each window (``[w]``, -1 = none) which checkpoint is the active one and which the trained one. The first checkpoint
        is scored wherever there is an active one, as the model that was never retrained.
        """
        ready = (self._edges[:, 1] <= moment) & (self._num_samples > 0) & (self._num_unknown == 0)
        never = np.where(serving["active"] >= 0, 0, -1)
        wanted = np.stack([never, serving["active"], serving["trained"]], axis=1)
        found: dict[int, list[int]] = {}
        for window in np.flatnonzero(ready & (wanted != self._done).any(axis=1)).tolist():
            for number in sorted(set(wanted[window].tolist()) - set(self._done[window].tolist()) - {-1}):
                found.setdefault(number, []).append(window)
            self._done[window] = wanted[window]
        return found


class Newest:
    """The latest time seen that is not in the future: a clock that runs ahead says nothing about what is over. A later one counts once it has come.

    >>> clock = [10]
    >>> newest = Newest(0, lambda: clock[0])
    >>> newest.see(np.array([3, 900, 5])), newest.time
    (True, 5)
    >>> clock[0] = 1000
    >>> newest.time
    900
    """

    def __init__(self, first: int, now: Callable[[], int]) -> None:
        self._latest, self._now = first, now
        self._ahead: list[Int64s] = []
        self._next = 2**63

    def see(self, times: Int64s) -> bool:
        """Take in the times of samples; whether some are in the future."""
        come = times <= self._now()
        self._latest = int(times[come].max(initial=self._latest))
        if come.all():
            return False
        self._ahead.append(times[~come])
        self._next = min(self._next, int(self._ahead[-1].min()))
        return True

    @property
    def time(self) -> int:
        """The latest by now; the first one if there is none yet."""
        if self._next <= self._now():
            waiting, self._ahead, self._next = np.concatenate(self._ahead), [], 2**63
            self.see(waiting)
        return self._latest


def _num_between(times: Array, edges: Int64s) -> Int64s:
    first, end = np.searchsorted(np.sort(times, kind="stable"), edges.T)
    return np.asarray(end - first)
