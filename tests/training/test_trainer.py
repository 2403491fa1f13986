"""The trainer: what a round gives, and what it says when it cannot."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from modyn.errors import BadSample, ConfigError, DataError, TrainingError
from modyn.training.memory_reader import MemoryReader
from modyn.types import UNKNOWN_LABEL, Selection
from tests.training.toys import Journal, everything, identity, mlp, one, reader, same, trainer


def test_a_model_learns_and_predicts_probabilities_in_the_order_of_the_keys():
    fit = trainer(epochs=20)
    fitted = fit.fit(everything(), round=0)
    keys = np.array([5, 900, 17])
    probabilities = fit.predict(fitted.weights, keys)
    labels = reader().labels(np.arange(1000))
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    accuracy = (fit.predict(fitted.weights, np.arange(1000)).argmax(1) == labels).mean()
    assert accuracy > 0.93
    np.testing.assert_array_equal(probabilities.argmax(1), fit.predict(fitted.weights, keys[::-1]).argmax(1)[::-1])


def test_the_same_seed_gives_the_same_bytes_and_another_round_other_ones():
    a, b = trainer().fit(everything(), round=0), trainer().fit(everything(), round=0)
    assert same(a.weights, b.weights)
    assert not same(a.weights, trainer().fit(everything(), round=1).weights)
    assert not same(a.weights, trainer(seed=4).fit(everything(), round=0).weights)


def test_training_leaves_the_global_generators_as_they_were():
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    trainer(model=mlp(dropout=0.3)).fit(everything(), round=0)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_what_happened_before_in_the_process_does_not_change_the_weights():
    first = trainer(model=mlp(dropout=0.3)).fit(everything(), round=0)
    torch.rand(1000)
    assert same(first.weights, trainer(model=mlp(dropout=0.3)).fit(everything(), round=0).weights)


@pytest.mark.parametrize("workers", [None, 0])
def test_the_loader_s_place_does_not_change_the_weights(workers):
    assert same(
        trainer(workers=workers).fit(everything(), round=2).weights, trainer().fit(everything(), round=2).weights
    )


def test_training_goes_on_from_given_weights():
    fit = trainer()
    first = fit.fit(everything(), round=0)
    second = fit.fit(everything(), round=1, start=first.weights)
    assert second.loss < first.loss


def test_weights_of_another_model_are_refused_by_name_and_shape():
    other = trainer(model=mlp(hidden=[7])).fit(everything(), round=0)
    with pytest.raises(TrainingError, match=r"does not fit the model.*0\.weight is \[7, 8\], the model has \[16, 8\]"):
        trainer().fit(everything(), round=1, start=other.weights)


def test_the_weighted_loss_is_the_weighted_mean_so_weight_two_equals_the_sample_twice():
    data = reader(64)
    doubled = np.concatenate([np.arange(64), np.arange(32)])
    options = {"data": data, "shuffle": False, "optimizer": {"sgd": {"lr": 0.1}}}
    weighted = trainer(batch_size=64, **options).fit(everything(64, [2] * 32 + [1] * 32), round=0)
    repeated = trainer(batch_size=96, **options).fit(Selection(doubled), round=0)
    for name, value in weighted.weights.items():
        torch.testing.assert_close(value, repeated.weights[name])


def test_samples_of_weight_zero_teach_nothing():
    data = reader(64)
    start = trainer(data=data).new_model(0).state_dict()
    fitted = trainer(data=data, optimizer={"sgd": {"lr": 0.1}}).fit(everything(64, [0] * 64), round=0, start=start)
    assert same(fitted.weights, {k: v.cpu() for k, v in start.items()})


def test_each_epoch_is_logged_with_its_loss_and_where_the_time_went():
    journal = Journal()
    fitted = trainer(log=journal, epochs=3).fit(everything(), round=4)
    assert [(kind, f["round"], f["epoch"], f["num_samples"]) for kind, f in journal.events] == [
        ("epoch", 4, 0, 1000),
        ("epoch", 4, 1, 1000),
        ("epoch", 4, 2, 1000),
    ]
    last = journal.events[-1][1]
    assert set(last["seconds"]) == {"wait", "move", "forward", "backward", "step"}
    assert last["loss"] == fitted.loss
    assert fitted.num_steps == 3 * 32
    assert fitted.first_step_s > 0


def test_a_loss_that_is_no_number_stops_the_round_and_says_where():
    data = reader()
    data.columns["x"][700] = np.nan
    with pytest.raises(TrainingError, match=r"round 3, epoch 0, step 21: the loss is nan"):
        trainer(data=data, shuffle=False).fit(everything(), round=3)


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_that_runs_out_is_told_with_what_to_do(raised, tmp_path):
    class Greedy(nn.Linear):
        greedy = True

        def forward(self, x):
            if self.greedy and len(x) == 8:
                raise raised
            return super().forward(x)

    options = {"checkpoint": {"steps": 1}, "state_dir": tmp_path, "shuffle": False}
    told = r"round 1, epoch 0, step 31: out of memory for float32\[8, 8\]: make batch_size smaller \(accumulate"
    with pytest.raises(TrainingError, match=told):
        trainer(model=lambda: Greedy(8, 2), **options).fit(everything(), round=1)
    Greedy.greedy = False
    resumed = trainer(model=lambda: Greedy(8, 2), **options).fit(everything(), round=1)
    assert same(resumed.weights, trainer(model=lambda: Greedy(8, 2), shuffle=False).fit(everything(), round=1).weights)


def test_memory_that_runs_out_before_the_first_step_is_told_too():
    def too_large():
        torch.empty(10**15)

    with pytest.raises(
        TrainingError, match=r"^round 1: out of memory for the model, or what is kept beside it\. .*allocate"
    ):
        trainer(model=too_large).fit(everything(), round=1)


def test_a_parser_that_raises_names_the_key_and_the_line():
    def picky(columns):
        if (columns["x"][:, 0] == 99).any():
            raise ValueError("no good")
        return columns["x"]

    data = reader()
    data.columns["x"][431, 0] = 99
    with pytest.raises(
        BadSample, match=r"sample 431: parser .*picky raised ValueError: no good \(test_trainer.py, line"
    ):
        trainer(data=data, parser=picky).fit(everything(), round=0)


def test_a_parser_that_loses_a_row_names_the_key():
    data = reader()
    data.columns["x"][431, 0] = 99
    with pytest.raises(BadSample, match=r"sample 431: parser .* gave a tensor of shape \[0, 8\] for 1 sample:"):
        trainer(data=data, parser=lambda c: c["x"][c["x"][:, 0] != 99]).fit(everything(), round=0)


def test_a_parser_that_fails_only_on_many_rows_is_reported_with_the_stretch():
    def small(columns):
        assert len(columns["x"]) < 20, "too many"
        return columns["x"]

    with pytest.raises(DataError, match=r"samples, among them .* raised AssertionError: too many"):
        trainer(parser=small).fit(everything(), round=0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda _: "text", "gave a str; a tensor"),
        (lambda c: c["x"].astype(str), "gave an array of <U"),
        (lambda c: c["x"][0, 0], r"gave a tensor of shape \[\] for"),
    ],
)
def test_a_parser_that_gives_no_rows_of_numbers_is_refused(given, told):
    with pytest.raises(DataError, match=told):
        trainer(parser=given).fit(everything(), round=0)


def test_a_per_sample_parser_with_one_odd_shape_names_its_key():
    data = MemoryReader({"x": np.arange(10, dtype=np.float32)}, labels=np.zeros(10, dtype=np.int64))

    def odd(sample):
        return torch.zeros(8 if sample["x"] != 6 else 9)

    with pytest.raises(BadSample, match=r"sample 6: parser .*odd gave float32\[9\], but float32\[8\] for sample 0"):
        trainer(data=data, parser=odd, per_sample=True, shuffle=False, workers=0).fit(everything(10), round=0)


def test_a_per_sample_parser_gives_what_a_batch_parser_gives():
    per_sample = trainer(parser=one, per_sample=True, workers=0).fit(everything(), round=0)
    assert same(per_sample.weights, trainer().fit(everything(), round=0).weights)


def test_the_wrong_number_of_features_is_told_in_words():
    with pytest.raises(TrainingError, match="the parser gives 7 features, mlp expects 8"):
        trainer(parser=lambda c: c["x"][:, :7]).fit(everything(), round=0)


def test_the_wrong_type_is_told_in_words():
    with pytest.raises(TrainingError, match=r"the parser gives float64 to layer '0'.*computes in float32"):
        trainer(parser=lambda c: c["x"].astype(np.float64)).fit(everything(), round=0)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.full(1000, 2), "label 2 is not a class of the model, which has 2 outputs: labels go from 0 to 1"),
        (np.full(1000, -1), "label -1 is not a class"),
        (np.full(1000, 0.5, dtype=np.float32), "learns classes, but the labels are float32"),
        (np.array(["a"] * 1000), "labels are <U1; a model learns from numbers"),
        (None, "the dataset has no labels"),
        (np.full(1000, 2, np.uint16), "label 2 is not a class"),
        (np.full(1000, UNKNOWN_LABEL), r"sample \d+: it has no label yet"),
    ],
)
def test_labels_that_the_loss_cannot_use_are_refused(labels, told):
    data = MemoryReader({"x": reader().columns["x"]}, labels=labels)
    with pytest.raises((TrainingError, DataError), match=told):
        trainer(data=data).fit(everything(), round=0)


def test_one_of_a_thing_is_told_in_the_singular():
    with pytest.raises(TrainingError, match="which has 1 output: labels go from 0 to 0"):
        trainer(model=mlp(outputs=1)).fit(everything(), round=0)
    with pytest.raises(TrainingError, match="nothing to train on: 1 sample is selected, and drop_last"):
        trainer(drop_last=True).fit(everything(1), round=0)


def test_a_bad_label_in_a_later_block_is_refused_too():
    labels = reader().labels(np.arange(1000)).copy()
    labels[-1] = 5
    data = MemoryReader({"x": reader().columns["x"]}, labels=labels)
    with pytest.raises(TrainingError, match=r"sample 999: label 5 is not a class of the model"):
        trainer(data=data, shuffle=False).fit(everything(), round=0)


@pytest.mark.parametrize(
    ("loss", "label", "told"),
    [
        ("mse", np.nan, "sample 700: its label is not a number"),
        ("bce-with-logits", 2.0, "sample 700: label 2 is not 0, 1 or between, as loss bce-with-logits needs it"),
        ("bce-with-logits", np.nan, "sample 700: label nan is not 0, 1"),
        ("bce-with-logits", UNKNOWN_LABEL, "sample 700: it has no label yet"),
        ("mse", UNKNOWN_LABEL, "sample 700: it has no label yet"),
    ],
)
def test_a_value_that_the_loss_cannot_use_is_named(loss, label, told):
    labels = reader().labels(np.arange(1000)).astype(np.int64 if label == UNKNOWN_LABEL else np.float32)
    labels[700] = label
    data = MemoryReader(reader().columns, labels=labels)
    with pytest.raises(TrainingError, match=told):
        trainer(data=data, model=mlp(outputs=1), loss=loss, shuffle=False).fit(everything(), round=0)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_none_is_named(weight):
    weights = np.ones(1000)
    weights[3] = weight
    with pytest.raises(TrainingError, match=r"sample 3: its weight is .*; weights are finite and not below 0"):
        trainer().fit(everything(1000, weights), round=0)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, bool])
def test_classes_may_be_of_any_whole_type(kind):
    labels = reader().labels(np.arange(1000)).astype(kind)
    fitted = trainer(data=MemoryReader(reader().columns, labels=labels), epochs=2).fit(everything(), round=0)
    assert same(fitted.weights, trainer(epochs=2).fit(everything(), round=0).weights)


def test_nothing_selected_is_a_clear_error():
    with pytest.raises(TrainingError, match="round 1: nothing to train on: 0 samples are selected"):
        trainer().fit(everything(0), round=1)
    with pytest.raises(TrainingError, match="drop_last leaves out batches of less than 32"):
        trainer(drop_last=True).fit(everything(31), round=1)


def test_predicting_nothing_gives_nothing():
    assert trainer().predict({}, np.array([], dtype=np.int64)).shape == (0, 0)


def test_check_says_what_fits_and_raises_what_does_not():
    told = trainer().check(np.arange(100))
    assert "parser gives float32[32, 8], mlp (178 parameters, on cpu) gives float32[32, 2]" in told
    with pytest.raises(TrainingError, match="the parser gives 7 features, mlp expects 8"):
        trainer(parser=lambda c: c["x"][:, :7]).check(np.arange(100))
    with pytest.raises(ConfigError, match=r"training.optimizer.*torch has no optimizer named 'adamx'.*adamax"):
        trainer(optimizer="adamx").check(np.arange(100))


def test_a_device_that_is_not_there_is_told():
    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    with pytest.raises(ConfigError, match="there is no cuda here"):
        trainer(device="cuda")


def test_a_model_may_take_several_inputs_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, first, second):
            return self.layer(first + second)

    fitted = trainer(model=Two, parser=lambda c: {"first": c["x"], "second": c["x"]}).fit(everything(), round=0)
    assert fitted.num_steps == 32
    with pytest.raises(TrainingError, match="which Two does not take"):
        trainer(model=Two, parser=lambda c: {"first": c["x"], "third": c["x"]}).fit(everything(), round=0)


def test_regression_predicts_values_as_columns():
    data = reader()
    data = MemoryReader({"x": data.columns["x"]}, labels=data.columns["x"][:, 0] * 2)
    fit = trainer(data=data, model=mlp(outputs=1), loss="mse", epochs=20)
    fitted = fit.fit(everything(), round=0)
    predicted = fit.predict(fitted.weights, np.arange(1000))
    assert fit.task == "regression"
    assert predicted.shape == (1000, 1)
    assert np.abs(predicted[:, 0] - data.columns["x"][:, 0] * 2).mean() < 0.5


def test_one_logit_predicts_both_classes():
    fit = trainer(model=mlp(outputs=1), loss="bce-with-logits", epochs=5)
    fitted = fit.fit(everything(), round=0)
    predicted = fit.predict(fitted.weights, np.arange(1000))
    assert predicted.shape == (1000, 2)
    assert (predicted.argmax(1) == reader().labels(np.arange(1000))).mean() > 0.8


def test_identity_is_what_the_reader_gives():
    assert identity({"x": np.ones(3)}).sum() == 3


@pytest.mark.parametrize(
    ("options", "once", "seen"),
    [
        ({"epochs": 3}, 1000, 3000),
        ({"samples": 96}, 96, 96),
        ({"samples": 1500}, 1000, 1480),
        ({"epochs": 2, "early_stopping": {"share": 0.2, "patience": 5}}, 800, 1600),
        ({"epochs": 2, "drop_last": True, "batch_size": 300}, 1000, 1800),
    ],
)
def test_what_was_trained_on_is_counted_once_and_as_often_as_it_was_seen(options, once, seen):
    fitted = trainer(**options).fit(everything(), round=0)
    assert (fitted.num_samples, fitted.num_seen) == (once, seen)


def test_fp16_on_a_cpu_is_said_to_be_slow():
    journal = Journal()
    slow = trainer(precision="fp16", device="cpu", log=journal)
    assert "warning: training.precision: fp16 on a CPU" in slow.check(np.arange(64))
    slow.fit(everything(64), round=0)
    slow.fit(everything(64), round=1)
    assert [fields["message"][:30] for kind, fields in journal.events if kind == "warning"] == [
        "training.precision: fp16 on a "
    ]
    assert "fp16" not in trainer(precision="bf16", device="cpu").check(np.arange(64))
