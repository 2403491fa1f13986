"""A pipeline: WHEN to retrain, on WHAT, HOW, and HOW WELL it went. Read this file first: ``_loop`` is the whole system.

::

    Source -> Dataset.append -> Trigger.update -> Selector.select -> Trainer.fit -> ModelStore.put -> Evaluator.score
                                     ^                                                                     |
                                     +------------------------- inform(Round) <----------------------------+
"""

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from modyn import config
from modyn.errors import ModynError, RunError
from modyn.evaluation.options import Evaluation
from modyn.models.spec import ModelSpec
from modyn.policy import Options, json_schema, name_of
from modyn.provenance import check_dataset, check_unchanged
from modyn.run import Run
from modyn.runlog import Observer, RunLog
from modyn.selectors import Selector
from modyn.selectors.all import All
from modyn.training.options import Training
from modyn.training.parsing import ParserSpec
from modyn.triggers import Trigger
from modyn.types import to_microseconds
from modyn.usercode import told_if_it_exits
from modyn.workspace import Workspace, check_name

if TYPE_CHECKING:  # the stations load torch, so they are imported when a run starts
    from modyn.following import Follow
    from modyn.stations import Stations


class Stream(Options):
    """The part of the dataset that is replayed: the samples with ``start <= timestamp < end``."""

    start: datetime | None = Field(None, description="replay samples from this time on (null = from the first)")
    end: datetime | None = Field(None, description="replay samples before this time (null = to the last)")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start and self.end and to_microseconds(self.end) <= to_microseconds(self.start):
            raise ValueError("end must come after start")
        return self


class Pipeline(Options):
    """One pipeline file. ``Pipeline.load("x.yaml").run()`` replays its dataset and returns a Run."""

    name: str = Field(description="what runs of this pipeline are called: name-1, name-2, ...")
    dataset: str = Field(description="the dataset to follow, as modyn data ls names it")
    parser: ParserSpec = Field(description="turns stored samples into the model's inputs")
    model: ModelSpec = Field(description="the network: a shipped one such as {mlp: {...}}, or your own")
    trigger: Trigger = Field(description="WHEN to train")
    selector: Selector = Field(default_factory=All, description="on WHAT to train")
    training: Training = Field(default_factory=Training, description="HOW to train")
    evaluation: Evaluation | None = Field(None, description="HOW WELL it went (null = score nothing)")
    stream: Stream = Field(default_factory=Stream, description="the part of the dataset to replay")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="everything random follows from it")
    _document: config.Document = PrivateAttr(default_factory=lambda: config.Document({}))

    @field_validator("name")
    @classmethod
    def _nameable(cls, name: str) -> str:
        try:
            return check_name(name, "run")
        except ModynError as error:
            raise ValueError(str(error)) from None

    @classmethod
    def load(cls, path: str | Path, settings: config.Settings = ()) -> Self:
        """Read a pipeline file, with ``["path.to.option=value"]`` or ``{"path.to.option": value}`` applied.

        Raises ConfigError with all problems.
        """
        return cls.of(config.override(config.load(path), settings))

    @classmethod
    def of(cls, document: config.Document) -> Self:
        """The pipeline that a document spells."""
        pipeline = config.build(cls, document)
        pipeline._document = document
        return pipeline

    @property
    def document(self) -> config.Document:
        """The file it was read from, as it stood then."""
        return self._document

    def __str__(self) -> str:
        trigger, selector = name_of(type(self.trigger)), name_of(type(self.selector))
        return f"pipeline '{self.name}' on dataset '{self.dataset}': trigger {trigger}, selector {selector}"

    def to_document(self) -> dict[str, Any]:
        """The pipeline with every option spelt out, as a run keeps it."""
        return self.model_dump(mode="json")

    def run(
        self,
        workspace: Workspace | str | Path | None = None,
        *,
        name: str | None = None,
        observers: Sequence[Observer] = (),
    ) -> Run:
        """Replay the dataset: train whenever the trigger says so, score every checkpoint, write a journal of it.

        ``observers`` are shown every event as it happens. Raises ModynError; what was finished until then is kept.
        """
        from modyn.stations import Stations

        with _opened(workspace) as space:
            log = RunLog.create(space.runs, name or self.name)
            log.observers += observers
            with log, _ending(log), closing(Stations(self._fresh(), space, log)) as stations:
                _carry_out(stations)
            return Run(log)

    def follow(
        self,
        workspace: Workspace | str | Path | None = None,
        *,
        name: str | None = None,
        observers: Sequence[Observer] = (),
        how: "Follow | None" = None,
    ) -> Run:
        """Production mode: follow the dataset and its sources as they grow, until ctrl-C or until ``how.stop`` is set.

        Starts with what is there, of which there must be something; ``resume`` goes on with it. Raises ModynError.
        """
        from modyn.following import Follow, Following

        with _opened(workspace) as space:
            log = RunLog.create(space.runs, name or self.name)
            log.observers += observers
            with (
                log,
                _ending(log),
                closing(Following(self._fresh(), space, log, follow=how or Follow())) as stations,
            ):
                _carry_out(stations)
            return Run(log)

    @classmethod
    def resume(
        cls,
        run_id: str,
        workspace: Workspace | str | Path | None = None,
        *,
        observers: Sequence[Observer] = (),
        how: "Follow | None" = None,
    ) -> Run:
        """Go on with a run that was stopped, failed or died, after its last finished round.

        The results equal those of a run that was never interrupted; one that followed its dataset follows it again, as ``how`` says. Raises
        RunError if it is running or finished, or if the user's code that it was made with has changed since.
        """
        with _opened(workspace) as space, cls._reopened(space, run_id, observers, how) as (log, stations):
            with _ending(log):
                _carry_out(stations, resumed=True)
            return Run(log)

    @classmethod
    def evaluate(
        cls, run_id: str, workspace: Workspace | str | Path | None = None, *, observers: Sequence[Observer] = ()
    ) -> Run:
        """Score the checkpoints of a stopped, failed or interrupted run that its pipeline leaves for the end of the run.

        The run stays as it is and can still be resumed. Raises RunError if it is running or finished.
        """
        with _opened(workspace) as space, cls._reopened(space, run_id, observers) as (log, stations):
            stations.evaluate_after_run()
            log.append("run-stopped", reason="stopped before; what it had finished was scored on command")
            return Run(log)

    @classmethod
    @contextmanager
    def _reopened(
        cls, space: Workspace, run_id: str, observers: Sequence[Observer], how: "Follow | None" = None
    ) -> "Iterator[tuple[RunLog, Stations]]":
        """The journal and the stations of a run that ended early, as its last finished round left them."""
        from modyn.datasets import Dataset
        from modyn.following import KEPT, Follow, Following
        from modyn.stations import Stations
        from modyn.streaming import identity_of

        log = RunLog.find(space.runs, run_id)
        if log.status in ("running", "finished"):
            raise RunError(f"run {log.run_id} is {log.status}: there is nothing to resume, or left to score")
        started = next(log.events("run-started"), None)
        if started is None:
            raise RunError(f"run {log.run_id} died before it began; start it again with: modyn run")
        check_unchanged(log, started)
        document = config.Document(started["pipeline"], Path(started["base_dir"]) / "pipeline.yaml", started["source"])
        pipeline = cls.of(document)
        check_dataset(log, started, identity_of(Dataset.open(space, pipeline.dataset)))
        with log:
            is_following = started.fields.get("following")
            log.open(keep_until="round-finished", and_between=KEPT if is_following else frozenset())
            log.observers += observers
            stations = (
                Following(pipeline._fresh(), space, log, follow=how or Follow())
                if is_following
                else Stations(pipeline._fresh(), space, log, version=started["dataset_version"])
            )
            with closing(stations):
                state = stations.restore(list(log.events("round-finished")))
                if state is not None:
                    stations.pipeline.trigger.load_state_dict(state)
                yield log, stations

    def _fresh(self) -> Self:
        """A copy whose trigger has seen nothing yet."""
        return copy.deepcopy(self)

    @classmethod
    def file_schema(cls) -> dict[str, Any]:
        """The JSON schema of pipeline files, for editors."""
        return json_schema(cls)


