"""What triggers see of the data and of the deployed model, and pipelines whose trigger looks at it."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import modyn
from modyn.datasets import Dataset
from modyn.errors import ConfigError, TrainingError
from modyn.models.spec import ModelSpec
from modyn.models.store import ModelStore
from modyn.policy import Importable
from modyn.runlog import Event, RunLog
from modyn.simulation import simulate_pipeline
from modyn.training.deployed import Deployed
from modyn.training.options import Training
from modyn.training.parsing import Parser
from modyn.training.trainer import Trainer
from modyn.triggers.manual import request_training
from modyn.workspace import Workspace

Write = Callable[..., Path]

DRIFT = """{drift: {features: FEATURES, window: {amount: {reference: 200, current: 200}}, check_every: 100,
  metrics: {ks: {metric: ks, criterion: {threshold: {value: 0.07}}}}}}"""


def test_a_parser_of_a_file_is_looked_up_once_and_still_goes_to_other_processes(
    pipeline_file: Write, tmp_path: Path
) -> None:
    pipeline_file()
    parser = Parser(Importable("./parsers.py:features", tmp_path))
    parser.check()
    assert parser._loaded is parser._loaded
    sent = pickle.loads(pickle.dumps(parser))
    assert sent == parser
    assert sent._loaded({"a": np.zeros(2), "b": np.ones(2)}).tolist() == [[0.0, 1.0], [0.0, 1.0]]


@pytest.fixture
def deployed(pipeline_file: Write, stream: Workspace, tmp_path: Path) -> Deployed:
    pipeline_file()
    dataset = Dataset.open(stream, "drifting")
    trainer = Trainer(
        Training(device="cpu"),
        model=ModelSpec.parse({"mlp": {"inputs": 2, "hidden": [8], "outputs": 2}}).build,
        parser=Parser(Importable("./parsers.py:features", tmp_path)),
        reader=dataset.reader(),
        seed=0,
        log=None,
    )
    features = Deployed(trainer, dataset.reader(), deleted=lambda keys: keys < 3)
    features.deploy("some-1/0", trainer.new_model(0).state_dict())
    return features


def test_features_come_in_the_order_of_the_keys(deployed: Deployed) -> None:
    keys = np.array([700, 3, 41])
    whole = np.arange(1000)
    for kind in ("raw", "label", "embedding", "loss", "error", "prediction", "column:serial"):
        np.testing.assert_allclose(deployed.get(kind, keys), deployed.get(kind, whole)[keys], rtol=1e-5)
    assert deployed.get("embedding", keys).shape == (3, 8)
    assert deployed.get("prediction", keys).sum(axis=1) == pytest.approx(1)
    np.testing.assert_array_equal(deployed.get("deleted", np.array([1, 5])), [[1], [0]])


def test_the_error_and_the_loss_agree_with_the_prediction(deployed: Deployed) -> None:
    keys = np.arange(50)
    outputs, labels = deployed.get("prediction", keys), deployed.get("label", keys)[:, 0].astype(int)
    np.testing.assert_array_equal(deployed.get("error", keys)[:, 0], outputs.argmax(1) != labels)
    np.testing.assert_allclose(deployed.get("loss", keys)[:, 0], -np.log(outputs[np.arange(50), labels]), rtol=1e-4)


def test_a_missing_column_or_checkpoint_is_told(deployed: Deployed, stream: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"looks at column 'serail', which the dataset lacks\. Did you mean 'serial'"):
        deployed.get("column:serail", np.arange(3))
    deployed._checkpoint = None
    with pytest.raises(TrainingError, match="looks at the model's loss, and there is no checkpoint yet"):
        deployed.get("loss", np.arange(3))


class Stop(Exception):
    pass


@pytest.mark.parametrize("features", ["raw", "embedding", "error"])
def test_a_drift_trigger_cut_off_goes_on_to_the_same_results(
    pipeline_file: Write, stream: Workspace, features: str
) -> None:
    path = pipeline_file(("{every: {samples: 200}}", DRIFT.replace("FEATURES", features)))
    whole = modyn.Pipeline.load(path).run(name="whole")
    assert len(whole.rounds) >= 2

    def stop(event: Event) -> None:
        if event.kind == "trained" and event.round == 1:
            raise Stop

    with pytest.raises(Stop):
        modyn.Pipeline.load(path).run(name="cut", observers=[stop])
    again = modyn.Pipeline.resume("cut")
    assert again.rounds["end_key"].tolist() == whole.rounds["end_key"].tolist()

    def checks(run: modyn.Run) -> list[object]:
        return [e.fields for e in RunLog.find(stream.runs, run.id).events("trigger-checked")]

    assert checks(again) == checks(whole)


def test_a_performance_trigger_retrains_when_the_model_gets_worse(pipeline_file: Write, stream: Workspace) -> None:
    trigger = "{performance: {metric: accuracy, check_every: 100, criteria: {low: {threshold: {value: 0.8}}}}}"
    run = modyn.Pipeline.load(pipeline_file(("{every: {samples: 200}}", trigger))).run()
    assert run.status == "finished"
    assert len(run.triggers) > len(run.rounds) >= 1


def test_a_simulated_trigger_fires_where_the_run_does(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("{every: {samples: 200}}", DRIFT.replace("FEATURES", "raw")))
    run = modyn.Pipeline.load(path).run()
    simulated = simulate_pipeline(modyn.Pipeline.load(path), stream)
    assert [f.key + 1 for f in simulated.firings] == run.rounds["end_key"].tolist()


def test_a_simulation_needs_a_checkpoint_only_where_the_trigger_does(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("{every: {samples: 200}}", DRIFT.replace("FEATURES", "embedding")))
    run = modyn.Pipeline.load(path).run()
    by_run = simulate_pipeline(modyn.Pipeline.load(path), stream, run=run.id)
    assert [f.key + 1 for f in by_run.firings] == run.rounds["end_key"].tolist()
    by_one = simulate_pipeline(modyn.Pipeline.load(path), stream, checkpoint=f"{run.id}/0")
    assert by_one.num_samples == 1000
    assert len(list(ModelStore(stream).checkpoints())) == len(run.rounds)


def test_a_manual_trigger_trains_when_asked(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("{every: {samples: 200}}", "manual"))

    def ask(event: Event) -> None:
        if event.kind == "run-started":
            request_training(stream.runs / event["run"], at=0, by="test")

    run = modyn.Pipeline.load(path).run(observers=[ask])
    assert run.rounds["end_key"].tolist() == [1000]


def test_what_is_deleted_while_a_run_goes_on_is_seen_at_the_next_check(pipeline_file: Write, stream: Workspace) -> None:
    trigger = "{any-of: {triggers: [{once: {samples: 200}}, {deletion: {samples: 5, check_every: 50}}]}}"
    path = pipeline_file(("{every: {samples: 200}}", trigger))
    live = Dataset.open(stream, "drifting")

    def delete(event: Event) -> None:
        if event.kind == "round-finished" and event.round == 0:
            assert live.delete(np.arange(10, 15)) == 5

    run = modyn.Pipeline.load(path).run(observers=[delete])
    assert run.rounds["end_key"].tolist() == [200, 250]
    checks = [event for event in run.log.events("trigger-checked") if event["trigger"] == "deletion"]
    assert [check["distance"] for check in checks][:3] == [5, 0, 0]  # the replay selects them again
    assert live.deleted_among(np.array([14, 9, 10])).tolist() == [True, False, True]
