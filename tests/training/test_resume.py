"""A training that is killed goes on at the step, and ends with the same bits."""

import multiprocessing
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from modyn.errors import Damaged, TrainingError
from modyn.runlog import RunLog
from modyn.training import state
from tests.training.toys import everything, mlp, same, trainer

EVERYTHING_ON = {
    "epochs": 4,
    "optimizer": {"adamw": {"lr": 1e-2}},
    "scheduler": {"one-cycle": {"max_lr": 0.02}},
    "clip": 1.0,
    "accumulate": 2,
    "warmup": 3,
    "ema": {"decay": 0.9},
    "early_stopping": {"share": 0.2, "patience": 3},
    "augment": "tests.training.toys:noise",
    "checkpoint": {"steps": 1},
}


def stopping(step: int):
    """A model whose training raises at the given step, as if it were killed there."""
    make = mlp(dropout=0.3)

    def build():
        model = make()
        steps = iter(range(10**9))

        def count(module, args):
            if module.training and next(steps) == step:
                raise KeyboardInterrupt

        model.register_forward_pre_hook(count)
        return model

    return build


@pytest.mark.parametrize("step", [3, 7, 25, 26, 33])
def test_a_stopped_training_goes_on_at_the_step_and_ends_with_the_same_bits(step, tmp_path):
    weights = np.random.default_rng(0).random(1000)
    whole = trainer(model=mlp(dropout=0.3), state_dir=tmp_path / "a", **EVERYTHING_ON).fit(
        everything(1000, weights), round=2
    )
    with pytest.raises(KeyboardInterrupt):
        trainer(model=stopping(step), state_dir=tmp_path / "b", **EVERYTHING_ON).fit(everything(1000, weights), round=2)
    assert (tmp_path / "b" / "round-2.safetensors").exists()
    resumed = trainer(model=mlp(dropout=0.3), state_dir=tmp_path / "b", **EVERYTHING_ON).fit(
        everything(1000, weights), round=2
    )
    assert same(whole.weights, resumed.weights)
    assert (whole.num_steps, whole.loss) == (resumed.num_steps, resumed.loss)
    assert list((tmp_path / "b").iterdir()) == []


def test_the_epochs_and_seconds_before_a_stop_are_told_by_the_training_that_goes_on(tmp_path):
    def told(model, folder, name):
        log = RunLog.create(tmp_path / "runs", name)
        with log, suppress(KeyboardInterrupt):
            fitted = trainer(model=model, state_dir=tmp_path / folder, log=log, **EVERYTHING_ON).fit(
                everything(), round=2
            )
            return list(log.events("epoch")), fitted
        return list(log.events("epoch")), None

    whole, _ = told(mlp(dropout=0.3), "a", "whole")
    first, nothing = told(stopping(33), "b", "first")
    assert first
    assert nothing is None
    again, fitted = told(mlp(dropout=0.3), "b", "again")
    assert [(e["epoch"], e["loss"], e["learning_rates"]) for e in again] == [
        (e["epoch"], e["loss"], e["learning_rates"]) for e in whole
    ]
    assert fitted.seconds["earlier"] >= sum(sum(event["seconds"].values()) for event in first)
    assert again[0].fields == first[0].fields


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9}}, "scheduler": {"multi-step": {"milestones": [5, 40]}}},
        {"optimizer": "adagrad", "scheduler": {"reduce-on-plateau": {"patience": 0}}},
        {"optimizer": [{"sgd": {"lr": 0.1, "modules": ["3"]}}, "rmsprop"], "scheduler": {"cosine-annealing": {}}},
        {"precision": "bf16", "optimizer": "nadam"},
        {"precision": "fp16", "optimizer": "adam", "shuffle": {"window": 100}},
    ],
)
def test_every_kind_of_state_is_kept(options, tmp_path):
    options = {**options, "epochs": 2, "checkpoint": {"steps": 5}}
    whole = trainer(model=mlp(dropout=0.3), state_dir=tmp_path / "a", **options).fit(everything(), round=0)
    with pytest.raises(KeyboardInterrupt):
        trainer(model=stopping(43), state_dir=tmp_path / "b", **options).fit(everything(), round=0)
    resumed = trainer(model=mlp(dropout=0.3), state_dir=tmp_path / "b", **options).fit(everything(), round=0)
    assert same(whole.weights, resumed.weights)


