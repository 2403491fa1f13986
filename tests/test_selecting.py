"""Selecting in a run: every way to choose, with a real trainer, over rounds."""

import numpy as np
import pytest
import torch

from modyn.policy import build
from modyn.selecting import Selecting
from modyn.selectors import Selector, stored
from modyn.selectors.holdout import part_of
from modyn.selectors.usage import Usage
from modyn.types import Gradients, Samples
from tests.training.toys import reader, trainer

PER_ROUND = 200


class Rounds:
    """A run's rounds over a growing stream, without the rest of the pipeline."""

    def __init__(self, document, folder, *, epochs: int = 2, keep=None, **options) -> None:
        self.data = reader(1000)
        self.trainer = trainer(data=self.data, epochs=epochs, batch_size=20, **options)
        self.passes: list[tuple[list[str], int]] = []
        self._listen()
        self.selecting = Selecting(build(Selector, document), self.trainer, folder=folder, seed=5, keep=keep)
        self.usage, self.weights, self.number = Usage(), None, 0

    def _listen(self) -> None:
        score = self.trainer._score

        def counted(model, names, keys, **more):
            self.passes.append(([str(name) for name in names], len(keys)))
            return score(model, names, keys, **more)

        self.trainer._score = counted

    def candidates(self):
        end = (self.number + 1) * PER_ROUND
        keys = np.arange(end)
        samples = Samples(keys, keys * 1000, self.data.labels(keys))
        return self.usage.candidates(samples, self.selecting.selector.history, end_key=end)

    def play(self):
        given = self.candidates()
        selection, choice = self.selecting.select(given, self.weights)
        fitted = self.trainer.fit(selection, round=self.number, choice=choice)
        self.usage.record((self.number + 1) * PER_ROUND, selection)
        self.weights, self.number = fitted.weights, self.number + 1
        return selection, fitted


def test_window_selection_scores_once_a_round_with_the_latest_weights(tmp_path):
    rounds = Rounds({"uncertainty": {"budget": "25%"}}, tmp_path)
    first, _ = rounds.play()
    assert len(first) == 50
    assert rounds.passes == []
    weights, given = rounds.weights, rounds.candidates()
    second, _ = rounds.play()
    assert rounds.passes == [(["margin"], 400)]
    margins = rounds.trainer.compute_signals(["margin"], given.keys, weights)["margin"]
    assert sorted(second.keys) == sorted(given.keys[np.argsort(margins)[:100]])
    keys, scores = stored.scores_of(tmp_path, 1)
    assert keys.tolist() == second.keys.tolist()
    assert np.allclose(scores, -margins[second.keys])
    assert stored.scores_of(tmp_path, 0) is None


def test_reselection_scores_anew_with_the_model_as_it_is_then(tmp_path):
    rounds = Rounds({"loss": {"budget": "50%", "reselect_every": 1}}, tmp_path, epochs=3)
    rounds.play()
    assert rounds.passes == [(["loss"], 200)] * 2
    rounds.play()
    assert rounds.passes[2:] == [(["loss"], 400)] * 3


def test_batch_selection_trains_on_a_share_of_each_large_batch(tmp_path):
    rounds = Rounds({"gradient-norm": {"budget": "25%", "at": "batch"}}, tmp_path, epochs=2)
    selection, fitted = rounds.play()
    assert len(selection) == 200
    assert fitted.num_steps == 2 * 200 // 80 + 1
    assert rounds.passes == []


def test_loss_history_needs_no_pass_and_takes_the_highest_losses(tmp_path):
    rounds = Rounds({"loss": {"budget": "50%", "scores": "history", "reselect_every": 1}}, tmp_path, epochs=3)
    first, _ = rounds.play()
    metadata = rounds.selecting.metadata
    assert rounds.passes == []
    trained = metadata.times_trained(np.arange(200))
    assert trained.min() >= 1, "what was never trained on comes first"
    assert trained.sum() == 3 * 100
    before = metadata.losses(np.arange(200), before=(0, 2))
    third = np.flatnonzero(
        metadata.times_trained(np.arange(200)) > metadata.times_trained(np.arange(200), before=(0, 2))
    )
    assert not np.isnan(before).any()
    assert sorted(third) == sorted(np.argsort(-before)[:100])
    assert not np.isnan(metadata.losses(first.keys)).any()


def test_loss_history_within_batches_reads_the_epochs_before_of_the_same_round(tmp_path):
    rounds = Rounds({"loss": {"budget": "50%", "scores": "history", "at": "batch"}}, tmp_path, epochs=3)
    selection, choice = rounds.selecting.select(rounds.candidates(), None)
    rounds.trainer.fit(selection, round=0, choice=choice)
    drawn = stored.made_while_training(tmp_path, 0)
    metadata, keys = rounds.selecting.metadata, np.arange(200)
    assert np.intersect1d(drawn[0].keys, drawn[1].keys).size < 40, "what was never trained on comes first"
    for epoch in (1, 2):
        known = metadata.losses(keys, before=(0, epoch))
        found, scores = stored.scores_of(tmp_path, 0, epoch)
        seen = ~np.isnan(known[found])
        assert seen.any()
        assert np.array_equal(scores[seen], known[found][seen])


