"""Production mode: the stations of a run that follows its dataset instead of replaying a recorded one.

What differs from a replay, and only that, is here. The stream does not end: it looks at the dataset's sources and at the dataset again
and again, and shows the trigger what has come, or that nothing has. Each round sees the dataset as it is then. A window is scored
once it is over (``passing.py``), on the checkpoint that was serving in it, the one trained on it and the first of all, so that scoring costs in
terms of new data.
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
from modyn.evaluation.options import Evaluation
from modyn.passing import Newest, Passing
from modyn.runlog import Event, RunLog
from modyn.selectors import Selector
from modyn.sources import Feed
from modyn.stations import STREAM_BATCH, Stations
from modyn.streaming import chosen, identity_of
from modyn.training.trainer import Fitted
from modyn.types import Array, Candidates, Checkpoint, Int64s, Samples, Selection, Window
from modyn.workspace import Workspace

if TYPE_CHECKING:
    from modyn.pipeline import Pipeline

MOST_TRIES = 5
"""How often a round is trained anew because samples that it had selected were deleted meanwhile."""
AHEAD = (
    "samples lie in the future by this machine's clock: until it is there, no evaluation window is over because of them"
)
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
        self._passing: Passing | None = None
        self._newest = Newest(-(2**62), follow.now)
        super().__init__(pipeline, workspace, log)

    def _streamed(self) -> Samples:
        """A run that goes on may find that all its samples have expired, and waits for others."""
        self._known = Growing(self._all() if self.log.began else super()._streamed())
        return self._known.samples

    def _make_evaluator(self, options: Evaluation) -> Evaluator:
        """Windows are laid out when the run begins, as only then it is known from when on they are counted."""
        return Evaluator(options, self.trainer.labelled(self.samples.with_known_labels()), windows=[])

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
            batch = fresh[start : start + STREAM_BATCH]
            yield batch
            if self._newest.see(batch.timestamps):
                self._warn_once((AHEAD,))

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
        if identity_of(self.live) != self.identity:
            raise NotFound(f"dataset '{self.live.name}' was removed, and another has that name now")
        if self.live.version == self.dataset.version:
            return
        old, self.dataset = self.dataset, self.live.at(self.live.version)
        if self.dataset.only_grew_since(old.version):
            fresh = chosen(self.dataset.samples(Window(old.end_key, self.dataset.end_key)), self.pipeline.stream)
            self.samples = self._known.append(fresh)
            if self._passing is not None:
                self._passing.count(fresh, self.samples)
        else:
            self._known = Growing(self._all())
            self.samples = self._known.samples
            if self._passing is not None:
                self._passing.count_anew(self.samples)

    def _all(self) -> Samples:
        return chosen(self.dataset.samples(), self.pipeline.stream)

    # A round ---------------------------------------------------------------------------------------------------------

    def open_round(self, end: int, selector: Selector) -> tuple[Window, Candidates]:
        """As in a replay, of the dataset as it is by now."""
        self._renew()
        return super().open_round(end, selector)

    def select(self, selector: Selector, candidates: Candidates) -> Selection:
        """As in a replay, without the candidates that are deleted before they are looked at."""
        for last in range(MOST_TRIES):
            try:
                return super().select(selector, candidates)
            except NotFound:
                candidates = candidates[self._still_live(candidates.keys, "candidates", last)]
        raise AssertionError

    def train(
        self, selector: Selector, candidates: Candidates, selection: Selection
    ) -> tuple[Fitted, Selection] | None:
        """As in a replay; what is deleted between selecting and reading is left out, and training begins anew.

        Nothing to train on (nothing has come, no label is known yet, all is deleted) is no reason to end: the next round takes up the window.
        """
        for last in range(MOST_TRIES):
            if not len(selection):
                self._warn_once(("the trigger fired and nothing was selected, so nothing was trained",))
                return None
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
        first = int(self.samples.timestamps.min()) if started is None else started["stream_time"][0]
        shown = self.samples.timestamps[: int(np.searchsorted(self.samples.keys, self.shown))]
        self._newest = Newest(first, self.now)
        self._newest.see(shown)
        if self.evaluator is not None:
            self._passing = passing = Passing(
                self.evaluator.options.windows, first, now=self.now, warn=lambda m: self._warn_once((m,))
            )
            passing.count_anew(self.samples) if resumed else passing.begin(self.samples)
            self.evaluator = Evaluator(self.evaluator.options, self.evaluator.samples, windows=passing.windows)
        super().begin(resumed=resumed)

    def _score_baselines(self) -> None:
        """With the windows, as they pass."""

    def _log_composite(self, *, round: int | None = None) -> None:  # noqa: A002
        """Not written: it is plain from the rounds, and as long as the run is old."""

    def evaluate(self, checkpoint: Checkpoint) -> dict[str, float | None]:
        """Score the windows that are over and were waiting for this checkpoint. The next window is yet to come."""
        until = checkpoint.data_until - 1
        self._score_what_is_over(until if until <= self.now() else None)
        return {}

    def evaluate_after_run(self) -> None:
        """The run was asked to stop; it can be resumed."""
        self.log.append("run-stopped", reason="stopped on request")

    def _score_what_is_over(self, moment: int | None = None) -> None:
        """Score the windows that ended by a moment (None = that of the newest sample shown) and whose labels are known, each on the checkpoints that belong to it."""
        until = self._newest.time if moment is None else moment
        passing, looked_at = self._passing, (self.dataset.version, self.round, self.shown, until)
        if passing is None or not self.checkpoints or looked_at == self._looked_at:
            return
        passing.go_on(self.samples)
        self._looked_at, serving = looked_at, self._serving(passing.starts)
        due = self._not_scored(passing.due(until, serving))
        if not due:
            return
        numbers = sorted({n for windows in due.values() for n in windows})
        self._evaluate_from(numbers[0])
        for number, windows in sorted(due.items()):
            checkpoint = self.checkpoints[number]
            scores = self._score(checkpoint, self.models.weights(checkpoint.id), windows)
            self._scored |= {(checkpoint.id, n) for n in windows}
            after = [n for n in windows if serving["active"][n] == number]
            if after:  # on the newest window after its data
                self.log.progress("scored", round=number, scores={m: v for n, m, v in scores if n == after[-1]})
        self._score_guesses(numbers)

    def _not_scored(self, due: dict[int, list[int]]) -> dict[int, list[int]]:
        """Without what an earlier process scored."""
        left = {
            c: [n for n in windows if (self.checkpoints[c].id, n) not in self._scored] for c, windows in due.items()
        }
        return {checkpoint: windows for checkpoint, windows in left.items() if windows}

    def _evaluate_from(self, number: int) -> None:
        """Have an evaluator for the windows from a number on, with all labels that are known by now."""
        assert self._passing is not None
        assert self.evaluator is not None
        known, windows = self.trainer.labelled(self.samples.with_known_labels()), self._passing.windows[number:]
        self.evaluator = Evaluator(self.evaluator.options, known, windows=windows, first=number)
        self.log.append("windows", first=number, windows=self.evaluator.describe())

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
                left, old = known[np.isin(known.keys, self.samples.keys)], self.evaluator
                self.evaluator = Evaluator(old.options, left, windows=old.windows, first=old.first)
        raise AssertionError

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


class Growing:
    """Samples to which others are appended, at a cost in terms of these: the arrays behind ``samples`` have room for more."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self._rooms = _arrays(samples)

    def append(self, fresh: Samples) -> Samples:
        """All samples; what was given before stays as it was."""
        if len(fresh):
            pairs = zip(
                self._rooms, _arrays(self.samples), _arrays(fresh), strict=False
            )  # without labels if either has none
            self._rooms = [_extended(room, known, new) for room, known, new in pairs]
            self.samples = Samples(*(room[: len(self.samples) + len(fresh)] for room in self._rooms))
        return self.samples


def _arrays(samples: Samples) -> list[Array]:
    return [samples.keys, samples.timestamps, *([] if samples.labels is None else [samples.labels])]


def _extended(room: Array, known: Array, new: Array) -> Array:
    """``new`` behind ``known`` in an array with room, which is another one if there is not enough of it."""
    end, dtype = len(known) + len(new), np.result_type(known, new)
    if len(room) < end or room.dtype != dtype:
        room = np.empty((max(end, len(known) * 3 // 2), *new.shape[1:]), dtype)
        room[: len(known)] = known
    room[len(known) : end] = new
    return room
