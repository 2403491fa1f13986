"""Writers for TensorBoard and MLflow: observers of a run's log that show its training elsewhere.

They see what is logged and change nothing. Each comes with an extra: ``pip install 'modyn[tensorboard]'``, ``'modyn[mlflow]'``.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modyn.errors import ConfigError, MissingExtra, Problem
from modyn.runlog import Event, Observer, RunLog

ENDS = {"run-finished": "FINISHED", "run-stopped": "KILLED", "run-failed": "FAILED"}
"""Events with which a run ends, and what MLflow calls it."""
_FILES = "MLFLOW_ALLOW_FILE_STORE"


def attach(names: Sequence[str], log: RunLog | None) -> None:
    """Have the log's events shown by the writers of these names; nothing without a log.

    Raises MissingExtra, or ConfigError with the writer's own words where it cannot begin.
    """
    if log is None:
        return
    for name in names:
        try:
            log.observers.append(_Writer(name, WRITERS[name](log), log))
        except MissingExtra:
            raise
        except Exception as error:
            raise ConfigError([Problem(path="training.writers", message=f"{name}: {_first_line(error)}")]) from error


class _Writer:
    """Shows events until the writer fails, which a training outlives: it is told of once."""

    def __init__(self, name: str, show: Observer, log: RunLog) -> None:
        self._name, self._show, self._log = name, show, log
        self._has_failed = False

    def __call__(self, event: Event) -> None:
        if self._has_failed:
            return
        try:
            self._show(event)
        except Exception as error:
            self._has_failed = True
            message = f"training.writers: {self._name} failed and is shown nothing more: {_first_line(error)}"
            if event.kind in ENDS:  # the journal ends with it
                warnings.warn(message, stacklevel=2)
            else:
                self._log.append("warning", message=message)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 300 else f"{lines[0][:297]}..."


def numbers_of(event: Event) -> Iterator[tuple[str, float]]:
    """The numbers of an event that are curves: of an epoch its loss, speed and phases, and each score on the newest window."""
    if event.kind == "epoch":
        for name in ("loss", "held_out_loss", "samples_per_s"):
            if isinstance(event.fields.get(name), int | float):
                yield f"training/{name}", float(event[name])
        for phase, seconds in event["seconds"].items():
            yield f"seconds/{phase}", float(seconds)
        for number, rate in enumerate(event.fields.get("learning_rates", [])):
            yield f"learning_rate/{number}", float(rate)
    elif event.kind == "evaluated" and event["checkpoint"] is not None:
        newest = {score["metric"]: score for score in event["scores"] if score["value"] is not None}
        for metric, score in newest.items():
            yield f"score/{metric}", float(score["value"])


class _Counted:
    """Gives every epoch and every evaluation of a run a step number."""

    def __init__(self, write: Callable[[str, float, int], object]) -> None:
        self._write = write
        self._steps: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        if event.seq < 0 or event.kind not in ("epoch", "evaluated"):
            return
        step = self._steps.get(event.kind, 0)
        self._steps[event.kind] = step + 1
        for name, value in numbers_of(event):
            self._write(name, value, step)


def tensorboard(log: RunLog) -> Observer:
    """Writes curves to ``tensorboard/`` in the run's folder: ``tensorboard --logdir`` shows it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", extra="tensorboard") from None
    writer: Any = SummaryWriter(str(Path(log.folder) / "tensorboard"))
    counted = _Counted(writer.add_scalar)

    def observe(event: Event) -> None:
        counted(event)
        if event.kind == "run-started":
            writer.add_text("pipeline", str(event.fields.get("source", "")))
        if event.kind == "round-finished" or event.kind in ENDS:
            writer.flush()

    return observe


def mlflow(log: RunLog) -> Observer:
    """Writes curves to MLflow: to ``MLFLOW_TRACKING_URI``, or to ``mlflow/`` in the run's folder."""
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise MissingExtra("mlflow", extra="mlflow") from None
    uri = os.environ.get("MLFLOW_TRACKING_URI") or (Path(log.folder) / "mlflow").resolve().as_uri()
    with _files_allowed():
        client = MlflowClient(uri)
        found = client.get_experiment_by_name("modyn")
        experiment = found.experiment_id if found is not None else client.create_experiment("modyn")
        run = client.create_run(experiment, run_name=log.run_id).info.run_id
    counted = _Counted(lambda name, value, step: client.log_metric(run, name, value, step=step))

    def observe(event: Event) -> None:
        counted(event)
        if event.kind == "run-started":
            for name in ("dataset", "trigger", "selector", "seed"):
                client.log_param(run, name, event.fields.get(name))
        if event.kind in ENDS:
            client.set_terminated(run, ENDS[event.kind])

    return observe


@contextmanager
def _files_allowed() -> Iterator[None]:
    """MLflow 3 opens a store of files, which needs no database, only where the environment says so."""
    before = os.environ.get(_FILES)
    os.environ.setdefault(_FILES, "true")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_FILES, None)


WRITERS: dict[str, Callable[[RunLog], Observer]] = {"tensorboard": tensorboard, "mlflow": mlflow}
