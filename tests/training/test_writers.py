"""TensorBoard and MLflow are shown what a run logs."""

import builtins
import os
import shutil

import pytest

from modyn.errors import ConfigError, MissingExtra
from modyn.runlog import RunLog
from tests.training.toys import everything, same, trainer


def fitted_with(writer, tmp_path):
    with RunLog.create(tmp_path, "toy") as log:
        fitted = trainer(log=log, writers=[writer], epochs=3).fit(everything(), round=0)
        log.append(
            "evaluated",
            round=0,
            checkpoint="c",
            baseline=None,
            num_samples=3,
            scores=[{"window": 0, "metric": "accuracy", "value": 0.5, "reason": None}],
        )
        log.append("run-finished", num_rounds=1, seconds=1.0)
    assert same(fitted.weights, trainer(epochs=3).fit(everything(), round=0).weights)
    return log.folder


def test_tensorboard_is_shown_each_epoch_and_score(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = fitted_with("tensorboard", tmp_path)
    shown = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [scalar.step for scalar in shown.Scalars("training/loss")] == [0, 1, 2]
    assert shown.Scalars("score/accuracy")[0].value == 0.5


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mlflow_is_shown_each_epoch_and_score(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    folder = fitted_with("mlflow", tmp_path)
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient((folder / "mlflow").resolve().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("modyn").experiment_id])
    assert [point.step for point in client.get_metric_history(run.info.run_id, "training/loss")] == [0, 1, 2]
    assert run.data.metrics["score/accuracy"] == 0.5
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("writer", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow.tracking")]
)
def test_a_writer_that_is_not_installed_names_its_extra(writer, module, tmp_path, monkeypatch):
    kept = builtins.__import__

    def without(name, *args, **kwargs):
        if name == module:
            raise ImportError(name)
        return kept(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with RunLog.create(tmp_path, "toy") as log, pytest.raises(MissingExtra, match=rf"modyn\[{writer}\]"):
        trainer(log=log, writers=[writer])


def test_a_writer_that_cannot_begin_says_why_and_under_which_option(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at-all")
    with (
        RunLog.create(tmp_path, "toy") as log,
        pytest.raises(ConfigError, match=r"^training\.writers: mlflow: .*nowhere"),
    ):
        trainer(log=log, writers=["mlflow"])


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_writer_that_fails_later_is_told_of_once_and_training_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with RunLog.create(tmp_path, "toy") as log:
        fit = trainer(log=log, writers=["mlflow"], epochs=3)
        shutil.rmtree(log.folder / "mlflow")
        fitted = fit.fit(everything(), round=0)
        (told,) = [event["message"] for event in log.events("warning")]
    assert same(fitted.weights, trainer(epochs=3).fit(everything(), round=0).weights)
    assert told.startswith("training.writers: mlflow failed and is shown nothing more: ")
