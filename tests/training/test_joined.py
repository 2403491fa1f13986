"""Keys and labels put into order together: the same bits as one after the other, whatever they are."""

import numpy as np
import pytest

from modyn.datasets import Dataset
from modyn.training.blocks import Plan
from modyn.training.joined import Joined
from modyn.training.loader import Loader
from modyn.training.parsing import Parser
from modyn.training.recipe import Recipe
from modyn.types import Selection

SMALL_KEYS = np.array([5, 3, 2**31 - 1, 0, 7])
ODD_BITS = np.array([0x7FF4000000000001, -1, 0, 1 << 62, 0x7FF8DEADBEEF0000], np.int64)
LABELS = {
    "bool": np.array([True, False, True, True, False]),
    "uint8": np.array([0, 255, 3, 4, 5], np.uint8),
    "int32": np.array([-(2**31), 2**31 - 1, 0, 1, 2], np.int32),
    "uint32": np.array([2**32 - 1, 0, 1, 2, 3], np.uint32),
    "int64": np.array([0, 1, -1, 2, 3]),
    "large int64": np.array([0, 1, -(2**40), 2, 3]),
    "large uint64": np.array([0, 2**64 - 1, 1, 2, 3], np.uint64),
    "float16": np.array([0.5, np.nan, -0.0, np.inf, 1], np.float16),
    "float32 with odd NaNs": (ODD_BITS >> 32).astype(np.int32).view(np.float32),
    "float64 with odd NaNs": ODD_BITS.view(np.float64),
    "of the other byte order": np.array([0, 1, 2, 3, -4], ">i4"),
    "several": np.arange(15, dtype=np.float32).reshape(5, 3),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("offset", [0, 2**40, -(2**20)])
@pytest.mark.parametrize("rows", [np.array([4, 0, 0, 2, 1, 3], np.int32), np.empty(0, np.int64)], ids=["some", "none"])
def test_keys_and_labels_of_rows_are_bit_for_bit_those_taken_one_by_one(labels, offset, rows):
    joined = Joined(SMALL_KEYS + offset, labels)
    keys, found = joined.take(rows)
    assert keys.dtype == np.int64
    assert np.array_equal(keys, (SMALL_KEYS + offset)[rows])
    assert found.dtype == labels.dtype
    assert found.shape == labels[rows].shape
    assert found.tobytes() == labels[rows].tobytes()


def test_of_nothing_there_is_nothing():
    keys, labels = Joined(np.empty(0, np.int64), np.empty(0, np.float32)).take(np.empty(0, np.int32))
    assert (len(keys), labels.dtype, len(labels)) == (0, np.float32, 0)


@pytest.mark.parametrize("workers", [0, None])
def test_batches_of_every_epoch_carry_the_labels_and_weights_of_their_keys(workspace, workers, monkeypatch):
    for name, rows in (("FIRST_ROWS", 64), ("STRETCH_ROWS", 256)):
        monkeypatch.setattr(f"modyn.training.blocks.{name}", rows)
    monkeypatch.setattr("modyn.training.loader.BLOCK_ROWS", 64)
    dataset = Dataset.create(workspace, "numbers")
    num = 2_000
    dataset.append({"x": np.arange(num)}, timestamps=np.arange(num), labels=np.arange(num) * 3)
    keys = np.random.default_rng(0).permutation(num)[: num // 2].astype(np.int64)
    loader = Loader(dataset.reader(), Recipe(Parser(lambda columns: columns["x"])), num_workers=workers)
    plan = Plan(batch_size=16, seed=3, shuffle_window=None, end_epoch=3)
    seen = {0: [], 1: [], 2: []}
    for batch in loader.batches(Selection(keys, weights=keys / 7), plan):
        assert np.array_equal(batch.inputs.numpy(), batch.keys)
        assert np.array_equal(batch.labels.numpy(), batch.keys * 3)
        assert np.array_equal(batch.weights.numpy(), (batch.keys / 7).astype(np.float32))
        seen[batch.epoch].append(batch.keys)
    epochs = [np.concatenate(parts) for parts in seen.values()]
    assert all(np.array_equal(np.sort(epoch), np.sort(keys)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    for number, epoch in enumerate(epochs):
        assert np.array_equal(epoch, keys[plan.order(len(keys), number)])