def test_what_is_held_out_is_not_trained_on_while_warming_up_either(tmp_path):
    rounds = Rounds({"rho-loss": {"budget": "25%", "share": 0.3, "warmup_rounds": 1}}, tmp_path)
    first, _ = rounds.play()
    part = part_of(np.arange(200), share=0.3, seed=5)
    assert first.keys.tolist() == np.flatnonzero(part == 0).tolist()


def test_forgetting_reads_what_training_noted(tmp_path):
    rounds = Rounds({"forgetting": {"budget": "50%", "warmup_rounds": 1}}, tmp_path, epochs=4)
    rounds.play()
    assert rounds.selecting.metadata.times_trained(np.arange(200)).tolist() == [4] * 200
    second, _ = rounds.play()
    counts = rounds.selecting.metadata.forgetting(np.arange(400), before=(1, 0))
    known = np.where(np.isnan(counts), np.nanmax(counts), counts)
    chosen = np.isin(np.arange(400), second.keys)
    assert known[chosen].min() >= known[~chosen].max()


@pytest.mark.parametrize("at", ["window", "batch"])
@pytest.mark.parametrize("kind", ["simple", "twin"])
def test_rho_loss_trains_its_holdout_models_and_never_on_the_holdout(tmp_path, kind, at):
    kept = []
    share = {"share": 0.2} if kind == "simple" else {}
    rounds = Rounds(
        {"rho-loss": {"budget": "25%", "holdout": kind, "at": at, **share}},
        tmp_path,
        keep=lambda _, name, keys: kept.append((name, keys)),
    )
    rounds.play()
    second, _ = rounds.play()
    names = ["holdout-0"] if kind == "simple" else ["holdout-0", "holdout-1"]
    assert [name for name, _ in kept][-len(names) :] == names
    part = part_of(np.arange(400), share=0.2 if kind == "simple" else 0.5, seed=5)
    assert kept[-len(names)][1].tolist() == np.flatnonzero(part == 1).tolist()
    if kind == "simple":
        assert not part[second.keys].any()
    before = len(kept)
    given = rounds.candidates()
    for _ in range(2):
        rounds.selecting.select(given, rounds.weights)
    assert len(kept) == before + len(names), "the losses of a round are kept"


def test_rs2_trains_on_another_chunk_in_each_epoch(tmp_path):
    rounds = Rounds({"rs2": {"budget": "25%"}}, tmp_path, epochs=4)
    noted = []
    selection, choice = rounds.selecting.select(rounds.candidates(), None)
    assert choice.every_epochs == 1
    noted = [selection.keys, *(choice.anew(epoch, None).keys for epoch in range(1, 4))]
    assert sorted(np.concatenate(noted).tolist()) == list(range(200))
    rounds.play()


@pytest.mark.parametrize("name", ["craig", "gradmatch", "k-center", "herding", "submodular", "el2n", "small-loss"])
def test_every_named_method_selects_and_trains(tmp_path, name):
    rounds = Rounds({name: {"budget": "10%"}}, tmp_path)
    rounds.play()
    selection, fitted = rounds.play()
    assert 0 < len(selection) <= 40
    assert np.isfinite(fitted.loss)


def test_a_schedule_notes_histories_before_the_step_that_reads_them(tmp_path):
    steps = [{"use": "all"}, {"start": 1, "use": {"forgetting": {"budget": "50%"}}}]
    rounds = Rounds({"schedule": {"steps": steps}}, tmp_path, epochs=3)
    rounds.play()
    assert rounds.selecting.metadata.times_trained(np.arange(200)).tolist() == [3] * 200
    selection, _ = rounds.play()
    assert len(selection) == 200


def test_the_same_run_twice_gives_the_same_weights(tmp_path):
    for document in (
        {"loss": {"budget": "50%", "scores": "history", "reselect_every": 1}},
        {"gradient-norm": {"budget": "25%", "at": "batch"}},
        {"rho-loss": {"budget": "50%", "holdout": "twin"}},
    ):
        runs = []
        for number in (0, 1):
            rounds = Rounds(document, tmp_path / f"{next(iter(document))}-{number}")
            rounds.play()
            runs.append(rounds.play()[1].weights)
        assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_signals_of_a_trainer_are_in_the_order_of_the_keys():
    made = trainer(data=reader(300))
    weights = made.new_model(0).state_dict()
    keys = np.random.default_rng(0).permutation(300)
    names = ["loss", "gradient", "embedding", "entropy"]
    found, straight = (made.compute_signals(names, k, weights) for k in (keys, np.arange(300)))
    assert np.allclose(found["loss"], straight["loss"][keys], atol=1e-6)
    assert np.allclose(found["embedding"], straight["embedding"][keys], atol=1e-5)
    assert isinstance(found["gradient"], Gradients)
    assert np.allclose(found["gradient"].errors, straight["gradient"].errors[keys], atol=1e-6)
