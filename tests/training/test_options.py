"""Every option of the training section changes what it says, and nothing else."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from modyn.errors import BadSample, ConfigError, ModynError, TrainingError
from modyn.training.held_out import hold_out
from modyn.training.memory_reader import MemoryReader
from modyn.training.options import Training
from modyn.training.order import epoch_order
from modyn.types import Samples
from tests.training.toys import Journal, everything, mlp, reader, same, trainer

SGD = {"sgd": {"lr": 0.1}}


def weights(**options):
    """The weights after a round on the first 256 samples."""
    return trainer(data=reader(256), **options).fit(everything(256), round=0).weights


def rates(**options):
    """The learning rates at the end of each epoch."""
    journal = Journal()
    trainer(data=reader(256), log=journal, **options).fit(everything(256), round=0)
    return [fields["learning_rates"] for _, fields in journal.events]


def test_averages_over_too_few_steps_are_warned_of_unless_training_went_on():
    journal = Journal()
    fit = trainer(data=reader(256), log=journal, ema={"decay": 0.999})
    fitted = fit.fit(everything(256), round=0)
    (told,) = [fields["message"] for kind, fields in journal.events if kind == "warning"]
    assert "the averages are still 99 % the weights that training began with" in told
    fit.fit(everything(256), round=1)
    later = trainer(data=reader(256), log=(calm := Journal()), ema={"decay": 0.999})
    later.fit(everything(256), round=0, start=fitted.weights)
    trainer(data=reader(256), log=calm, ema={"decay": 0.1}).fit(everything(256), round=0)
    assert "warning" not in [kind for kind, _ in calm.events]
    assert [kind for kind, _ in journal.events].count("warning") == 1


CHANGING = {
    "epochs": 2,
    "samples": 100,
    "batch_size": 16,
    "accumulate": 2,
    "shuffle": False,
    "seed": 77,
    "optimizer": {"adamw": {"lr": 0.1}},
    "scheduler": {"cosine-annealing": {}},
    "warmup": 4,
    "loss": {"cross-entropy": {"label_smoothing": 0.1}},
    "clip": 0.01,
    "precision": "bf16",
    "label_transform": "tests.training.test_options:flipped",
    "transforms": ["tests.training.test_options:doubled"],
    "augment": "tests.training.toys:noise",
    "ema": {"decay": 0.9},
    "early_stopping": {"share": 0.2},
}
KEEPING = {
    "workers": 0,
    "cache": "memory",
    "hooks": ["tests.training.test_options:look"],
    "writers": None,
    "checkpoint": {"steps": 1},
    "device": "cpu",
    "threads": 1,
    "start": "latest",
    "drop_last": True,
    "compile": None,
    "devices": None,
    "pretrained": None,
}


def flipped(labels):
    return 1 - labels


def one_hot(labels):
    return np.eye(2, dtype=np.float32)[labels]


def doubled(inputs, by=2):
    return inputs * by


seen: list[int] = []


def look(observation):
    seen.append(observation.step)
    torch.rand(3)


class Quiet:
    """A class that is no hook."""


class Spoiler:
    """A hook that writes where it may only look."""

    def __init__(self, what="weight"):
        self.what = what

    def __call__(self, observation):
        next(observation.model.parameters()).zero_()


def test_every_option_is_named_in_these_tests():
    assert set(CHANGING) | set(KEEPING) == set(Training.model_fields)


@pytest.mark.parametrize("option", CHANGING)
def test_an_option_that_decides_the_result_changes_it(option):
    assert not same(weights(), weights(**{option: CHANGING[option]}))


@pytest.mark.parametrize("option", [name for name, value in KEEPING.items() if value is not None])
def test_an_option_that_says_how_changes_no_byte(option, tmp_path):
    assert same(weights(), weights(**{option: KEEPING[option]}, state_dir=tmp_path))


def test_accumulated_gradients_are_those_of_the_whole_batch():
    sample_weights = np.random.default_rng(0).random(256)
    options = {"data": reader(256), "optimizer": SGD}
    for given in (None, sample_weights):
        whole = trainer(batch_size=64, **options).fit(everything(256, given), round=0)
        parts = trainer(batch_size=16, accumulate=4, **options).fit(everything(256, given), round=0)
        assert whole.num_steps == parts.num_steps == 4
        for name, value in whole.weights.items():
            torch.testing.assert_close(value, parts.weights[name])


def test_the_number_of_epochs_and_samples_may_differ_by_round():
    fit = trainer(epochs=[3, 1])
    assert [fit.fit(everything(), round=r).num_steps for r in range(3)] == [96, 32, 32]
    fit = trainer(samples=[64, 2000])
    assert [fit.fit(everything(), round=r).num_steps for r in range(3)] == [2, 63, 63]


def test_drop_last_leaves_out_the_last_batch():
    assert trainer(drop_last=True).fit(everything(1000), round=0).num_steps == 31


def test_the_order_is_a_function_of_seed_round_and_epoch():
    def order(**changed):
        return epoch_order(1000, **{"seed": 1, "round": 2, "epoch": 3, "window": None, **changed})

    assert np.array_equal(np.sort(order()), np.arange(1000))
    assert np.array_equal(order(), order())
    assert all(not np.array_equal(order(), order(**{name: 9})) for name in ("seed", "round", "epoch"))
    assert np.array_equal(order(window=0), np.arange(1000))


def test_a_windowed_shuffle_keeps_stretches_together():
    order = epoch_order(1000, seed=1, round=0, epoch=0, window=100)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert all(len(set(order[start : start + 100] // 100)) == 1 for start in range(0, 1000, 100))
    assert len(set(order[::100] // 100)) == 10
    assert not np.array_equal(order[:100], np.sort(order[:100]))


def test_parameter_groups_have_options_of_their_own():
    assert rates(optimizer={"sgd": {"lr": 0.1, "groups": {"0": {"lr": 0.01}}}}) == [[0.01, 0.1]]
    frozen = weights(optimizer={"sgd": {"lr": 0.1, "groups": {"0.*": {"lr": 0.0}}}})
    start = trainer(data=reader(256)).new_model(0).state_dict()
    assert torch.equal(frozen["0.weight"], start["0.weight"])
    assert not torch.equal(frozen["2.weight"], start["2.weight"])


def test_several_optimizers_share_the_parameters():
    options = [{"sgd": {"lr": 0.1, "modules": ["2"]}}, {"adamw": {"lr": 0.01}}]
    assert rates(optimizer=options) == [[0.1, 0.01]]
    with pytest.raises(ConfigError, match=r"no optimizer takes 0.weight, 0.bias"):
        weights(optimizer=[{"sgd": {"lr": 0.1, "modules": ["2"]}}])
    with pytest.raises(ConfigError, match=r"training.optimizer.sgd.modules: 'layer' matches none of 0.weight"):
        weights(optimizer={"sgd": {"lr": 0.1, "modules": ["layer"]}})


def test_a_schedule_sees_the_whole_training():
    ends = rates(optimizer=SGD, scheduler={"cosine-annealing": {}}, epochs=4)
    expected = [0.05 * (1 + math.cos(math.pi * epoch / 4)) for epoch in (1, 2, 3, 4)]
    np.testing.assert_allclose(np.ravel(ends), expected, atol=1e-8)
    by_epoch = rates(optimizer=SGD, scheduler={"linear": {"per": "epoch", "end_factor": 0.5}}, epochs=4)
    np.testing.assert_allclose(np.ravel(by_epoch), [0.1 * x for x in np.linspace(1 / 3, 0.5, 5)[1:]], rtol=1e-5)
    half = rates(optimizer=SGD, scheduler={"step": {"step_size": "0.5 * num_steps", "gamma": 0.1}}, epochs=4)
    np.testing.assert_allclose(np.ravel(half), [0.1, 0.01, 0.01, 0.001], rtol=1e-5)
    one_cycle = rates(optimizer=SGD, scheduler={"one-cycle": {"max_lr": 1.0}}, epochs=2)
    assert one_cycle[0][0] > 0.1 > one_cycle[1][0]


def test_warm_up_rises_linearly_to_the_given_rate():
    shown: list[float] = []
    fit = trainer(data=reader(256), optimizer=SGD, warmup=4)
    fit.hooks._hooks = [("record", lambda o: shown.append(o.learning_rates[0]), 1)]
    fit.hooks.steps = [1]
    fit.fit(everything(256), round=0)
    np.testing.assert_allclose(shown, [0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    share = rates(optimizer=SGD, warmup=0.9)
    np.testing.assert_allclose(share, [[0.1]])


def test_clipping_bounds_the_step():
    start = trainer(data=reader(256)).new_model(0).state_dict()
    clipped = weights(optimizer={"sgd": {"lr": 1.0}}, clip={"norm": 0.01}, batch_size=256)
    moved = torch.cat([(clipped[name] - start[name]).flatten() for name in clipped]).norm()
    assert float(moved) == pytest.approx(0.01, rel=1e-3)
    by_value = weights(optimizer={"sgd": {"lr": 1.0}}, clip={"value": 0.001}, batch_size=256)
    assert max(float((by_value[n] - start[n]).abs().max()) for n in by_value) == pytest.approx(0.001, rel=1e-3)


def test_half_precision_stays_close_to_full():
    full = weights(optimizer=SGD)
    for precision in ("bf16", "fp16"):
        for name, value in weights(optimizer=SGD, precision=precision).items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, full[name], atol=0.02, rtol=0.05)


def test_moving_averages_lag_behind_the_weights():
    start = trainer(data=reader(256)).new_model(0).state_dict()
    last = weights(optimizer=SGD)
    averaged = weights(optimizer=SGD, ema={"decay": 0.5})
    barely = weights(optimizer=SGD, ema={"decay": 0.9999})

    def moved(weights):
        return float(torch.cat([(weights[name] - start[name]).flatten() for name in start]).norm())

    assert 0 < moved(barely) < 1e-2 < moved(averaged) < moved(last)


def test_early_stopping_stops_and_gives_the_best_epoch():
    data = reader(200)
    noise = MemoryReader({"x": data.columns["x"]}, labels=np.random.default_rng(0).integers(0, 2, 200))
    journal = Journal()
    options = {"data": noise, "optimizer": {"adam": {"lr": 0.05}}, "epochs": 50}
    fit = trainer(log=journal, early_stopping={"share": 0.25, "patience": 3}, **options)
    fitted = fit.fit(everything(200), round=0)
    losses = [fields["held_out_loss"] for _, fields in journal.events]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3
    assert fitted.num_samples == 150
    again = trainer(early_stopping={"share": 0.25, "patience": 50}, **{**options, "epochs": best + 1})
    assert same(fitted.weights, again.fit(everything(200), round=0).weights)


def test_held_out_samples_teach_nothing():
    data = reader(200)
    spoilt = MemoryReader({"x": data.columns["x"].copy()}, labels=data.labels(np.arange(200)).copy())
    from modyn.training.held_out import hold_out

    _, held_out = hold_out(everything(200), 0.25, seed=3, round=0)
    spoilt.columns["x"][held_out.keys] += 100
    options = {"early_stopping": {"share": 0.25, "patience": 9}, "epochs": 1}
    assert same(
        trainer(data=data, **options).fit(everything(200), round=0).weights,
        trainer(data=spoilt, **options).fit(everything(200), round=0).weights,
    )


def test_augmentation_is_for_training_only_and_new_in_each_epoch():
    fit = trainer(data=reader(256), augment="tests.training.toys:noise")
    fitted = fit.fit(everything(256), round=0)
    plain = trainer(data=reader(256)).predict(fitted.weights, np.arange(256))
    np.testing.assert_array_equal(fit.predict(fitted.weights, np.arange(256)), plain)
    recipe, keys = fit.loader.recipe, np.arange(4)
    zeros = torch.zeros(4, 8)
    first = recipe.augmented(zeros, keys, round=0, epoch=0)
    assert torch.equal(first, recipe.augmented(zeros, keys, round=0, epoch=0))
    assert not torch.equal(first, recipe.augmented(zeros, keys, round=0, epoch=1))
    assert torch.equal(first[1:], recipe.augmented(zeros[1:], keys[1:], round=0, epoch=0))


def test_transforms_are_applied_in_training_and_prediction():
    by_two = trainer(data=reader(256), transforms=["tests.training.test_options:doubled"])
    by_hand = trainer(data=reader(256), parser=lambda c: c["x"] * 2)
    fitted = by_two.fit(everything(256), round=0)
    assert same(fitted.weights, by_hand.fit(everything(256), round=0).weights)
    keys = np.arange(256)
    np.testing.assert_array_equal(by_two.predict(fitted.weights, keys), by_hand.predict(fitted.weights, keys))
    by_three = trainer(data=reader(256), transforms=[{"tests.training.test_options:doubled": {"by": 3}}])
    assert not same(fitted.weights, by_three.fit(everything(256), round=0).weights)


def test_class_weights_and_ignored_classes_reach_the_loss():
    assert not same(weights(), weights(loss={"cross-entropy": {"weight": [1.0, 3.0]}}))


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", "smooth-l1", "poisson-nll"])
def test_losses_on_values_are_found_by_name(loss):
    data = reader(256)
    values = MemoryReader({"x": data.columns["x"]}, labels=np.abs(data.columns["x"][:, 0]).astype(np.float64))
    before = trainer(data=values, model=mlp(outputs=1), loss=loss, epochs=1).fit(everything(256), round=0)
    after = trainer(data=values, model=mlp(outputs=1), loss=loss, epochs=20).fit(everything(256), round=0)
    assert after.loss < before.loss


def test_several_labels_at_once_are_learnt():
    data = reader(512)
    labels = (data.columns["x"][:, :3] > 0).astype(np.int64)
    fit = trainer(
        data=MemoryReader(data.columns, labels=labels), model=mlp(outputs=3), loss="bce-with-logits", epochs=30
    )
    predicted = fit.predict(fit.fit(everything(512), round=0).weights, np.arange(512))
    assert fit.task == "multi-label"
    assert ((predicted > 0.5) == labels).mean() > 0.9


def squared(outputs, labels):
    return (outputs[:, 0] - labels) ** 2


def test_a_loss_of_ones_own_gives_one_value_a_sample():
    assert weights(loss="tests.training.test_options:squared")


def focal(outputs, labels, gamma=0.0):
    losses = nn.functional.cross_entropy(outputs, labels, reduction="none")
    return (1 - torch.exp(-losses)) ** gamma * losses


def mean_of_all(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels)


def test_a_loss_of_ones_own_is_given_its_options():
    name = "tests.training.test_options:focal"
    assert same(weights(loss=name), weights(loss={name: {"gamma": 0.0}}))
    assert not same(weights(loss=name), weights(loss={name: {"gamma": 5.0}}))
    with pytest.raises(ConfigError, match=r"focal\.gama: no option is named 'gama' here. Did you mean 'gamma'"):
        weights(loss={name: {"gama": 5.0}})


def test_a_loss_that_gives_one_number_for_all_is_refused():
    with pytest.raises(TrainingError, match=r"mean_of_all gave shape \[\] for 32 samples; one loss a sample is needed"):
        weights(loss="tests.training.test_options:mean_of_all")


def test_rare_labels_may_weigh_more():
    data = reader(256)
    several = MemoryReader(data.columns, labels=(data.columns["x"][:, :3] > 1).astype(np.int64))
    options = {"data": several, "model": mlp(outputs=3)}
    plain = trainer(loss="bce-with-logits", **options)
    more = trainer(loss={"bce-with-logits": {"pos_weight": [5.0, 5.0, 5.0]}}, **options)
    found = [t.predict(t.fit(everything(256), round=0).weights, np.arange(256)).mean() for t in (plain, more)]
    assert found[1] > found[0] + 0.01


def test_what_classes_weigh_may_be_whole_numbers_or_one():
    for whole, number in [([1, 3], [1.0, 3.0]), ([2, 2], [2.0, 2.0])]:
        assert same(
            weights(loss={"cross-entropy": {"weight": whole}}), weights(loss={"cross-entropy": {"weight": number}})
        )
    one = {"model": mlp(outputs=1)}
    assert same(
        weights(loss={"bce-with-logits": {"pos_weight": 3}}, **one),
        weights(loss={"bce-with-logits": {"pos_weight": [3.0]}}, **one),
    )


def test_margins_between_classes_are_a_loss_of_classes():
    fit = trainer(loss="multi-margin", epochs=20)
    predicted = fit.predict(fit.fit(everything(), round=0).weights, np.arange(1000))
    assert (fit.task, predicted.shape) == ("classification", (1000, 2))
    assert (predicted.argmax(1) == reader().labels(np.arange(1000))).mean() > 0.9


class Shared(nn.Module):
    """Two layers with one matrix."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.second = nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.second(torch.relu(self.first(x))))


