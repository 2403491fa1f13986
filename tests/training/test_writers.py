"""TensorBoard and MLflow are shown what a run logs."""

import builtins

import pytest

from modyn.errors import MissingExtra
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
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = fitted_with("mlflow", tmp_path)
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
