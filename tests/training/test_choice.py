"""Choosing while training: the chosen rows, and nothing else, are trained on."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from modyn.errors import TrainingError
from modyn.policy import build
from modyn.selectors import Selector
from modyn.training.blocks import Batch
from modyn.training.choice import Choice, Drawn, InBatch, Known, Recorder
from modyn.training.losses import Criterion
from modyn.training.options import Named
from modyn.training.signals import Scorer
from modyn.types import BatchRule

CPU = torch.device("cpu")
CRITERION = Criterion(Named("cross-entropy"))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batch(n: int = 40, *, weights=None, step: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 5, generator=generator)
    return Batch(inputs, torch.arange(n) % 3, weights, np.arange(n) * 2, epoch=0, step=step)


def chooser(document, model, *, given=None, n: int = 40, seed: int = 0) -> InBatch:
    rule = build(Selector, document).in_batch
    return InBatch.of(
        rule,
        model=model,
        criterion=CRITERION,
        device=CPU,
        precision="fp32",
        given={name: Known(np.arange(n) * 2, values) for name, values in (given or {}).items()},
        seed=seed,
        round=3,
    )


@pytest.mark.parametrize(
    "document",
    [
        {"loss": {"budget": "25%", "at": "batch"}},
        {"small-loss": {"budget": "25%", "at": "batch"}},
        {"uncertainty": {"budget": "25%", "at": "batch"}},
        {"gradient-norm": {"budget": "25%", "at": "batch"}},
        {"craig": {"budget": "25%", "at": "batch"}},
        {"k-center": {"budget": "25%", "at": "batch"}},
        {"gradmatch": {"budget": "25%", "at": "batch"}},
        {"coreset": {"signal": "loss", "picker": {"top-k": {"per_class": True}}, "budget": "25%", "at": "batch"}},
    ],
    ids=str,
)
def test_gradients_and_batch_norm_are_those_of_the_chosen_samples_alone(document):
    model = net().train()
    alone = copy.deepcopy(model)
    chosen = chooser(document, model)(batch())
    assert 0 < len(chosen) <= 10
    assert len(np.unique(chosen.keys)) == len(chosen)
    assert torch.equal(chosen.inputs, batch().inputs[chosen.keys // 2])
    assert torch.equal(chosen.labels, batch().labels[chosen.keys // 2])
    CRITERION(model(chosen.inputs), chosen.labels, chosen.weights).backward()
    CRITERION(alone(batch().inputs[chosen.keys // 2]), chosen.labels, chosen.weights).backward()
    for one, two in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    assert all(torch.equal(one, two) for one, two in zip(model.buffers(), alone.buffers(), strict=True))


def test_it_takes_those_with_the_highest_score():
    model = net()
    losses = Scorer(model, CRITERION, ["loss"], device=CPU)(batch().inputs, batch().labels)["loss"].numpy()
    for name, sign in (("loss", 1), ("small-loss", -1)):
        chosen = chooser({name: {"budget": "25%", "at": "batch"}}, model)(batch())
        assert sorted(chosen.keys // 2) == sorted(np.argsort(-sign * losses)[:10])


def test_the_choice_is_a_function_of_seed_round_epoch_and_step():
    document = {"gradient-norm": {"budget": "25%", "at": "batch"}}
    model = net()
    one, two = (chooser(document, model)(batch()).keys.tolist() for _ in range(2))
    assert one == two
    assert chooser(document, model)(batch(step=1)).keys.tolist() != one
    assert chooser(document, model, seed=1)(batch()).keys.tolist() != one


def test_importance_weights_in_a_batch_are_unbiased_and_multiply_the_samples_own():
    model = net()
    own = torch.rand(40) + 0.5
    values = torch.randn(40, generator=torch.Generator().manual_seed(5))
    estimates = []
    for seed in range(1000):
        chosen = chooser({"gradient-norm": {"budget": "25%", "at": "batch"}}, model, seed=seed)(batch(weights=own))
        estimates.append(float((chosen.weights * values[chosen.keys // 2]).mean()))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - float((own * values).mean())) < 4 * error


def own(uniform_share: float) -> dict:
    picker = {"importance-sampling": {"uniform_share": uniform_share}}
    return {"coreset": {"signal": "loss", "picker": picker, "budget": "25%", "at": "batch"}}


def test_rows_without_a_chance_are_not_drawn_and_none_is_drawn_twice():
    scores = np.zeros(40, np.float32)
    scores[[3, 5, 8]] = [4, 1, 1]
    document = {"loss": {"budget": "25%", "at": "batch", "scores": "history", "draw": "importance"}}
    choose = chooser(document, net(), given={"loss-history": scores})
    choose.rule = replace(choose.rule, uniform_share=0.0)
    chosen = choose(batch())
    assert sorted(chosen.keys // 2) == [3, 5, 8]
    assert chosen.weights.tolist() == pytest.approx([3 / 40] * 3)


def test_a_negative_score_cannot_be_drawn_by():
    model = net()
    choose = chooser(own(0.1), model)
    choose.scorer.functions["loss"] = lambda of: -of.outputs[:, 0].abs()
    with pytest.raises(TrainingError, match=r"needs scores that are not negative, and \(loss\) is"):
        choose(batch())


def test_only_every_so_many_th_batch_is_scored():
    model = net()
    passes = []
    model[0].register_forward_hook(lambda *_: passes.append(1))
    choose = chooser({"loss": {"budget": "25%", "at": "batch", "score_every": 3}}, model)
    for step in range(6):
        assert len(choose(batch(step=step))) == 10
    assert len(passes) == 2


def test_values_known_before_need_no_pass():
    model = net()
    passes = []
    model[0].register_forward_hook(lambda *_: passes.append(1))
    history = np.arange(40, dtype=np.float32)
    history[:30] = 0
    choose = chooser(
        {"loss": {"budget": "25%", "at": "batch", "scores": "history"}}, model, given={"loss-history": history}
    )
    assert sorted(choose(batch()).keys // 2) == list(range(30, 40))
    assert not passes


def test_rho_loss_in_a_batch_takes_the_reducible_loss():
    model = net()
    losses = Scorer(model, CRITERION, ["loss"], device=CPU)(batch().inputs, batch().labels)["loss"].numpy()
    irreducible = np.random.default_rng(0).random(40).astype(np.float32)
    document = {"rho-loss": {"budget": "25%", "at": "batch", "holdout": "twin"}}
    chosen = chooser(document, model, given={"irreducible-loss": irreducible})(batch())
    assert sorted(chosen.keys // 2) == sorted(np.argsort(irreducible - losses)[:10])
    plain = chooser({"loss": {"budget": "25%", "at": "batch"}}, model)(batch())
    zero = chooser(document, model, given={"irreducible-loss": np.zeros(40, np.float32)})(batch())
    assert sorted(zero.keys) == sorted(plain.keys)


def test_a_signal_that_is_not_known_within_a_batch_is_named():
    with pytest.raises(TrainingError, match="round 3: signal irreducible-loss is not known within a batch"):
        chooser({"rho-loss": {"budget": "25%", "at": "batch"}}, net())


def test_a_large_batch_is_as_many_times_larger_as_the_share_is_smaller():
    rule = build(Selector, {"loss": {"budget": "25%", "at": "batch"}}).in_batch
    assert isinstance(rule, BatchRule)
    assert Choice(in_batch=rule).large_batch(64) == 256
    assert Choice().large_batch(64) == 64
    choose = chooser({"loss": {"budget": "25%", "at": "batch"}}, net())
    assert len(choose(batch(256))) == 64
    assert len(choose(batch(2))) == 1


def test_what_is_drawn_out_of_batches_is_handed_over_by_key_with_scores_and_weights():
    model, noted = net(), []
    drawn = Drawn(lambda *given: noted.append(given))
    losses = Scorer(model, CRITERION, ["loss"], device=CPU)(batch().inputs, batch().labels)["loss"].numpy()
    rule = build(Selector, {"loss": {"budget": "25%", "at": "batch", "score_every": 2}}).in_batch
    choose = InBatch.of(
        rule, model=model, criterion=CRITERION, device=CPU, precision="fp32", given={}, seed=0, round=0, drawn=drawn
    )
    first = choose(batch(step=0))
    again = Drawn(lambda *given: noted.append(given))
    again.load_state_dict(drawn.state_dict())
    again.end_epoch(3)
    epoch, chosen, scores = noted.pop()
    assert epoch == 3
    assert chosen.keys.tolist() == sorted(first.keys)
    assert chosen.weights is None
    assert np.allclose(scores, losses[chosen.keys // 2])
    choose(batch(step=1))
    drawn.end_epoch(4)
    assert np.isnan(noted.pop()[2]).sum() == 10, "the second batch was not scored"
    drawn.end_epoch(5)
    assert not noted


def test_the_recorder_hands_over_each_epoch_in_the_order_of_training():
    noted = []
    recorder = Recorder(lambda *given: noted.append(given), CRITERION)
    outputs = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    recorder.add(np.array([4, 2]), torch.tensor([0.5, 0.25]), outputs, torch.tensor([0, 0]))
    other = Recorder(lambda *given: noted.append(given), CRITERION)
    other.load_state_dict(recorder.state_dict())
    recorder = other
    recorder.add(np.array([9]), torch.tensor([2.0]), outputs[:1], torch.tensor([0]))
    recorder.end_epoch(7)
    recorder.end_epoch(8)
    ((epoch, keys, losses, right),) = noted
    assert epoch == 7
    assert keys.tolist() == [4, 2, 9]
    assert losses.tolist() == [0.5, 0.25, 2.0]
    assert right.tolist() == [True, False, True]