def test_shared_weights_are_averaged_and_watched_under_each_of_their_names():
    last, averaged = (weights(model=Shared, optimizer=SGD, **options) for options in ({}, {"ema": {"decay": 0.9}}))
    assert torch.equal(averaged["first.weight"], averaged["second.weight"])
    assert not torch.equal(averaged["second.weight"], last["second.weight"])
    assert weights(model=Shared, early_stopping={"share": 0.2}, ema={"decay": 0.9})


def quietly(observation):
    next(observation.model.parameters()).data.mul_(2)


def raises(_):
    raise ValueError("no good")


def test_a_hook_that_changes_the_model_behind_its_back_is_stopped_too():
    with pytest.raises(TrainingError, match="quietly changed the model's weights"):
        weights(hooks=["tests.training.test_options:quietly"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hooks": ["tests.training.test_options:raises"]}, "hook .*:raises raised"),
        ({"label_transform": "tests.training.test_options:raises"}, "label_transform raised"),
        (
            {"augment": {"per_sample": "tests.training.test_options:raises"}, "workers": 0},
            r"sample \d+: augmentation raises raised",
        ),
        (
            {"augment": {"per_sample": "tests.training.test_options:raises"}, "workers": 1},
            r"sample \d+: augmentation raises raised",
        ),
        ({"transforms": ["tests.training.test_options:raises"]}, "raises raised"),
    ],
)
def test_what_a_function_of_ones_own_raises_is_told_with_its_line(options, told):
    with pytest.raises(ModynError, match=told + r" ValueError: no good \(test_options.py, line \d+: raise ValueError"):
        weights(**options)


