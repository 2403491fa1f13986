"""An import that is killed at any instant: every committed row is there once, and going on brings the rest."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modyn.datasets import Dataset
from modyn.errors import NotFound
from modyn.sources import Feed, add
from modyn.sources.csv import Csv
from modyn.workspace import Workspace

NUM_FILES, NUM_ROWS = 4, 4000
IMPORT = """
import sys
from modyn.datasets import Dataset
from modyn.sources import add, gathering, lines
from modyn.sources.csv import Csv
from modyn.workspace import Workspace
gathering.BATCH = lines.BLOCK = 800
import modyn.sources.csv
modyn.sources.csv.FIRST_BLOCK = modyn.sources.csv.BLOCK = 800
dataset = Dataset.open(Workspace(sys.argv[1]), "d")
print("ready", flush=True)
add(dataset, Csv(path=sys.argv[2], settle="0s", label="y"))
"""


def write_files(folder: Path) -> list[int]:
    folder.mkdir()
    for number in range(NUM_FILES):
        rows = range(number * NUM_ROWS, (number + 1) * NUM_ROWS)
        (folder / f"{number}.csv").write_text("x,y\n" + "".join(f"{i},{i % 3 if i % 50 else 'bad'}\n" for i in rows))
        os.utime(folder / f"{number}.csv", (1, 1))
    return [i for i in range(NUM_FILES * NUM_ROWS) if i % 50]


def values(dataset: Dataset) -> list[int]:
    return dataset.reader().read(dataset.samples().keys)["x"].tolist() if dataset.num_samples else []


def start(workspace: Workspace, folder: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", IMPORT, str(workspace.root), str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def kill_at_random(workspace: Workspace, folder: Path, rng: random.Random, *, writers: int = 1) -> None:
    processes = [start(workspace, folder) for _ in range(writers)]
    time.sleep(rng.random() * 0.8)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("writers", [1, 2])
def test_a_killed_import_loses_and_doubles_nothing(workspace: Workspace, tmp_path: Path, writers: int) -> None:
    expected = write_files(tmp_path / "data")
    rng = random.Random(writers)
    for attempt in range(8):
        name = "d"
        dataset = Dataset.create(workspace, name)
        for _ in range(rng.randint(1, 3)):
            kill_at_random(workspace, tmp_path / "data", rng, writers=writers)
            taken = values(Dataset.open(workspace, name))
            assert len(set(taken)) == len(taken), f"attempt {attempt}: a row is there twice"
            assert set(taken) <= set(expected)
        add(dataset, Csv(path=str(tmp_path / "data"), settle="0s", label="y"))
        assert sorted(values(dataset)) == expected
        assert Feed(dataset).poll().samples == 0
        Dataset.remove(workspace, name)
        with pytest.raises(NotFound):
            Dataset.open(workspace, name)