def _carry_out(stations: "Stations", *, resumed: bool = False) -> None:
    with stations.told_if_removed():
        stations.begin(resumed=resumed)
        _loop(stations)


def _loop(stations: "Stations") -> None:
    """The whole system: follow the stream, train when the trigger says so, tell it what came of it."""
    trigger = stations.pipeline.trigger
    for batch in stations.stream():
        for end in stations.firings(trigger, batch):
            selector = stations.pipeline.selector.for_round(stations.round)
            window, candidates = stations.open_round(end, selector)
            selection = stations.select(selector, candidates)
            trained = stations.train(selector, candidates, selection)
            if trained is None:
                continue
            fitted, selection = trained
            checkpoint = stations.store(fitted, window, selection)
            scores = stations.evaluate(checkpoint)
            done = stations.close_round(window, candidates, selection, checkpoint, scores)
            trigger.inform(done)
            stations.commit(done)
    stations.evaluate_after_run()


@contextmanager
def _opened(workspace: Workspace | str | Path | None) -> Iterator[Workspace]:
    """The workspace, usable; one that is made here is closed afterwards. Raises ConfigError if it cannot be used."""
    if isinstance(workspace, Workspace):
        workspace.engine  # noqa: B018 - found out before a run is made in it
        yield workspace
        return
    space = Workspace(workspace)
    try:
        yield space
    finally:
        space.close()


@contextmanager
def _ending(log: RunLog) -> Iterator[None]:
    """Write down how a run ended: finished, stopped by the user, or failed and why. One that never began leaves nothing behind."""
    before = time.monotonic()
    try:
        with told_if_it_exits():
            yield
    except KeyboardInterrupt:
        log.append("run-stopped", reason="interrupted by the user")
        raise
    except BaseException as error:
        if not log.began:
            log.discard()
            raise
        log.append("run-failed", error=f"{type(error).__name__}: {error}")
        raise
    if log.last_kind == "run-stopped":
        return
    num_rounds = sum(1 for _ in log.events("round-finished"))
    log.append("run-finished", num_rounds=num_rounds, seconds=time.monotonic() - before)
