"""Keys grouped by shard, for few shards (compared) and for many (searched)."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modyn.datasets import Dataset
from modyn.datasets.ranks import group
from modyn.errors import NotFound


@given(st.lists(st.integers(0, 99), min_size=1, max_size=200), st.sampled_from([2, 5, 60]))
def test_each_group_holds_the_keys_of_its_shard_in_the_order_given(given_keys, num_shards):
    keys, firsts = np.array(given_keys), np.linspace(0, 90, num_shards).astype(np.int64)
    order, bounds = group(keys, firsts)
    grouped = keys if order is None else keys[order]
    assert np.array_equal(np.sort(grouped), np.sort(keys))
    assert bounds[-1] == len(keys)
    ends = np.append(firsts[1:], 100)
    for shard, (low, high) in enumerate(itertools.pairwise(bounds)):
        mine = grouped[low:high]
        assert ((mine >= firsts[shard]) & (mine < ends[shard])).all()
        if order is not None:
            assert (np.diff(order[low:high]) > 0).all()


@pytest.mark.parametrize("rows_each", [100, 10])
def test_keys_in_any_order_over_any_number_of_shards_are_read_in_that_order(workspace, rows_each):
    dataset = Dataset.create(workspace, "numbers")
    with dataset.write(shard_bytes=24 * rows_each) as writer:
        writer.append({"x": np.arange(1000)}, timestamps=np.arange(1000), labels=None)
    reader, keys = dataset.reader(), np.random.default_rng(0).integers(0, 1000, 5000)
    for asked in (keys, np.sort(keys), keys[:1]):
        assert np.array_equal(reader.read(asked)["x"], asked)
    with pytest.raises(NotFound, match="1000"):
        reader.read(np.append(keys, 1000))
