"""Gathering over all shards at once gives what shard by shard gives, and is only done where it can be."""

import numpy as np
import pytest

from modyn.datasets import Dataset, direct
from modyn.errors import NotFound
from modyn.workspace import Workspace


def made(tmp_path, sizes=(400, 400, 300)):
    dataset = Dataset.create(Workspace(tmp_path), "d")
    rng = np.random.default_rng(0)
    for size in sizes:
        columns = {
            "wide": rng.normal(size=(size, 20)).astype(np.float32),
            "deep": rng.integers(0, 99, (size, 3, 4)),
            "narrow": rng.normal(size=size),
            "text": [f"sample {n}" for n in range(size)],
        }
        dataset.append(columns, timestamps=np.arange(size), labels=rng.integers(0, 2, size))
    return dataset


def by_shard(dataset, keys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(direct, "FEWEST_KEYS", 10**9)
        return dataset.reader().read(keys)


@pytest.mark.parametrize("sizes", [(400, 400, 300), (400, 300, 400), (400, 400, 900), (10, 1000)])
def test_all_shards_at_once_give_the_same_rows(tmp_path, monkeypatch, sizes):
    dataset = made(tmp_path, sizes)
    reader = dataset.reader()
    keys = np.random.default_rng(1).integers(0, sum(sizes), 500)
    got, expected = reader.read(keys), by_shard(dataset, keys, monkeypatch)
    assert set(reader._spans[1]) == {"wide", "deep"}
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)
        assert got[name].dtype == values.dtype
        assert got[name].flags.writeable


@pytest.mark.parametrize("bad", [-1, 1100, 2**62])
def test_a_key_that_was_never_given_is_refused(tmp_path, bad):
    keys = np.random.default_rng(1).permutation(1100)
    keys[700] = bad
    with pytest.raises(NotFound, match=f"has no sample {bad}"):
        made(tmp_path).reader().read(keys)


def test_the_last_samples_of_all_are_not_read_once_they_are_purged(tmp_path):
    dataset = made(tmp_path)
    keys = np.random.default_rng(1).permutation(1100)
    dataset.delete(np.arange(1000, 1100))
    dataset.purge()
    with pytest.raises(NotFound, match="is deleted"):
        dataset.reader().read(keys)
    assert len(dataset.reader().read(keys[keys < 1000])["wide"]) == 1000


def test_deleted_purged_and_compacted_samples_are_as_shard_by_shard(tmp_path, monkeypatch):
    dataset = made(tmp_path)
    reader, keys = dataset.reader(), np.random.default_rng(1).permutation(1100)
    before = reader.read(keys)["wide"]
    dataset.delete([450, 451])
    with pytest.raises(NotFound, match=r"sample 45[01] .*is deleted"):
        reader.read(keys)
    left = (keys != 450) & (keys != 451)
    for change in (dataset.summary, dataset.purge, dataset.compact):
        change()
        np.testing.assert_array_equal(reader.read(keys[left])["wide"], before[left])
        np.testing.assert_array_equal(by_shard(dataset, keys[left], monkeypatch)["wide"], before[left])


def test_an_earlier_version_ends_where_it_ended(tmp_path):
    dataset = made(tmp_path)
    early = dataset.at(2).reader()
    keys = np.random.default_rng(1).permutation(800)
    np.testing.assert_array_equal(early.read(keys)["deep"], dataset.reader().read(keys)["deep"])
    keys[3] = 800
    with pytest.raises(NotFound, match="has no sample 800; version 2 ends before 800"):
        early.read(keys)
