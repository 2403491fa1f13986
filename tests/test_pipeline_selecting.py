"""Whole runs that select: what is selected, trained on and remembered, and that a stopped run goes on to the same result."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import modyn
from modyn.checks import check
from modyn.datasets import Dataset
from modyn.models.store import ModelStore
from modyn.runlog import RunLog
from modyn.selectors import stored
from modyn.workspace import Workspace

Write = Callable[..., Path]

SELECTORS = [
    {"loss": {"budget": "50%", "scores": "history", "reselect_every": 1}},
    {"gradient-norm": {"budget": "25%", "at": "batch"}},
    {"rho-loss": {"budget": "25%", "share": 0.2}},
    {"schedule": {"budget": "10%", "steps": [{"use": "uniform"}, {"start": 1, "use": {"loss": {"at": "batch"}}}]}},
    pytest.param({"uncertainty": {"budget": "25%"}}, marks=pytest.mark.slow),
    pytest.param({"rs2": {"budget": "25%"}}, marks=pytest.mark.slow),
    pytest.param({"craig": {"budget": "10%", "reselect_every": 1}}, marks=pytest.mark.slow),
]


def run(pipeline_file: Write, selector: dict, *settings: str, name: str = "drifting", observers=()) -> modyn.Run:
    path = pipeline_file(("training:", f"selector: {json.dumps(selector)}\ntraining:"))
    return modyn.Pipeline.load(path, settings).run(name=name, observers=observers)


def weights(space: Workspace, name: str) -> list[dict[str, torch.Tensor]]:
    store = ModelStore(space)
    return [dict(store.weights(checkpoint.id)) for checkpoint in store.checkpoints(name)]


@pytest.mark.parametrize("selector", SELECTORS, ids=str)
def test_a_stopped_run_goes_on_to_what_it_would_have_been(
    pipeline_file: Write, stream: Workspace, selector: dict
) -> None:
    whole = run(pipeline_file, selector, name="whole")

    def stop(event) -> None:
        if event.kind == "epoch" and event.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pipeline_file, selector, name="cut", observers=[stop])
    again = modyn.Pipeline.resume("cut")
    assert again.status == "finished"
    for one, two in zip(weights(stream, whole.id), weights(stream, again.id), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    for number in range(5):
        files = (stored.read(stream.runs / r.id / "selections" / f"{number}.arrow") for r in (whole, again))
        assert len({selection.keys.tobytes() for selection in files}) == 1


def test_the_selected_event_says_what_was_selected(pipeline_file: Write, stream: Workspace) -> None:
    made = run(pipeline_file, {"gradient-norm": {"budget": "25%", "history": {"last": 3}}})
    events = list(RunLog.find(stream.runs, made.id).events("selected"))
    assert [e["num_selected"] for e in events] == [50, 100, 150, 150, 150]
    assert [e["num_candidates"] for e in events] == [200, 400, 600, 600, 600]
    last = events[-1].fields
    assert sum(last["labels"].values()) == 150
    assert sum(last["candidate_labels"].values()) == 600
    assert last["candidates_arrived"] == {"2": 200, "3": 200, "4": 200}
    assert sum(last["arrived"].values()) == 150
    assert 0 < last["overlap"] < 1
    assert events[0]["overlap"] is None
    assert events[0]["weights"] is None, "there was no model yet, so the choice was uniform"
    assert last["weights"]["min"] > 0
    assert last["weights"]["mean"] == pytest.approx(1, abs=0.5)
    used = set()
    for number, event in enumerate(events):
        used |= set(stored.read(stream.runs / made.id / "selections" / f"{number}.arrow").keys.tolist())
        start, end = max(0, number - 2) * 200, (number + 1) * 200
        assert event["never_used"] == len(set(range(start, end)) - used)


def test_what_is_trained_on_in_all_epochs_is_remembered_as_used(pipeline_file: Write, stream: Workspace) -> None:
    made = run(pipeline_file, {"rs2": {"budget": "25%"}})
    folder = stream.runs / made.id / "selections"
    for number in range(5):
        first, all_epochs = stored.read(folder / f"{number}.arrow").keys, set()
        assert len(first) == 2 * round(0.25 * 200 * (number + 1)), "two epochs, two disjoint chunks"
        all_epochs |= set(stored.read(folder / f"{number}-1.arrow").keys.tolist())
        assert all_epochs < set(first.tolist())


def test_what_was_drawn_out_of_batches_is_what_counts_as_used(pipeline_file: Write, stream: Workspace) -> None:
    made = run(pipeline_file, {"uncertainty": {"budget": "10%", "at": "batch"}})
    folder, used = stream.runs / made.id / "selections", set()
    last = {event.round: event for event in RunLog.find(stream.runs, made.id).events("selected")}
    for number in range(5):
        drawn = [stored.read(folder / f"{number}-{epoch}.arrow").keys for epoch in (0, 1)]
        trained = stored.read(folder / f"{number}.arrow").keys
        assert trained.tolist() == np.union1d(*drawn).tolist()
        assert len(trained) < 0.25 * 200 * (number + 1)
        used |= set(trained.tolist())
        assert last[number]["never_used"] == 200 * (number + 1) - len(used)
        assert last[number]["num_selected"] == len(trained) == made.rounds["num_trained"][number]
        for epoch in (0, 1):
            keys, scores = stored.scores_of(stream.runs / made.id, number, epoch)
            assert keys.tolist() == drawn[epoch].tolist()
            assert ((scores >= -1) & (scores <= 0)).all()


def test_holdout_models_are_stored_with_their_lineage(pipeline_file: Write, stream: Workspace) -> None:
    made = run(pipeline_file, {"rho-loss": {"budget": "25%", "holdout": "twin", "at": "batch"}})
    store = ModelStore(stream)
    for number in range(5):
        halves = [store.get(f"{made.id}.holdout-{n}/{number}") for n in (0, 1)]
        assert [c.run for c in halves] == [made.id, made.id]
        assert sum(c.num_samples for c in halves) == 200 * (number + 1)
    assert len(list(store.checkpoints(made.id))) == 5
    store.remove(made.id)
    assert not list(store.checkpoints())


def test_a_checkpoint_of_another_run_can_score_as_a_proxy(pipeline_file: Write, stream: Workspace) -> None:
    small = run(pipeline_file, {"all": {}}, "model={mlp: {inputs: 2, hidden: [2], outputs: 2}}", name="small")
    document = {"uncertainty": {"budget": "25%", "proxy": f"{small.id}/4"}}
    made = run(pipeline_file, document, name="large")
    keys, scores = stored.scores_of(stream.runs / made.id, 0)
    assert len(keys) == 50, "a proxy scores from the first round"
    assert np.all((scores <= 0) & (scores >= -1))
    with pytest.raises(modyn.errors.NotFound, match="there is no checkpoint 'small-1/9'"):
        run(pipeline_file, {"uncertainty": {"budget": "25%", "proxy": "small-1/9"}}, name="lost")


def test_check_warns_when_selecting_cannot_pay_off(pipeline_file: Write, stream: Workspace) -> None:
    def lines(selector: dict) -> list[str]:
        path = pipeline_file(("training:", f"selector: {json.dumps(selector)}\ntraining:"))
        return list(check(modyn.Pipeline.load(path), stream))

    costly = lines({"loss": {"budget": "90%", "at": "batch"}})
    assert any(
        line
        == "warning: selecting cannot pay off: scoring and training on 90% of the candidates costs 1.23 of training on all "
        "of them for 2 epochs"
        for line in costly
    )
    assert not any("warning" in line for line in lines({"loss": {"budget": "50%", "at": "batch"}}))
    assert not any("not estimated" in line for line in costly), "the highest are found at once"
    for by, picker in (
        ({"craig": {"budget": "50%"}}, "facility-location"),
        ({"coreset": {"signal": "margin", "picker": "k-center", "budget": "50%", "at": "batch"}}, "k-center"),
    ):
        assert any(f"what picking by {picker} costs is not estimated" in line for line in lines(by))
    held = lines({"rho-loss": {"budget": "5%"}})
    assert any(
        "warning: rho-loss: a model of the irreducible loss would be trained on 200 of 1,000 samples" in line
        for line in held
    )


SIGNALS = """
def nothing(of):
    return of.outputs[:, 0] * float("nan")