def crooked(sample):
    return sample[: 7 if float(sample[0]) > 1 else 8]


def test_an_augmentation_that_gives_another_shape_names_the_sample():
    with pytest.raises(
        BadSample, match=r"sample \d+: augmentation crooked gave float32\[7\], but float32\[8\] for sample"
    ):
        weights(augment={"per_sample": "tests.training.test_options:crooked"}, workers=0, shuffle=False)


def test_a_schedule_that_is_over_keeps_its_last_rate():
    ends = rates(optimizer=SGD, scheduler={"one-cycle": {"max_lr": 1.0, "total_steps": 9}}, epochs=3)
    assert ends[0][0] == ends[1][0] == ends[2][0] < 0.01


def test_options_of_an_unknown_name_are_told_for_functions_and_groups():
    for options, told in [
        (
            {"transforms": [{"tests.training.test_options:doubled": {"bye": 3}}]},
            "doubled.bye: no option is named 'bye'",
        ),
        ({"hooks": ["tests.training.test_options:Quiet"]}, "hooks.*Quiet: cannot be called with an observation"),
        ({"hooks": [{"tests.training.test_options:look": {"loud": True}}]}, "look.loud: no option .* It takes none"),
        ({"optimizer": {"sgd": {"groups": {"0": {"lrr": 1}}}}}, "groups.0.lrr: no option .*'lr'"),
        ({"optimizer": {"sgd": {"groups": {"0": 3}}}}, r"groups: must be .*; got \{0: 3\}$"),
        ({"optimizer": {"sgd": {"modules": 3}}}, "modules: must be names of modules"),
        ({"loss": {"mse": {"reduction": "sum"}}}, "mse.reduction: is not chosen here"),
        ({"scheduler": {"step": {"step_size": "3"}}}, "training.scheduler.step: TypeError"),
    ]:
        with pytest.raises(ModynError, match=told):
            weights(**options)


