"""Production mode: the stations of a run that follows its dataset instead of replaying a recorded one.

What differs from a replay, and only that, is here. The stream does not end: it looks at the dataset's sources and at the dataset again
and again, and shows the trigger what has come, or that nothing has. Each round sees the dataset as it is then. A window is scored
once it is over, on the checkpoint that was serving in it and on the one trained on it, so that scoring costs in terms of new data.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.datasets import Dataset
from modyn.errors import DataError, NotFound
from modyn.evaluation.evaluator import Evaluator
from modyn.runlog import Event, RunLog
from modyn.selectors import Selector
from modyn.sources import Feed
from modyn.stations import STREAM_BATCH, Stations
from modyn.streaming import chosen
from modyn.training.trainer import Fitted
from modyn.types import Array, Candidates, Checkpoint, Int64s, Samples, Selection, Window, unlabelled
from modyn.workspace import Workspace

if TYPE_CHECKING:
    from modyn.pipeline import Pipeline

MOST_TRIES = 5
"""How often a round is trained anew because samples that it had selected were deleted meanwhile."""


KEPT = frozenset({"evaluated", "windows", "warning"})
"""What stays of the journal after the last finished round when a run is resumed: the samples that were scored may be gone since."""


def wall_clock() -> int:
    """Now, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, kw_only=True)
class Follow:
    """How a dataset is followed: every ``poll_s`` seconds, until ``stop`` is set. ``now`` is the wall clock in microseconds."""

    poll_s: float = 2.0
    stop: threading.Event = field(default_factory=threading.Event)
    now: Callable[[], int] = wall_clock


