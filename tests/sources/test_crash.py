"""Importing and following, killed at any instant: every committed row is there once, and going on brings the rest."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modyn.datasets import Dataset
from modyn.errors import NotFound
from modyn.sources import Feed, add
from modyn.sources.csv import Csv
from modyn.workspace import Workspace

NUM_FILES, NUM_ROWS = 4, 4000
WRITERS = """
import os, sys
import fsspec.implementations.local, pandas
import modyn.sources.csv
from modyn.datasets import Dataset
from modyn.sources import Feed, add, gathering, lines
from modyn.sources.csv import Csv
from modyn.workspace import Workspace
gathering.STRETCH = 200
gathering.BATCH = lines.BLOCK = modyn.sources.csv.FIRST_BLOCK = modyn.sources.csv.BLOCK = 800
root, folder = sys.argv[1:]
print("ready", flush=True)
for line in sys.stdin:
    writer = os.fork()
    if writer:
        print(writer, flush=True)
        os.waitpid(writer, 0)
        print("ended", flush=True)
        continue
    dataset = Dataset.open(Workspace(root), "d")
    if line.strip() == "import":
        add(dataset, Csv(path=folder, settle="0s", label="y"))
    else:
        for _ in Feed(dataset).follow(interval_s=0.01):
            pass
    os._exit(0)
"""
"""Imports everything once, then forks a writer for each line that comes, as starting Python takes longer than most imports."""


class Doomed:
    """A process whose writers are killed."""

    def __init__(self, root: Path, folder: Path) -> None:
        command = [sys.executable, "-c", WRITERS, str(root), str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        self.writer = int(self.read())

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it was done before
            os.kill(self.writer, signal.SIGKILL)
        assert self.read() == "ended"


@pytest.fixture
def doomed(workspace: Workspace, tmp_path: Path) -> Iterator[list[Doomed]]:
    found = [Doomed(workspace.root, tmp_path / "data") for _ in range(2)]
    yield found
    for one in found:
        one.process.communicate()


def line_of(number: int) -> str:
    return f"{number},{number % 3 if number % 50 else 'bad'}\n"


def write_files(folder: Path) -> list[int]:
    folder.mkdir()
    for number in range(NUM_FILES):
        rows = range(number * NUM_ROWS, (number + 1) * NUM_ROWS)
        (folder / f"{number}.csv").write_text("x,y\n" + "".join(map(line_of, rows)))
        os.utime(folder / f"{number}.csv", (1, 1))
    return [i for i in range(NUM_FILES * NUM_ROWS) if i % 50]


def values(dataset: Dataset) -> list[int]:
    return dataset.reader().read(dataset.samples().keys)["x"].tolist() if dataset.num_samples else []


@pytest.mark.slow
@pytest.mark.parametrize("writers", [1, 2])
def test_an_import_killed_at_fifty_instants_loses_and_doubles_nothing(
    workspace: Workspace, tmp_path: Path, doomed: list[Doomed], writers: int
) -> None:
    expected = write_files(tmp_path / "data")
    rng = random.Random(writers)
    kills = half_way = 0
    whole_s = _seconds_of_an_import(workspace, doomed[0])
    while kills < 50:
        dataset = Dataset.create(workspace, "d")
        for _ in range(rng.randint(1, 5)):
            for one in doomed[:writers]:
                one.start("import")
            time.sleep(rng.random() * whole_s * writers)
            for one in doomed[:writers]:
                one.kill()
            kills += 1
            taken = values(Dataset.open(workspace, "d"))
            half_way += 0 < len(taken) < len(expected)
            assert len(set(taken)) == len(taken), f"a row is there twice after {kills} kills"
            assert set(taken) <= set(expected)
        add(dataset, Csv(path=str(tmp_path / "data"), settle="0s", label="y"))
        assert sorted(values(dataset)) == expected
        assert Feed(dataset).poll().samples == 0
        assert dataset.verify() == []
        Dataset.remove(workspace, "d")
        with pytest.raises(NotFound):
            Dataset.open(workspace, "d")
    assert half_way >= 5, f"only {half_way} of {kills} kills came while some rows were in: too few to prove anything"


def _seconds_of_an_import(workspace: Workspace, one: "Doomed") -> float:
    """How long an import takes that is left alone, so that kills fall within it on a machine of any speed."""
    Dataset.create(workspace, "d")
    before = time.monotonic()
    one.start("import")
    assert one.read() == "ended"
    took = time.monotonic() - before
    Dataset.remove(workspace, "d")
    return took


@pytest.mark.slow
@pytest.mark.parametrize("writers", [1, 2])
def test_followers_killed_at_forty_instants_lose_and_double_nothing(
    workspace: Workspace, tmp_path: Path, doomed: list[Doomed], writers: int
) -> None:
    """While a file grows, another is rotated, and rows are deleted that must not come back."""
    (tmp_path / "data").mkdir()
    log = tmp_path / "data" / "log.csv"
    log.write_text("x,y\n" + line_of(1))
    rng = random.Random(writers)
    dataset = Dataset.create(workspace, "d")
    add(dataset, Csv(path=str(tmp_path / "data"), settle="0s", label="y"))
    written, deleted = [1], set[int]()
    for kill in range(40):
        for one in doomed[:writers]:
            one.start("follow")
        end = time.monotonic() + rng.random() * 0.8
        while time.monotonic() < end:
            rows = range(written[-1] + 1, written[-1] + rng.randint(2, 200))
            with log.open("a") as file:
                file.write("".join(map(line_of, rows)))
            written += rows
            if rng.random() < 0.2:
                log.rename(log.with_name(f"log.{written[-1]}.csv"))
                log.write_text("x,y\n")
            if rng.random() < 0.2:
                keys = dataset.keys()[-2:]
                deleted |= set(dataset.reader().read(keys)["x"].tolist())
                dataset.delete(keys)
            time.sleep(rng.random() * 0.02)
        for one in doomed[:writers]:
            one.kill()
        taken = values(dataset)
        assert len(set(taken)) == len(taken), f"a row is there twice after {kill + 1} kills"
        assert set(taken) <= set(written) - deleted
    Feed(dataset).poll()
    assert sorted(values(dataset)) == [i for i in written if i % 50 and i not in deleted]
    assert dataset.verify() == []