"""
WITHOUT_CLASSES = [
    ({"uncertainty": {"budget": "25%"}}, "a regression model has none"),
    ({"uncertainty": {"budget": "25%", "at": "batch"}}, "a regression model has none"),
    ({"craig": {"budget": "25%"}}, "these labels are measured values"),
    ({"uniform": {"budget": "25%", "balance_by": "label"}}, "these labels are measured values"),
    ({"forgetting": {"budget": "25%"}}, "not one of classification"),
]


@pytest.mark.parametrize(("selector", "message"), WITHOUT_CLASSES, ids=str)
def test_check_tells_of_selectors_that_measured_labels_do_not_suit(
    pipeline_file: Write, stream: Workspace, selector: dict, message: str
) -> None:
    samples = Dataset.open(stream, "drifting").samples()
    columns = Dataset.open(stream, "drifting").reader().read(samples.keys)
    Dataset.create(stream, "measured").append(columns, timestamps=samples.timestamps, labels=columns["a"])
    path = pipeline_file(
        ("dataset: drifting", "dataset: measured"),
        ("outputs: 2", "outputs: 1"),
        ("device: cpu", "device: cpu, loss: mse"),
        ("[roc-auc, accuracy]", "[rmse]"),
        ("training:", f"selector: {json.dumps(selector)}\ntraining:"),
    )
    with pytest.raises(modyn.errors.ModynError, match=message):
        list(check(modyn.Pipeline.load(path), stream))


def test_check_tells_of_a_proxy_that_does_not_exist_and_of_a_signal_that_is_no_number(
    pipeline_file: Write, stream: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "signals.py").write_text(SIGNALS)
    for selector, message in (
        ({"loss": {"budget": "25%", "proxy": "small-1/9"}}, "there is no checkpoint 'small-1/9'"),
        ({"coreset": {"budget": "25%", "signal": "./signals.py:nothing", "picker": "top-k"}}, "no finite number"),
    ):
        path = pipeline_file(("training:", f"selector: {json.dumps(selector)}\ntraining:"))
        with pytest.raises(modyn.errors.ModynError, match=message):
            list(check(modyn.Pipeline.load(path), stream))


CHOSEN_WHILE_TRAINING = [
    ({"rs2": {"budget": "25%"}}, "selector rs2: it selects anew every epoch, but an estimator learns by itself"),
    ({"forgetting": {"budget": "25%"}}, "selector forgetting: it reads what training notes of each sample, but an"),
    ({"loss": {"budget": "25%", "scores": "history"}}, "selector loss: it reads what training notes of each sample"),
    ({"loss": {"budget": "25%", "at": "batch"}}, "selector loss: at: batch chooses within batches, but an estimator"),
    ({"schedule": {"steps": [{"use": "all"}, {"start": 9, "use": {"rs2": {"budget": "25%"}}}]}}, "selector rs2: it"),
]


@pytest.mark.parametrize(("selector", "message"), CHOSEN_WHILE_TRAINING, ids=str)
def test_check_tells_of_selectors_that_an_estimator_does_not_suit(
    pipeline_file: Write, stream: Workspace, selector: dict, message: str
) -> None:
    path = pipeline_file(("training:", f"selector: {json.dumps(selector)}\ntraining:"))
    pipeline = modyn.Pipeline.load(path, ["model=sklearn.naive_bayes:GaussianNB", "training={}"])
    with pytest.raises(modyn.errors.ModynError, match=message):
        list(check(pipeline, stream))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.devices=2", "selector={uncertainty: {budget: 50%, at: batch}}"], "at: batch .*training.devices"),
        (
            [
                "model={'sklearn.linear_model:SGDClassifier': {}}",
                "selector={schedule: {steps: [{use: all}, {start: 1, use: {uncertainty: {budget: 50%, at: batch}}}]}}",
            ],
            "an estimator learns by itself",
        ),
    ],
    ids=["devices", "estimator in a later step"],
)
def test_a_run_whose_selector_and_training_do_not_go_together_does_not_begin(
    pipeline_file: Write, stream: Workspace, settings: list[str], message: str
) -> None:
    with pytest.raises(modyn.errors.TrainingError, match=message):
        modyn.Pipeline.load(pipeline_file(), settings).run()
    assert not list(stream.runs.glob("*/events.jsonl"))


def test_check_looks_at_every_step_of_a_schedule(pipeline_file: Write, stream: Workspace) -> None:
    later = {"loss": {"budget": "90%", "at": "batch"}}
    selector = {"schedule": {"steps": [{"use": "all"}, {"start": 3, "use": later}]}}
    path = pipeline_file(("training:", f"selector: {json.dumps(selector)}\ntraining:"))
    assert any("selecting cannot pay off" in line for line in check(modyn.Pipeline.load(path), stream))
    later["loss"]["proxy"], later["loss"]["at"] = "small-1/9", "window"
    path = pipeline_file(("training:", f"selector: {json.dumps(selector)}\ntraining:"))
    with pytest.raises(modyn.errors.NotFound, match="there is no checkpoint 'small-1/9'"):
        list(check(modyn.Pipeline.load(path), stream))


def test_a_score_that_is_no_number_stops_a_choice_within_batches(
    pipeline_file: Write, stream: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "signals.py").write_text(SIGNALS)
    document = {"budget": "25%", "at": "batch", "signal": "./signals.py:nothing", "picker": "top-k"}
    with pytest.raises(modyn.errors.TrainingError, match=r"round 0, epoch 0, step 0: the score .* is not a finite"):
        run(pipeline_file, {"coreset": document})