class Following(Stations):
    """What a run in production works with."""

    def __init__(self, pipeline: "Pipeline", workspace: Workspace, log: RunLog, *, follow: Follow) -> None:
        self.follow = follow
        self._feed = _feed_of(Dataset.open(workspace, pipeline.dataset))
        self._told: set[str] = set()
        self._scored: set[tuple[str | None, int]] = set()
        self._looked_at: tuple[int | None, ...] = ()
        self._first_time = 0
        super().__init__(pipeline, workspace, log)

    def _streamed(self) -> Samples:
        """A run that goes on may find that all its samples have expired, and waits for others."""
        return self._all() if self.log.began else super()._streamed()

    is_following = True

    def now(self) -> int:
        return self.follow.now()

    # The stream ------------------------------------------------------------------------------------------------------

    def stream(self) -> Iterator[Samples]:
        """What no finished round has seen, and then what comes, for ever; an empty batch each time that nothing has."""
        yield from self._unseen()
        while not self.follow.stop.is_set():
            self._look()
            self._score_what_is_over()
            before = self.shown
            yield from self._unseen()
            if self.shown == before:
                yield self.samples[:0]
                self.log.progress("waiting", num_samples=len(self.samples))
                self.follow.stop.wait(self.follow.poll_s)

    def _unseen(self) -> Iterator[Samples]:
        """What the trigger has not been shown, of the dataset as it was when this began."""
        fresh = self.samples[int(np.searchsorted(self.samples.keys, self.shown)) :]
        for start in range(0, len(fresh), STREAM_BATCH):
            yield fresh[start : start + STREAM_BATCH]

    def _look(self) -> None:
        """Take what is new in the sources, and in the dataset."""
        self._feed = self._feed or _feed_of(self.live)
        if self._feed is not None:
            self._warn_once(self._feed.look().refused)
        self.live.expire(self.now())
        self._renew()

    def _warn_once(self, messages: tuple[str, ...]) -> None:
        for message in messages:
            if message not in self._told:
                self._told.add(message)
                self.log.append("warning", message=message)

    def _renew(self) -> None:
        """See the dataset as it is now. Costs in terms of what was appended, but after a deletion or late labels."""
        if self.live.version == self.dataset.version:
            return
        old, self.dataset = self.dataset, self.live.at(self.live.version)
        fresh = chosen(self.dataset.samples(Window(old.end_key, self.dataset.end_key)), self.pipeline.stream)
        self.samples = _joined(self.samples, fresh) if self.dataset.only_grew_since(old.version) else self._all()

    def _all(self) -> Samples:
        return chosen(self.dataset.samples(), self.pipeline.stream)

    # A round ---------------------------------------------------------------------------------------------------------

    def open_round(self, end: int, selector: Selector) -> tuple[Window, Candidates]:
        """As in a replay, of the dataset as it is by now."""
        self._renew()
        return super().open_round(end, selector)

    def skips(self, selection: Selection) -> bool:
        """Nothing to train on (nothing has come, or no label is known yet) is no reason to end: the next round takes up its window."""
        if not len(selection):
            self._warn_once(("the trigger fired and nothing was selected, so nothing was trained",))
        return not len(selection)

    def select(self, selector: Selector, candidates: Candidates) -> Selection:
        """As in a replay, without the candidates that are deleted before they are looked at."""
        for last in range(MOST_TRIES):
            try:
                return super().select(selector, candidates)
            except NotFound:
                candidates = candidates[self._still_live(candidates.keys, "candidates", last)]
        raise AssertionError

    def train(self, selector: Selector, candidates: Candidates, selection: Selection) -> tuple[Fitted, Selection]:
        """As in a replay; what is deleted between selecting and reading is left out, and training begins anew."""
        for last in range(MOST_TRIES):
            try:
                return super().train(selector, candidates, selection)
            except NotFound:
                live = self._still_live(selection.keys, "selected samples", last)
                weights = None if selection.weights is None else selection.weights[live]
                selection = replace(selection, keys=selection.keys[live], weights=weights)
                self._write_selected(selector, candidates, selection)
        raise AssertionError

    def _still_live(self, keys: Int64s, what: str, last: int) -> Array:
        """Which keys are not deleted by now, when some were found to be. Raises what is being handled if it is not that."""
        live = np.isin(keys, self.live.keys())
        if live.all() or last + 1 == MOST_TRIES:
            raise
        message = f"{int((~live).sum()):,} {what} were deleted before they were read; going on without them"
        self.log.append("warning", round=self.round, message=message)
        return live

    # Scoring ---------------------------------------------------------------------------------------------------------

    def restore(self, finished: list[Event]) -> Mapping[str, Any] | None:
        """As in a replay, with what was scored before."""
        for event in self.log.events("evaluated"):
            self._scored |= {(event["checkpoint"] or event["baseline"], score["window"]) for score in event["scores"]}
        return super().restore(finished)

    def begin(self, *, resumed: bool = False) -> None:
        """As in a replay. Windows are counted from the first sample that the run ever saw, whatever expires."""
        started = next(self.log.events("run-started"), None)
        self._first_time = int(self.samples.timestamps.min()) if started is None else started["stream_time"][0]
        if self.evaluator is not None:
            self.evaluator = Evaluator(self.evaluator.options, self.evaluator.samples, windows=self._windows())
        super().begin(resumed=resumed)

    def _windows(self) -> list[Window]:
        options, last = self.pipeline.evaluation, int(self.samples.timestamps.max(initial=self._first_time))
        return [] if options is None else options.windows.lay_out(self._first_time, last)

    def _score_baselines(self) -> None:
        """With the windows, as they pass."""

    def _log_composite(self, *, round: int | None = None) -> None:  # noqa: A002
        """Not written: it is plain from the rounds, and as long as the run is old."""

    def evaluate(self, checkpoint: Checkpoint) -> dict[str, float | None]:
        """Score the windows that are over and were waiting for this checkpoint. The next window is yet to come."""
        self._score_what_is_over(checkpoint.data_until - 1)
        return {}

    def evaluate_after_run(self) -> None:
        """The run was asked to stop; it can be resumed."""
        self.log.append("run-stopped", reason="stopped on request")

    def _score_what_is_over(self, moment: int | None = None) -> None:
        """Score the windows that ended by a moment (None = the newest sample shown) and whose labels are known, each on the checkpoints that belong to it."""
        options, looked_at = self.pipeline.evaluation, (self.dataset.version, self.round, self.shown, moment)
        if options is None or not self.checkpoints or looked_at == self._looked_at:
            return
        self._looked_at, windows = looked_at, self._windows()
        if moment is None:
            shown = self.samples.timestamps[: int(np.searchsorted(self.samples.keys, self.shown))]
            moment = int(shown.max(initial=self._first_time))
        over = self._missing(windows, [n for n, window in enumerate(windows) if window.end <= moment])
        ready = _ready(self.samples, windows, sorted({n for numbers in over.values() for n in numbers}))
        if not ready:
            return
        self.evaluator = Evaluator(options, self.trainer.labelled(self.samples.with_known_labels()), windows=windows)
        self.log.append("windows", first=ready[0], windows=self.evaluator.describe()[ready[0] :])
        for number, numbers in sorted(self._missing(windows, ready).items()):
            checkpoint = self.checkpoints[number]
            self._score(checkpoint, self.models.weights(checkpoint.id), numbers)
            self._scored |= {(checkpoint.id, n) for n in numbers}
        self._score_guesses(ready)

    def _score(
        self, checkpoint: Checkpoint, weights: Any, windows: list[int] | None
    ) -> list[tuple[int, str, float | None]]:
        assert self.evaluator is not None
        for last in range(MOST_TRIES):
            try:
                return super()._score(checkpoint, weights, windows)
            except NotFound:  # deleted since the last look
                if last + 1 == MOST_TRIES:
                    raise
                self._renew()
                known = self.evaluator.samples
                left = known[np.isin(known.keys, self.samples.keys)]
                self.evaluator = Evaluator(self.evaluator.options, left, windows=self.evaluator.windows)
        raise AssertionError

    def _missing(self, windows: list[Window], over: list[int]) -> dict[int, list[int]]:
        """The number of a checkpoint to those windows that are over and that it serves, or was trained on, and is not scored on."""
        starts = np.array([window.start for window in windows], np.int64)
        found: dict[int, list[int]] = {}
        for serving in self._serving(starts).values():
            for window in over:
                number = int(serving[window])
                if number >= 0 and (self.checkpoints[number].id, window) not in self._scored:
                    found.setdefault(number, [])
                    if window not in found[number]:
                        found[number].append(window)
        return found

    def _score_guesses(self, windows: list[int]) -> None:
        assert self.evaluator is not None
        for name, scores in self.evaluator.baselines(self.evaluator.num_classes(), windows):
            rows = [score.to_dict() for score in scores if (name, score.window) not in self._scored]
            if rows:
                self.log.append("evaluated", checkpoint=None, baseline=name, num_samples=len(self.samples), scores=rows)
            self._scored |= {(name, row["window"]) for row in rows}


