"""Sources, their ledger and the quarantine in a PostgreSQL catalog."""

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from modyn.datasets import Dataset, catalog
from modyn.sources import Feed, add, ledger
from modyn.sources.csv import Csv
from modyn.sources.retrying import retry
from modyn.sources.times import now_us

pytestmark = pytest.mark.postgres


@pytest.fixture
def workspace(postgres_workspace):
    return postgres_workspace


def later():
    return now_us() + 3600 * 10**6


def test_files_are_taken_followed_renamed_deleted_and_retried(workspace, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text(
        "x,y,who\n1,u,ann\n2,v,bob\nbad,u,bob\n4,,cy\n" + "".join(f"{i},u,dan\n" for i in range(5, 20))
    )
    dataset = Dataset.create(workspace, "d")
    source = Csv(path=str(folder), label="y", id="who", changed="replace", vanished="delete")
    added = add(dataset, source, clock=later)
    assert (added.samples, added.quarantined) == (17, 2)
    assert dataset.delete(dataset.find_ids("who", ["ann"])) == 1
    with (folder / "a.csv").open("a") as file:
        file.write("20,w,e\n21,w,e\n")
    assert Feed(dataset, clock=later).poll().samples == 2
    (folder / "a.csv").rename(folder / "b.csv")
    (folder / "c.csv").write_text("x,y,who\n30,u,z\n")
    assert Feed(dataset, clock=later).poll().samples == 1
    assert str(retry(dataset, clock=later)).startswith("0 samples added, 2 still unusable")
    assert dataset.purge().tables == {"quarantine": 2}
    (folder / "b.csv").write_text("x,y,who\n9,u,ann\n2,v,bob\n3,v,bob\n")
    added = Feed(dataset, clock=later).poll()
    assert (added.samples, added.deleted) == (1, 17)
    (folder / "c.csv").unlink()
    assert Feed(dataset, clock=later).poll().deleted == 1
    assert dataset.reader().read(dataset.keys())["x"].tolist() == [2, 3]
    with workspace.transaction() as connection:
        assert len(ledger.keys_from(connection, "d", "b.csv")) == 20
        assert ledger.num_quarantined(connection, "d") == 2
    Dataset.remove(workspace, "d")
    with workspace.transaction() as connection:
        tables = (ledger.SOURCES, ledger.FILES, ledger.EXTENTS, ledger.QUARANTINE)
        assert [connection.execute(sa.select(sa.func.count()).select_from(t)).scalar() for t in tables] == [0] * 4


FOLLOWER = """
import sys
from modyn.datasets import Dataset
from modyn.sources import add
from modyn.sources.csv import Csv
from modyn.workspace import Workspace

add(Dataset.open(Workspace(sys.argv[1], catalog=sys.argv[2]), "d"), Csv(path=sys.argv[3], settle="0s"))
"""


@pytest.mark.slow
def test_processes_that_add_one_source_at_once_take_every_row_once(workspace, tmp_path):
    catalog.engine(workspace)
    dataset = Dataset.create(workspace, "d")
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(20):
        path = folder / f"{number:02}.csv"
        path.write_text("x\n" + "".join(f"{number * 100 + i}\n" for i in range(100)))
        os.utime(path, (1, 1))
    command = [sys.executable, "-c", FOLLOWER, str(workspace.root), workspace.catalog_url, str(folder)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert sorted(dataset.reader().read(dataset.keys())["x"].tolist()) == list(range(2000))
    with workspace.transaction() as connection:
        assert len(ledger.sources_of(connection, "d")) == 1
