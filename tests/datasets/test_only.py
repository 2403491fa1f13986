"""A reader that is told its keys looks them up once, and follows the dataset all the same."""

import pickle

import numpy as np
import pytest

from modyn.datasets import Dataset
from modyn.datasets.deletions import Deleted
from modyn.errors import NotFound
from modyn.workspace import Workspace


def made(tmp_path, *, sizes=(600, 600)):
    dataset = Dataset.create(Workspace(tmp_path), "d")
    for size in sizes:
        first = dataset.end_key
        columns = {"wide": np.arange(first, first + size)[:, None].repeat(8, axis=1)}
        dataset.append(columns, timestamps=np.arange(size), labels=np.arange(size) % 2)
    return dataset


@pytest.mark.parametrize("sizes", [(1200,), (600, 600)])
@pytest.mark.parametrize("number", [10, 500])
def test_a_sample_that_is_deleted_meanwhile_is_not_read(tmp_path, sizes, number):
    dataset = made(tmp_path, sizes=sizes)
    dataset.delete(np.arange(1000, 1200))
    keys = np.random.default_rng(0).permutation(1000)[:number]
    reader = dataset.reader().only(np.sort(keys))
    assert reader.read(keys)["wide"][:, 0].tolist() == keys.tolist()
    dataset.delete(keys[3:4])
    for read in (reader.read, reader.labels):
        with pytest.raises(NotFound, match=f"sample {keys[3]} .* is deleted"):
            read(keys)
    left = np.delete(keys, 3)
    assert reader.read(left)["wide"][:, 0].tolist() == left.tolist()


@pytest.mark.parametrize("bad", [-1, 1200, 2**62])
def test_a_key_that_was_never_given_is_refused_also_where_it_was_not_told(tmp_path, bad):
    reader = made(tmp_path).reader().only(np.arange(1200))
    with pytest.raises(NotFound, match=f"has no sample {bad}"):
        reader.read(np.array([5, bad]))


def test_purged_samples_are_not_read_either(tmp_path):
    dataset = made(tmp_path)
    reader = dataset.reader().only(np.arange(1200))
    dataset.delete([7])
    dataset.purge()
    with pytest.raises(NotFound, match="sample 7 "):
        reader.read(np.arange(20))


def test_another_process_looks_for_itself(tmp_path):
    dataset = made(tmp_path)
    dataset.delete([7])
    reader = pickle.loads(pickle.dumps(dataset.reader().only(np.array([8, 9]))))
    assert reader.read(np.array([9]))["wide"][0, 0] == 9
    with pytest.raises(NotFound):
        reader.read(np.array([7]))


def test_keys_are_looked_up_once_for_each_change(tmp_path, monkeypatch):
    dataset = made(tmp_path)
    dataset.delete([7])
    looked = []
    any_among = Deleted.any_among
    monkeypatch.setattr(Deleted, "any_among", lambda self, keys: looked.append(len(keys)) or any_among(self, keys))
    reader = dataset.reader().only(np.arange(100, 1200))
    for _ in range(5):
        reader.read(np.arange(100, 500))
    assert looked == [1100]
    dataset.delete([8])
    reader.read(np.arange(100, 500))
    assert looked.count(1100) == 2