def by(inputs, /, factor, *others, more=0):
    return inputs * factor + more


@pytest.mark.parametrize(
    ("function", "options"),
    [("tests.training.test_options:by", {"factor": 2, "more": 1}), ("torch:clamp", {"min": 0.5})],
)
def test_a_function_is_given_its_options_however_it_takes_them(function, options):
    """By name only, behind arguments without one, or in ways that Python cannot know, as in functions of torch written in C."""
    assert not same(weights(transforms=[{function: options}]), weights())


def test_hooks_are_shown_what_happens():
    seen.clear()
    weights(hooks=["tests.training.test_options:look"], epochs=3)
    assert seen == [8, 16, 24]
    seen.clear()
    weights(hooks=[{"tests.training.test_options:look": {"every": 3}}])
    assert seen == [3, 6]


def test_a_hook_that_changes_the_model_is_stopped():
    with pytest.raises(TrainingError, match=r"hook tests.*Spoiler changed the model's weights; hooks may only look"):
        weights(hooks=["tests.training.test_options:Spoiler"])


def test_pretrained_weights_are_loaded_where_they_fit(tmp_path):
    from safetensors.torch import save_file

    given = trainer(model=mlp(outputs=5)).new_model(7).state_dict()
    save_file(given, tmp_path / "given.safetensors")
    fit = trainer(start="pretrained", pretrained=tmp_path / "given.safetensors")
    model = fit.new_model(0).state_dict()
    assert torch.equal(model["0.weight"], given["0.weight"])
    assert model["2.weight"].shape == (2, 16)
    with pytest.raises(ConfigError, match="there is no file"):
        trainer(start="pretrained", pretrained=tmp_path / "missing.safetensors").new_model(0)


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_up_to_rounding():
    fit = trainer(data=reader(256), optimizer=SGD, compile=True)
    for round_number in range(2):
        compiled = fit.fit(everything(256), round=round_number)
        plain = trainer(data=reader(256), optimizer=SGD).fit(everything(256), round=round_number)
        for name, value in plain.weights.items():
            torch.testing.assert_close(value, compiled.weights[name])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 0}, "greater than 0"),
        ({"epochs": []}, "a list needs at least one number"),
        ({"batch_size": -1}, "greater than 0"),
        ({"pretrained": "w.safetensors"}, "loaded with start: pretrained only; start is scratch"),
        ({"start": "warm"}, "must be scratch, latest, pretrained or checkpoint:ID; got 'warm'"),
        ({"precision": "fp8"}, "'fp32', 'bf16' or 'fp16'"),
        ({"clip": {}}, "takes norm, value or both"),
        ({"checkpoint": {}}, "takes steps, time or both"),
        ({"hooks": ["look"]}, "'look' must be 'package.module:name'"),
        ({"augment": {}}, "name one function"),
        ({"optimizer": {"adam": {}, "sgd": {}}}, "is written as its name"),
        ({"ema": {"decay": 1.0}}, "less than 1"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ValidationError, match=told):
        Training.model_validate(options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"optimizer": {"adamw": {"learning_rate": 1}}}, r"training.optimizer.adamw.learning_rate: no option is named"),
        ({"optimizer": {"sgd": {"lr": -1}}}, r"training.optimizer.sgd: ValueError: Invalid learning rate"),
        ({"optimizer": "lbfgs"}, "several times a step"),
        ({"scheduler": "cosine-anealing"}, "no scheduler named 'cosine-anealing'. Did you mean 'cosine-annealing'"),
        ({"scheduler": {"step": {"step_size": "num_stepz"}}}, "must be a number, num_steps, num_epochs"),
        ({"scheduler": {"step": {"step_size": 3, "per": "day"}}}, "must be step or epoch; got 'day'"),
        ({"scheduler": ["step", "step"]}, "has 2 schedulers for 1 optimizers"),
        ({"loss": "crossentropi"}, "Did you mean 'cross-entropy'"),
        ({"loss": {"mse": {"delta": 1}}}, r"training.loss.mse.delta: no option is named 'delta'"),
        ({"hooks": [{"tests.training.test_options:look": {"every": 0}}]}, "must be a number of steps above 0"),
    ],
)
def test_wrong_names_and_options_of_torch_are_told_with_the_nearest(options, told):
    with pytest.raises(ConfigError, match=told):
        weights(**options)