def _feed_of(dataset: Dataset) -> Feed | None:
    """What follows the dataset's sources; None where it has none, and others append to it."""
    try:
        return Feed(dataset)
    except DataError:
        return None


def _joined(old: Samples, fresh: Samples) -> Samples:
    labels = None if old.labels is None or fresh.labels is None else np.concatenate([old.labels, fresh.labels])
    return Samples(np.concatenate([old.keys, fresh.keys]), np.concatenate([old.timestamps, fresh.timestamps]), labels)


def _ready(samples: Samples, windows: list[Window], numbers: list[int]) -> list[int]:
    """Those of the windows that hold samples, and none whose label is not known yet."""
    if not numbers:
        return []
    edges = np.array([(windows[n].start, windows[n].end) for n in numbers], np.int64)
    inside = samples[(samples.timestamps >= edges.min()) & (samples.timestamps < edges.max())]
    unknown = inside[:0] if inside.labels is None else inside[unlabelled(inside.labels)]
    ready = (_num_between(inside.timestamps, edges) > 0) & (_num_between(unknown.timestamps, edges) == 0)
    return [number for number, is_ready in zip(numbers, ready, strict=True) if is_ready]


def _num_between(times: Int64s, edges: Int64s) -> Int64s:
    first, end = np.searchsorted(np.sort(times, kind="stable"), edges.T)
    return np.asarray(end - first)
