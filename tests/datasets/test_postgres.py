"""The catalog in PostgreSQL gives the same answers as in SQLite."""

import subprocess
import sys

import numpy as np
import pytest
import sqlalchemy as sa

from modyn.datasets import Dataset
from modyn.errors import AlreadyExists, NotFound
from modyn.types import Window

pytestmark = pytest.mark.postgres


@pytest.fixture
def workspace(postgres_workspace):
    return postgres_workspace


def test_a_dataset_lives_in_a_postgres_catalog(workspace):
    dataset = Dataset.create(workspace, "d")
    dataset.compacts_in_background = False
    for start in range(0, 100, 10):
        part = np.arange(start, start + 10)
        dataset.append({"x": part}, timestamps=part, labels=np.array(["a", "b"])[part % 2])
    assert dataset.delete([3, 4]) == 2
    assert dataset.delete([4]) == 0
    assert dataset.samples(Window(2, 6, by="time")).keys.tolist() == [2, 5]
    assert dataset.at(10).num_samples == 100
    assert dataset.label([3, 5], ["a", "a"]) == 1
    assert dataset.reader().labels(np.array([5])).tolist() == [0]
    assert dataset.label([5], ["b"]) == 1
    assert dataset.compact() == 10
    with workspace.transaction() as connection:
        connection.execute(sa.text("create table notes (dataset_id integer, sample_key bigint)"))
        connection.execute(sa.text("insert into notes values (:id, 3), (:id, 5)"), {"id": dataset.id})
    receipt = dataset.purge()
    assert (receipt.num_keys, dict(receipt.tables)) == (2, {"notes": 1})
    assert dataset.at(10).num_samples == 98
    assert dataset.reader().read(np.array([99, 0]))["x"].tolist() == [99, 0]
    assert dataset.label_counts() == {"a": 49, "b": 49}
    assert dataset.summary().growth[0].num_added == 100
    assert dataset.verify() == []
    with pytest.raises(AlreadyExists):
        Dataset.create(workspace, "d")
    Dataset.remove(workspace, "d")
    with pytest.raises(NotFound):
        Dataset.open(workspace, "d")


APPENDER = """
import sys
import numpy as np
from modyn.datasets import Dataset
from modyn.workspace import Workspace

dataset = Dataset.open(Workspace(sys.argv[1], catalog=sys.argv[2]), "d")
for turn in range(20):
    dataset.append({"who": np.full(5, int(sys.argv[3]))}, timestamps=np.full(5, turn))
    dataset.delete([dataset.end_key - 1])
"""


def test_two_processes_append_and_delete_at_once(workspace):
    dataset = Dataset.create(workspace, "d")
    command = [sys.executable, "-c", APPENDER, str(workspace.root), workspace.catalog_url]
    processes = [subprocess.Popen([*command, str(who)]) for who in (1, 2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert dataset.end_key == 200
    who = dataset.reader().read(dataset.keys())["who"]
    assert 160 <= len(who) < 200
    assert dataset.num_samples == len(who)
