"""The loader: what it gives, in which order, and what resuming and sharing change (nothing)."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.errors import BadSample, DataError
from modyn.training.blocks import Plan
from modyn.training.loader import Loader
from modyn.training.memory_reader import MemoryReader
from modyn.training.order import block_edges, sample_seeds
from modyn.training.parsing import Parser, ParserSpec
from modyn.training.recipe import Recipe
from modyn.types import Selection
from tests.training.toys import everything, identity, reader, same, trainer

PLANS = {
    "batch_size": st.integers(1, 40),
    "num": st.integers(1, 200),
    "drop_last": st.booleans(),
    "window": st.sampled_from([0, None, 7, 50]),
}


def loader(num, **options):
    columns = {"x": np.arange(num, dtype=np.float32)[:, None]}
    return Loader(
        MemoryReader(columns, labels=np.arange(num)), Recipe(Parser(identity)), **{"num_workers": 0, **options}
    )


def plan_of(batch_size, drop_last, window, **options):
    return Plan(batch_size=batch_size, drop_last=drop_last, shuffle_window=window, seed=5, **options)


def seen(batches):
    return [(b.epoch, b.step, b.keys.tolist()) for b in batches]


@settings(max_examples=60, deadline=None)
@given(**PLANS)
def test_an_epoch_has_every_sample_once_with_its_own_label_and_weight(batch_size, num, drop_last, window):
    keys = np.random.default_rng(0).permutation(num)
    weights = (keys / 7).astype(np.float32)
    plan = plan_of(batch_size, drop_last, window)
    batches = list(loader(num).batches(Selection(keys, weights), plan))
    if num:
        for batch in batches:
            assert torch.equal(batch.inputs[:, 0], torch.from_numpy(batch.keys).float())
            assert torch.equal(batch.labels, torch.from_numpy(batch.keys))
            assert torch.equal(batch.weights, torch.from_numpy((batch.keys / 7).astype(np.float32)))
    given_keys = np.concatenate([b.keys for b in batches]) if batches else np.array([])
    assert len(given_keys) == (num // batch_size * batch_size if drop_last else num)
    assert len(np.unique(given_keys)) == len(given_keys)
    assert all(len(b) == batch_size for b in batches[:-1])
    if window == 0:
        assert np.array_equal(given_keys, keys[: len(given_keys)])


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 60), **PLANS)
def test_beginning_at_a_batch_gives_what_would_have_come(batch_size, num, drop_last, window, start):
    selection = Selection(np.arange(num))
    whole = seen(loader(num).batches(selection, plan_of(batch_size, drop_last, window, end_epoch=2)))
    rest = plan_of(batch_size, drop_last, window, end_epoch=2, first_step=start)
    expected = [entry for entry in whole if entry[:2] >= (0, start)]
    assert seen(loader(num).batches(selection, rest)) == expected


@settings(max_examples=60, deadline=None)
@given(num_ranks=st.integers(1, 5), **PLANS)
def test_devices_share_each_batch_and_know_its_whole_weight(batch_size, num, drop_last, window, num_ranks):
    weights = np.random.default_rng(1).random(num).astype(np.float32)
    selection = Selection(np.arange(num), weights)
    whole = list(loader(num).batches(selection, plan_of(batch_size, drop_last, window)))
    shares = [
        list(loader(num).batches(selection, plan_of(batch_size, drop_last, window, rank=r, num_ranks=num_ranks)))
        for r in range(num_ranks)
    ]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert np.array_equal(np.concatenate([part.keys for part in parts]), batch.keys)
        if num_ranks > 1:
            total = float(weights[batch.keys].sum())
            assert [part.total_weight for part in parts] == pytest.approx([total] * num_ranks, rel=1e-5)


def test_a_device_whose_share_is_empty_gets_a_batch_of_no_rows():
    made = loader(1)
    made.recipe = Recipe(Parser(lambda sample: torch.from_numpy(sample["x"]), per_sample=True))
    (batch,) = made.batches(Selection(np.arange(1)), plan_of(4, False, 0, rank=0, num_ranks=2))
    assert batch.inputs.shape == (0, 1)
    assert batch.total_weight == 1.0


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_where_samples_are_prepared_changes_nothing(workers):
    made = loader(999, num_workers=workers)
    plan = plan_of(16, False, None, end_epoch=2)
    assert seen(made.batches(Selection(np.arange(999)), plan)) == seen(
        loader(999).batches(Selection(np.arange(999)), plan)
    )
    made.close()


def test_blocks_grow_from_one_batch_so_that_training_starts_at_once():
    assert block_edges(1000, 10, max_batches=16) == [0, 10, 30, 70, 150, 310, 470, 630, 790, 950, 1000]


def test_a_loader_that_is_closed_early_stops_its_thread():
    import threading

    batches = loader(5000, num_workers=None).batches(Selection(np.arange(5000)), plan_of(1, False, None))
    next(batches)
    assert any(thread.name == "modyn-loader" for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name == "modyn-loader" for thread in threading.enumerate())


def test_seeds_of_samples_differ_and_do_not_depend_on_their_company():
    keys = np.arange(100_000)
    seeds = sample_seeds(3, 1, 2, keys)
    assert len(np.unique(seeds)) == len(keys)
    assert seeds.min() >= 0
    assert np.array_equal(seeds[50:60], sample_seeds(3, 1, 2, keys[50:60]))
    assert not np.array_equal(seeds, sample_seeds(3, 1, 3, keys))


def test_label_transforms_must_keep_the_rows():
    made = loader(10, label_transform=lambda labels: labels[:3])
    with pytest.raises(DataError, match=r"label_transform gave shape \[3\] for 10 labels"):
        next(made.batches(Selection(np.arange(10)), plan_of(10, False, 0)))


def test_payloads_of_any_length_are_parsed_by_either_kind_of_parser():
    payload = np.empty(6, dtype=object)
    payload[:] = [memoryview(bytes([i] * (i + 1))) for i in range(6)]
    text = np.array(["a", "bb", "ccc", "d", "e", "f"], dtype=object)
    reader = MemoryReader({"payload": payload, "text": text}, labels=np.arange(6))

    def per_batch(columns):
        return np.array(
            [[len(p), len(t)] for p, t in zip(columns["payload"], columns["text"], strict=True)], np.float32
        )

    def per_sample(sample):
        return torch.tensor([len(sample["payload"]), len(sample["text"])], dtype=torch.float32)

    for parser in (Parser(per_batch), Parser(per_sample, per_sample=True)):
        made = Loader(reader, Recipe(parser), num_workers=0)
        (batch,) = made.batches(Selection(np.arange(6)), plan_of(6, False, 0))
        assert batch.inputs.tolist() == [[1, 1], [2, 2], [3, 3], [4, 1], [5, 1], [6, 1]]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "name one function"),
        ({"per_batch": "a:b", "per_sample": "a:b"}, "name one function"),
        ("features", "must be 'package.module:name' or './file.py:name'"),
    ],
)
def test_a_parser_is_named_in_one_way(document, told):
    with pytest.raises(ValueError, match=told):
        ParserSpec.model_validate(document)


def test_a_parser_spec_is_written_back_as_it_was_given():
    short = ParserSpec.model_validate(f"{__name__}:identity")
    assert short.model_dump(mode="json") == f"{__name__}:identity"
    parser = pickle.loads(pickle.dumps(short.build()))
    assert parser({"x": np.ones((2, 1), np.float32)}, np.arange(2)).shape == (2, 1)
    one = {"per_sample": f"{__name__}:identity", "options": {"a": 1}}
    assert ParserSpec.model_validate(one).model_dump(mode="json") == one


def test_a_failing_sample_is_found_in_a_large_block_in_few_calls():
    calls = []

    def picky(columns):
        calls.append(len(columns["x"]))
        if (columns["x"] == 7777).any():
            raise ValueError("no good")
        return columns["x"]

    columns = {"x": np.arange(10_000, dtype=np.float32)}
    with pytest.raises(BadSample, match="sample 7777: "):
        Parser(picky)(columns, np.arange(10_000))
    assert len(calls) < 35


def test_labels_that_are_given_anew_between_rounds_are_those_trained_on():
    labels = np.arange(200) % 2
    fit = trainer(data=MemoryReader(reader(200).columns, labels=labels), workers=0)
    before = fit.fit(everything(200), round=0)
    chosen = everything(200)
    fit.fit(chosen, round=0)
    labels[:] = 1 - labels
    assert not same(fit.fit(chosen, round=0).weights, before.weights)


@pytest.mark.parametrize("workers", [0, None])
def test_wide_labels_are_read_with_their_block(workers):
    class Watched(MemoryReader):
        most = 0

        def labels(self, keys):
            self.most = max(self.most, len(keys))
            return super().labels(keys)

    num = 2_000
    wide = np.arange(num)[:, None] + np.arange(40, dtype=np.float32)
    data = Watched({"x": np.arange(num, dtype=np.float32)[:, None]}, labels=wide)
    made = Loader(data, Recipe(Parser(identity)), num_workers=workers)
    made._max_batches = lambda *_: 4
    keys = np.random.default_rng(0).permutation(num)
    for batch in made.batches(Selection(keys), plan_of(16, False, None, end_epoch=2)):
        assert np.array_equal(batch.labels.numpy(), wide[batch.keys])
    assert data.most <= 64


def test_arrays_of_the_other_byte_order_become_tensors():
    """As a parser makes them of a file's bytes, and a label transform of a table's."""
    data = reader(20)
    recipe = Recipe(Parser(lambda columns: columns["x"].astype(">f4")))
    loader = Loader(data, recipe, num_workers=0, label_transform=lambda labels: (labels * 2).astype(">i8"))
    for batch in loader.batches(everything(20), Plan(batch_size=7)):
        assert np.array_equal(batch.inputs.numpy(), data.read(batch.keys)["x"].astype(np.float32))
        assert np.array_equal(batch.labels.numpy(), data.labels(batch.keys) * 2)
