"""The stations of one run, set up from its pipeline: dataset, trainer, model store, evaluator and journal.

The loop in ``pipeline.py`` tells the story; what its steps need is prepared, timed and written down here.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn import provenance
from modyn.config import dump
from modyn.datasets import Dataset
from modyn.errors import DataError, ModynError, NotFound, RunError
from modyn.evaluation import composite
from modyn.evaluation.evaluator import Evaluator
from modyn.evaluation.options import Evaluation
from modyn.models.store import ModelStore
from modyn.policy import name_of
from modyn.runlog import Event, RunLog
from modyn.selecting import Selecting
from modyn.selectors import Selector, stored
from modyn.selectors.describe import describe
from modyn.selectors.usage import Usage
from modyn.streaming import identity_of, streamed
from modyn.training.choice import Choice
from modyn.training.deployed import Deployed
from modyn.training.trainer import Fitted, Trainer
from modyn.triggers import Trigger
from modyn.triggers.manual import requests_in
from modyn.types import Candidates, Checkpoint, Int64s, Round, Samples, Selection, Window, to_datetime
from modyn.workspace import Workspace

if TYPE_CHECKING:
    from modyn.pipeline import Pipeline

STREAM_BATCH = 65_536
"""How many samples the trigger is shown at once. It changes nothing but speed."""
MOST_CLASSES = 10_000
"""Baselines guess with a row of class scores a sample; beyond so many classes that is not worth its memory."""


class Stations:
    """What one run works with. ``cursor`` is the first key that no finished round has seen, ``shown`` the first that the trigger has not."""

    def __init__(
        self,
        pipeline: "Pipeline",
        workspace: Workspace,
        log: RunLog,
        *,
        version: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.pipeline, self.log, self.clock = pipeline, log, clock
        self.live = Dataset.open(workspace, pipeline.dataset)
        self.identity = identity_of(self.live)
        self.dataset = self.live.at(self.live.version if version is None else version)
        self.samples = self._streamed()
        self.reader = (self.live if self.is_following else self.dataset).reader()
        self.models = ModelStore(workspace)
        self.trainer = Trainer(
            pipeline.training,
            model=pipeline.model.build,
            parser=pipeline.parser.build(),
            reader=self.reader,
            seed=pipeline.seed,
            log=log,
        )
        self.features = Deployed(
            self.trainer,
            self.reader,
            deleted=self.live.deleted_among,
            requests=lambda: requests_in(log.folder),
            now=self.now,
        )
        pipeline.trigger.bind(self.features)
        self.evaluator = self._make_evaluator(pipeline.evaluation) if pipeline.evaluation else None
        self.selecting = Selecting(
            pipeline.selector,
            self.trainer,
            folder=log.folder,
            seed=pipeline.seed,
            workspace=workspace,
            keep=self._keep_holdout,
        )
        self._choice: Choice | None = None
        self._selected: Selection | None = None
        self.usage = Usage()
        self.cursor = int(self.samples.keys[0]) if len(self.samples) else self.dataset.end_key
        self.shown = self.cursor
        self.checkpoints: list[Checkpoint] = []
        self._weights: Any = None
        self._trigger_seconds = self._fired_at = 0.0
        self._costs: dict[str, float] = {}

    def _streamed(self) -> Samples:
        return streamed(self.dataset, self.pipeline)

    def _make_evaluator(self, options: Evaluation) -> Evaluator:
        return Evaluator(options, self.trainer.labelled(self.samples.with_known_labels()))

    is_following = False
    """Whether the stream goes on for ever; see ``following.py``."""

    def now(self) -> int | None:
        """The wall clock in microseconds; None in a replay, where time is that of the samples."""
        return None

    @contextmanager
    def told_if_removed(self) -> Iterator[None]:
        """Raise RunError in place of whatever comes of it that the dataset is removed while the run goes on."""
        try:
            yield
        except (ModynError, OSError) as error:
            if not self._is_removed():
                raise
            raise RunError(
                f"dataset '{self.live.name}' was removed while run {self.log.run_id} was using it: the run ends here, and "
                "cannot be resumed. What it had finished is kept"
            ) from error

    def _is_removed(self) -> bool:
        try:
            return identity_of(Dataset.open(self.live.workspace, self.live.name)) != self.identity
        except NotFound:
            return True

    def close(self) -> None:
        """End the worker processes that training started."""
        self.trainer.close()

    # What the journal says -------------------------------------------------------------------------------------------

    def begin(self, *, resumed: bool = False) -> None:
        """Write down what this run is made of."""
        pipeline, keys, times = self.pipeline, self.samples.keys, self.samples.timestamps
        document, base_dir = pipeline.to_document(), pipeline.document.base_dir.absolute()
        files = provenance.user_files(document, base_dir)
        self.log.append(
            "run-started",
            run=self.log.run_id,
            pipeline=document,
            source=pipeline.document.text or dump(document),
            base_dir=str(base_dir),
            user_files=[file.to_dict() for file in files],
            versions=provenance.versions(),
            git=provenance.git_commit(base_dir),
            seed=pipeline.seed,
            dataset=pipeline.dataset,
            dataset_version=self.dataset.version,
            dataset_identity=self.identity,
            num_samples=len(self.samples),
            stream=[int(keys[0]), int(keys[-1]) + 1] if len(keys) else [self.cursor, self.cursor],
            stream_time=[int(times.min()), int(times.max()) + 1] if len(keys) else None,
            trigger=name_of(type(pipeline.trigger)),
            selector=name_of(type(pipeline.selector)),
            metrics=self._metric_docs(),
            resumed=resumed,
            following=self.is_following,
        )
        for file in () if resumed else files:
            self.log.write_file(file.kept_as, file.path.read_bytes())
        self._warn_of_clocks()
        if self.evaluator is not None:
            if not any(self.log.events("windows")):
                self.log.append("windows", windows=self.evaluator.describe())
            self._score_baselines()

    def _warn_of_clocks(self) -> None:
        """Warn of a few samples far away in time from all others: triggers and windows by time would follow them."""
        if len(self.samples) < 100:
            return
        times = self.samples.timestamps
        low, high = (int(t) for t in np.quantile(times, [0.005, 0.995], method="nearest"))
        reach = max(high - low, 1)
        for far, moment in ((times < low - reach, times.min()), (times > high + reach, times.max())):
            if far.any():
                self.log.append(
                    "warning",
                    message=f"{int(far.sum())} of {len(times):,} samples lie far from all others in time, the furthest at "
                    f"{to_datetime(int(moment)):%Y-%m-%d %H:%M}: are their clocks right?",
                )

    def _metric_docs(self) -> list[dict[str, Any]]:
        if self.evaluator is None:
            return []
        return [
            {"name": n, "higher_is_better": m.higher_is_better, "description": (type(m).__doc__ or "").splitlines()[0]}
            for n, m in self.evaluator.metrics.items()
        ]

    def restore(self, finished: list[Event]) -> Mapping[str, Any] | None:
        """Take up the run where its last finished round left it; returns the trigger's state then."""
        for event in finished:
            selection = stored.read(self.log.folder / "selections" / f"{event.round}.arrow")
            self.usage.record(event["end_key"], selection)
            self._selected = selection
            self.checkpoints.append(self.models.get(event["checkpoint"]))
        if not finished:
            return None
        self.cursor = self.shown = finished[-1]["end_key"]
        self._deploy(self.models.weights(self.checkpoints[-1].id))
        state: Mapping[str, Any] = finished[-1]["trigger_state"]
        return state

    # The stream and its firings --------------------------------------------------------------------------------------

    def stream(self) -> Iterator[Samples]:
        """The samples that no finished round has seen, in the order of their keys."""
        first = int(np.searchsorted(self.samples.keys, self.cursor))
        for start in range(first, len(self.samples), STREAM_BATCH):
            self.log.progress("stream", num_seen=start, num_samples=len(self.samples))
            yield self.samples[start : start + STREAM_BATCH]
        self.log.progress("stream", num_seen=len(self.samples), num_samples=len(self.samples))

    def firings(self, trigger: Trigger, batch: Samples) -> Iterator[int]:
        """The ends (a key, exclusive) at which the trigger says to train; its time and its explanations are logged."""
        positions = trigger.update(batch)
        self.shown = int(batch.keys[-1]) + 1 if len(batch) else self.shown
        while True:
            before = self.clock()
            position = next(positions, None)
            self._fired_at = self.clock()
            self._trigger_seconds += self._fired_at - before
            for numbers in trigger.explain():
                self.log.append("trigger-checked", **numbers)
            if position is None:
                return
            if position >= 0:
                yield int(batch.keys[position]) + 1
            else:  # after the samples shown before; an empty batch, in production, comes after all of them
                yield int(batch.keys[0]) if len(batch) else self.shown

    @property
    def round(self) -> int:
        """The number of the round that is open, or would be opened next."""
        return len(self.checkpoints)

    def open_round(self, end: int, selector: Selector) -> tuple[Window, Candidates]:
        """A round's window of keys ``[cursor, end)`` and the candidates for it."""
        number, window = self.round, Window(self.cursor, end)
        seen = self.samples[: int(np.searchsorted(self.samples.keys, end))]
        arrived = seen.timestamps[int(np.searchsorted(seen.keys, self.cursor)) :]
        self._costs = {}
        self.log.append(
            "round-started",
            round=number,
            trigger=name_of(type(self.pipeline.trigger)),
            start_key=window.start,
            end_key=end,
            start_time=int(arrived.min()) if len(arrived) else None,
            end_time=int(arrived.max()) + 1 if len(arrived) else None,
            num_samples=len(arrived),
        )
        self._cost("trigger", self._trigger_seconds, len(arrived))
        self._trigger_seconds = 0.0
        seen = seen.with_known_labels()
        with self._timed("select", len(seen)):
            columns = self.dataset.reader(selector.columns).read(seen.keys) if selector.columns else None
            return window, self.usage.candidates(seen, selector.history, end_key=end, columns=columns)

    # The steps of a round --------------------------------------------------------------------------------------------

    def select(self, selector: Selector, candidates: Candidates) -> Selection:
        """What the selector chooses of the candidates."""
        with self._timed("select", len(candidates)):
            selection, self._choice = self.selecting.select(candidates, self._weights)
        self._write_selected(selector, candidates, selection)
        return selection

    def _write_selected(self, selector: Selector, candidates: Candidates, selection: Selection) -> None:
        described = describe(candidates, selection, self._selected)
        rule = None if self._choice is None else self._choice.in_batch
        share = None if rule is None else rule.share
        name = name_of(type(selector))
        self.log.append("selected", round=candidates.round, selector=name, batch_share=share, **described)
        self.log.write_file(f"selections/{candidates.round}.arrow", stored.to_bytes(selection))

    def train(
        self, selector: Selector, candidates: Candidates, selection: Selection
    ) -> tuple[Fitted, Selection] | None:
        """Fit the model to the selection, from scratch or from the checkpoint before. Raises TrainingError.

        Returns what it was trained on, too: where that was chosen while training, it is not what was selected before. None if there is nothing to
        train on, in production only: a pipeline that selects nothing in a replay is a mistake.
        """
        number, (parent, start) = self.round, self._start()
        if not len(selection):
            raise DataError(f"round {number}: nothing was selected, so there is nothing to train on")
        before = self.clock()
        fitted = self.trainer.fit(selection, round=number, start=start, choice=self._choice)
        waited, loading = before - self._fired_at, fitted.seconds["load"]
        passed = self.clock() - before + fitted.seconds.get("earlier", 0.0)
        self._cost("load", loading, fitted.num_seen)
        self._cost("train", passed - loading, fitted.num_seen)
        if self._choice is not None and self._choice.chooses:
            selection = self.selecting.trained_on(number, selection)
            self._write_selected(selector, candidates, selection)
        self.log.append(
            "trained",
            round=number,
            parent=parent,
            num_samples=min(len(selection), fitted.num_samples),
            num_seen=fitted.num_seen,
            num_steps=fitted.num_steps,
            loss=None if fitted.loss != fitted.loss else fitted.loss,
            device=fitted.device,
            peak_memory_bytes=fitted.peak_memory_bytes,
            first_step_s=waited + fitted.first_step_s,
        )
        return fitted, selection

    def _start(self) -> tuple[str | None, Any]:
        """The checkpoint that this round's training starts from, and its weights; None = from scratch or as pretrained."""
        kind, _, named = self.pipeline.training.start.partition(":")
        if kind == "checkpoint":
            return named, self.models.weights(named)
        if kind == "latest" and self.checkpoints:
            return self.checkpoints[-1].id, self._weights
        return None, None

    def store(self, fitted: Fitted, window: Window, selection: Selection) -> Checkpoint:
        """Keep the fitted weights with their lineage."""
        number = self.round
        first, last = np.searchsorted(self.samples.keys, [window.start, window.end])
        newest = int(self.samples.timestamps[first:last].max(initial=-(2**62))) + 1
        seen_until = max(newest, self.checkpoints[-1].data_until if self.checkpoints else newest)
        parent, _ = self._start()
        with self._timed("store", len(selection)):
            checkpoint = self.models.put(
                fitted.weights,
                Checkpoint(
                    id=f"{self.log.run_id}/{number}",
                    run=self.log.run_id,
                    round=number,
                    parent=parent,
                    dataset=self.pipeline.dataset,
                    dataset_version=self.dataset.version,
                    data_until=seen_until,
                    num_samples=len(selection),
                    seed=self.pipeline.seed,
                ),
            )
        self.log.append("stored", round=number, checkpoint=checkpoint.id, size_bytes=checkpoint.size_bytes)
        self.checkpoints.append(checkpoint)
        self._deploy(fitted.weights)
        return checkpoint

    def _keep_holdout(self, fitted: Fitted, name: str, keys: Int64s) -> None:
        """Keep a model of the irreducible loss, as ``RUN.holdout-N/ROUND``, with its lineage."""
        number = self.round
        self.models.put(
            fitted.weights,
            Checkpoint(
                id=f"{self.log.run_id}.{name}/{number}",
                run=self.log.run_id,
                round=number,
                parent=None,
                dataset=self.pipeline.dataset,
                dataset_version=self.dataset.version,
                data_until=int(self.samples.timestamps[np.searchsorted(self.samples.keys, keys)].max(initial=-1)) + 1,
                num_samples=len(keys),
                seed=self.pipeline.seed,
            ),
        )

    def _deploy(self, weights: Any) -> None:
        """Put the newest checkpoint in place, for the trigger and as the next round's start."""
        self._weights = weights
        self.features.deploy(self.checkpoints[-1].id, weights)

    def evaluate(self, checkpoint: Checkpoint) -> dict[str, float | None]:
        """Score a new checkpoint, if the pipeline says to do so after each round; returns its scores on its next window."""
        if self.evaluator is None or not self.pipeline.evaluation or not self.pipeline.evaluation.after_round:
            return {}
        scores = self._score(checkpoint, self._weights, None)
        self._log_composite(round=checkpoint.round)
        later = [n for n, w in enumerate(self.evaluator.windows) if w.start >= checkpoint.data_until]
        return {metric: value for window, metric, value in scores if later and window == later[0]}

    def close_round(
        self, window: Window, candidates: Candidates, selection: Selection, checkpoint: Checkpoint, scores: Any
    ) -> Round:
        """The round as the trigger hears of it; ``commit`` makes it durable."""
        self._selected = selection
        first, last = np.searchsorted(self.samples.keys, [window.start, window.end])
        arrived = self.samples.timestamps[first:last] if last > first else np.array([checkpoint.data_until - 1])
        span = Window(int(arrived.min()), int(arrived.max()) + 1, by="time")
        self.usage.record(window.end, selection)
        self.cursor = window.end
        return Round(
            number=checkpoint.round,
            window=window,
            time_window=span,
            num_candidates=len(candidates),
            selection=selection,
            checkpoint=checkpoint,
            costs=dict(self._costs),
            scores=scores,
        )

    def commit(self, done: Round) -> None:
        """Make a round durable, with the trigger's state after it was informed. Resume goes on from here."""
        self.log.append(
            "round-finished",
            round=done.number,
            checkpoint=done.checkpoint.id,
            end_key=done.window.end,
            data_until=done.checkpoint.data_until,
            trigger_state=self.pipeline.trigger.state_dict(),
            costs=done.costs,
            scores=done.scores,
        )

    def evaluate_after_run(self) -> None:
        """Score what was left for the end of the run."""
        options = self.pipeline.evaluation
        if self.evaluator is None or options is None or not self.checkpoints:
            return
        self._log_composite()
        if options.after_round:
            return
        serving = self._composite()
        for number, checkpoint in enumerate(self.checkpoints):
            windows = None
            if number and options.checkpoints != "all":
                windows = [w for w, c in enumerate(serving[options.checkpoints]) if c == number]
            self._score(checkpoint, self.models.weights(checkpoint.id), windows)

    # Measuring and scoring -------------------------------------------------------------------------------------------

    @contextmanager
    def _timed(self, station: str, num_samples: int) -> Iterator[None]:
        before = self.clock()
        self.log.progress(station, round=self.round)
        yield
        self._cost(station, self.clock() - before, num_samples)

    def _cost(self, station: str, seconds: float, num_samples: int) -> None:
        self._costs[station] = self._costs.get(station, 0.0) + seconds
        self.log.append("cost", round=self.round, station=station, seconds=seconds, num_samples=num_samples)

    def _score(
        self, checkpoint: Checkpoint, weights: Any, windows: list[int] | None
    ) -> list[tuple[int, str, float | None]]:
        assert self.evaluator is not None
        before = self.clock()
        self.log.progress("evaluate", round=checkpoint.round)
        scores, predicted = self.evaluator.score(lambda keys: self.trainer.predict(weights, keys), windows)
        seconds = self.clock() - before
        self._costs["evaluate"] = self._costs.get("evaluate", 0.0) + seconds
        self.log.append("cost", round=checkpoint.round, station="evaluate", seconds=seconds, num_samples=predicted)
        self.log.append(
            "evaluated",
            round=checkpoint.round,
            checkpoint=checkpoint.id,
            baseline=None,
            num_samples=predicted,
            scores=[asdict(score) for score in scores],
        )
        return [(score.window, score.metric, score.value) for score in scores]

    def _score_baselines(self) -> None:
        assert self.evaluator is not None
        known = {event["baseline"] for event in self.log.events("evaluated")}
        num_classes = self.evaluator.num_classes()
        if num_classes is not None and num_classes > MOST_CLASSES:
            self.log.append(
                "warning",
                message=f"no baselines: the labels reach {num_classes - 1:,}, more than {MOST_CLASSES:,} classes",
            )
            return
        for name, scores in self.evaluator.baselines(num_classes):
            if name in known:
                continue
            rows = [asdict(score) for score in scores]
            self.log.append("evaluated", checkpoint=None, baseline=name, num_samples=len(self.samples), scores=rows)

    def _composite(self) -> dict[str, Int64s]:
        assert self.evaluator is not None
        return self._serving(np.array([w.start for w in self.evaluator.windows], dtype=np.int64))

    def _serving(self, starts: Int64s) -> dict[str, Int64s]:
        until = np.array([c.data_until for c in self.checkpoints], dtype=np.int64)
        return {"active": composite.active(starts, until), "trained": composite.trained(starts, until)}

    def _log_composite(self, *, round: int | None = None) -> None:  # noqa: A002
        ids = np.array([*(c.id for c in self.checkpoints), None], dtype=object)
        self.log.append(
            "composite", round=round, **{name: ids[rows].tolist() for name, rows in self._composite().items()}
        )