def test_a_state_of_another_selection_seed_or_option_is_not_taken_up(tmp_path):
    options = {"checkpoint": {"steps": 1}, "model": stopping(9), "state_dir": tmp_path}
    for selection, other in [(everything(999), {}), (everything(), {"seed": 9}), (everything(), {"batch_size": 33})]:
        with pytest.raises(KeyboardInterrupt):
            trainer(**options).fit(everything(), round=0)
        fitted = trainer(checkpoint={"steps": 1}, state_dir=tmp_path, **other).fit(selection, round=0)
        assert same(fitted.weights, trainer(**other).fit(selection, round=0).weights)


def test_keeping_the_state_changes_nothing(tmp_path):
    kept = trainer(checkpoint={"steps": 3}, state_dir=tmp_path).fit(everything(), round=0)
    assert same(kept.weights, trainer().fit(everything(), round=0).weights)


def test_the_state_is_kept_by_time_too(tmp_path, monkeypatch):
    times: list[int] = []
    monkeypatch.setattr(state, "save", lambda *_, **__: times.append(1))
    trainer(checkpoint={"time": "1us"}, state_dir=tmp_path).fit(everything(), round=0)
    assert len(times) == 32


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "round-0.safetensors").write_bytes(b"nonsense")
    with pytest.raises(Damaged, match=r"round-0\.safetensors is no training state"):
        trainer(checkpoint={"steps": 3}, state_dir=tmp_path).fit(everything(), round=0)


def test_what_cannot_be_kept_is_refused_in_words(tmp_path):
    with pytest.raises(TrainingError, match="a set in the state of training cannot be kept"):
        state.save(tmp_path / "x", {"a": {1, 2}}, belongs_to="")


def test_a_state_comes_back_as_it_was(tmp_path):
    kept = {
        "tensor": torch.arange(3),
        "by number": {0: (1.5, float("inf"), None, True), 1: [torch.ones(2, dtype=torch.bfloat16)]},
        "array": np.array([1, 2**31], dtype=np.uint32),
    }
    state.save(tmp_path / "x", kept, belongs_to="me")
    back = state.load(tmp_path / "x", belongs_to="me")
    assert back is not None
    assert back["by number"][0] == kept["by number"][0]
    assert torch.equal(back["by number"][1][0], kept["by number"][1][0])
    assert torch.equal(back["tensor"], kept["tensor"])
    assert back["array"].dtype == np.uint32
    assert back["array"].tolist() == [1, 2**31]
    assert state.load(tmp_path / "x", belongs_to="another") is None


def _train_slowly(folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    fitted = trainer(model=mlp(dropout=0.2), state_dir=folder, epochs=12, checkpoint={"steps": 1}).fit(
        everything(), round=0
    )
    np.savez(out, **{name: value.numpy() for name, value in fitted.weights.items()})


@pytest.mark.slow
def test_a_training_killed_at_30_random_steps_ends_with_the_same_bits(tmp_path):
    whole = trainer(model=mlp(dropout=0.2), epochs=12).fit(everything(), round=0)
    context = multiprocessing.get_context("fork")
    rng = random.Random(0)
    out, kills = tmp_path / "out.npz", 0
    watched = tmp_path / "state" / "round-0.safetensors"
    while not out.exists():
        process = context.Process(target=_train_slowly, args=(tmp_path / "state", out))
        process.start()
        if kills < 30:
            before = watched.stat().st_mtime_ns if watched.exists() else 0
            while process.is_alive() and (not watched.exists() or watched.stat().st_mtime_ns == before):
                process.join(0.001)
            process.join(rng.random() * 0.02)
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
        process.join()
    assert kills >= 20
    ended = np.load(out)
    assert all(np.array_equal(ended[name], value.numpy()) for name, value in whole.weights.items())