def test_predictions_are_compared_with_transformed_labels_of_the_same_shape():
    known = Samples(np.arange(3), np.arange(3), np.array([0, 1, 1]))
    changed = trainer(label_transform="tests.training.test_options:flipped").labelled(known)
    assert changed.labels.tolist() == [1, 0, 0]
    soft = trainer(label_transform="tests.training.test_options:one_hot").labelled(known)
    assert soft is known
    assert trainer().labelled(known) is known


def test_a_held_out_loss_that_is_no_number_stops_the_round():
    data = reader(200)
    whole = trainer(data=data, early_stopping={"share": 0.2})
    _, held_out = hold_out(everything(200), 0.2, seed=whole.seed, round=0)
    data.columns["x"][held_out.keys[3]] = np.nan
    with pytest.raises(TrainingError, match="round 0, epoch 0: the loss on held-out samples is nan"):
        whole.fit(everything(200), round=0)


def test_a_held_out_label_that_is_no_class_is_named():
    data = reader(200)
    whole = trainer(data=data, early_stopping={"share": 0.2})
    _, held_out = hold_out(everything(200), 0.2, seed=whole.seed, round=0)
    data._labels[held_out.keys[3]] = 5
    told = f"round 0, epoch 0: sample {held_out.keys[3]}: label 5 is not a class of the model"
    with pytest.raises(TrainingError, match=told):
        whole.fit(everything(200), round=0)


def test_a_last_batch_of_one_that_batch_norm_cannot_take_is_told():
    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    with pytest.raises(TrainingError, match=r"step 3: .*BatchNorm1d.* the last batch has one: set drop_last"):
        trainer(data=reader(97), model=net, batch_size=32).fit(everything(97), round=0)
