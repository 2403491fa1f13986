"""A process killed at any instant leaves either the old or the new version, readable, and nothing else once it is swept."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from modyn.datasets import Dataset

WRITER = """
import sys
import numpy as np
from modyn.datasets import Dataset
from modyn.workspace import Workspace

workspace, who, seed = Workspace(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
dataset = Dataset.open(workspace, "d")
dataset.compacts_in_background = False
rng = np.random.default_rng(seed)

def rows(n, turn):
    return {"who": np.full(n, who), "turn": np.full(n, turn), "payload": np.full((n, 64), turn % 251, np.uint8)}

print("ready", flush=True)
for turn in range(seed * 1000, seed * 1000 + 1000):
    action = rng.choice(["append", "import", "compact", "delete", "purge"], p=[0.4, 0.2, 0.15, 0.15, 0.1])
    n = int(rng.integers(1, 50))
    if action == "append":
        print("begin", turn, n, flush=True)
        dataset.append(rows(n, turn), timestamps=np.full(n, turn), labels=np.full(n, who))
        print("done", turn, n, flush=True)
    elif action == "import":
        print("begin", turn, n * 10, flush=True)
        with dataset.write(shard_bytes=2000) as writer:
            for _ in range(10):
                writer.append(rows(n, turn), timestamps=np.full(n, turn), labels=np.full(n, who))
        print("done", turn, n * 10, flush=True)
    elif action == "compact":
        dataset.compact(target_bytes=1 << 20)
    elif action == "purge":
        dataset.purge()
    else:
        mine = dataset.find([f"who == {who}"])
        doomed = rng.choice(mine, min(len(mine), 5), replace=False)
        print("deleting", *doomed.tolist(), flush=True)
        dataset.delete(doomed)
        print("deleted", *doomed.tolist(), flush=True)
"""


class Journal:
    """What a writing process said it did, read from its output as it comes."""

    def __init__(self, workspace, who, seed):
        self.who = who
        command = [sys.executable, "-c", WRITER, str(workspace.root), str(who), str(seed)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.lines = []
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.lines.append(line.split())

    def kill(self):
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        self.thread.join()
        self.process.stdout.close()

    def told(self, word):
        return {int(line[1]): int(line[2]) for line in self.lines if line[0] == word}

    def keys(self, word):
        return {int(key) for line in self.lines if line[0] == word for key in line[1:]}


def check(dataset, journals):
    """Every committed sample is there once and whole, no uncommitted one, and what was deleted is not."""
    samples, found = dataset.samples(), {}
    if len(samples):
        found = dataset.reader().read(samples.keys)
        np.testing.assert_array_equal(found["payload"], np.repeat(found["turn"][:, None] % 251, 64, axis=1))
        np.testing.assert_array_equal(samples.timestamps, found["turn"])
    assert dataset.num_samples == len(samples) == len(set(samples.keys.tolist()))
    ever = dataset.at(dataset.version)
    for journal in journals:
        begun, done = journal.told("begin"), journal.told("done")
        mine = found["who"] == journal.who if len(samples) else np.zeros(0, bool)
        turns, counts = np.unique(found["turn"][mine] if len(samples) else np.zeros(0, int), return_counts=True)
        there = dict(zip(turns.tolist(), counts.tolist(), strict=True))
        assert set(there) <= set(begun)
        assert all(count <= begun[turn] for turn, count in there.items())
        assert not journal.keys("deleted") & set(samples.keys.tolist())
        lost = sum(done.values()) - sum(there.get(turn, 0) for turn in done)
        assert len(journal.keys("deleted")) <= lost <= len(journal.keys("deleting"))
        for turn in set(begun) - set(done):  # killed in between: all of it or nothing, less what was deleted since
            assert there.get(turn, 0) in (0, begun[turn])
    assert ever.num_samples == dataset.num_samples
    assert dataset.verify() == []


def leftovers(dataset):
    known = {shard.file for shard in dataset._state.snapshot().shards}
    return {path.name for path in dataset.folder.glob("*.arrow")} - known


def create(workspace):
    """An empty dataset that has its columns."""
    dataset = Dataset.create(workspace, "d")
    rows = {"who": [0], "turn": [1], "payload": np.full((1, 64), 1, np.uint8)}
    dataset.delete(np.array(dataset.append(rows, timestamps=[1], labels=[0])))


def crash_and_check(workspace, writers, seed, rng):
    dataset = Dataset.open(workspace, "d")
    journals = [Journal(workspace, seed * 10 + i, seed * 10 + i) for i in range(writers)]
    timer = threading.Event()
    timer.wait(rng.uniform(0, 0.4))
    for journal in journals:
        journal.kill()
    check(Dataset.open(workspace, "d"), journals)
    check(dataset, journals)
    again = Dataset.open(workspace, "d")
    again.compacts_in_background = False
    again.delete(again.find([f"who in {', '.join(str(j.who) for j in journals)}"]))
    keys = again.append({"who": [0], "turn": [1], "payload": np.full((1, 64), 1, np.uint8)}, timestamps=[1], labels=[0])
    again.delete(np.array(keys))
    assert leftovers(again) == set()
    assert again.num_samples == 0


@pytest.mark.parametrize("writers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_writer_leaves_the_old_or_the_new_version(workspace, writers):
    create(workspace)
    rng = random.Random(writers)
    for seed in range(1, 4):
        crash_and_check(workspace, writers, seed, rng)


@pytest.mark.slow
@pytest.mark.parametrize("writers", [1, 2])
def test_a_hundred_kills_leave_the_old_or_the_new_version(workspace, writers):
    create(workspace)
    rng = random.Random(100 + writers)
    for seed in range(1, 101):
        crash_and_check(workspace, writers, seed, rng)


APPENDER = """
import sys
import numpy as np
from modyn.datasets import Dataset
from modyn.workspace import Workspace

dataset = Dataset.open(Workspace(sys.argv[1]), "d")
who = int(sys.argv[2])
for turn in range(15):
    n = 1 + turn
    keys = dataset.append({"who": np.full(n, who)}, timestamps=np.full(n, turn))
    print(who, keys.start, keys.stop, flush=True)
"""


def test_two_processes_append_at_once_and_every_key_is_given_once(workspace):
    dataset = Dataset.create(workspace, "d")
    command = [sys.executable, "-c", APPENDER, str(workspace.root)]
    processes = [subprocess.Popen([*command, str(who)], stdout=subprocess.PIPE, text=True) for who in (1, 2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    given = {}
    for line in "".join(outputs).splitlines():
        who, start, end = map(int, line.split())
        for key in range(start, end):
            assert key not in given
            given[key] = who
    assert dataset.num_samples == len(given) == 240
    assert dataset.reader().read(np.arange(240))["who"].tolist() == [given[key] for key in range(240)]
    assert dataset.version == 30


READER = """
import sys
import numpy as np
from modyn.datasets import Dataset
from modyn.errors import NotFound
from modyn.workspace import Workspace

dataset = Dataset.open(Workspace(sys.argv[1]), "d")
reader = dataset.reader()
print("ready", flush=True)
reads = 0
while dataset.end_key < 2000:
    keys = dataset.keys()
    try:
        assert reader.read(keys[::-1])["serial"].tolist() == keys[::-1].tolist()
    except NotFound:
        assert len(dataset.keys()) != len(keys) or True
    reads += 1
print(reads, flush=True)
"""


@pytest.mark.slow
def test_a_reader_in_another_process_is_never_disturbed_by_compaction_and_purge(workspace):
    dataset = Dataset.create(workspace, "d")
    dataset.append({"serial": np.arange(10)}, timestamps=np.arange(10))
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(workspace.root)], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "ready\n"
        for start in range(10, 2000, 10):
            dataset.append({"serial": np.arange(start, start + 10)}, timestamps=np.arange(10))
            dataset.delete([start + 3])
            if start % 100 == 0:
                dataset.purge()
                dataset.compact()
        assert int(reader.communicate()[0]) > 0
        assert reader.returncode == 0


def test_a_forked_process_reads_and_appends(workspace):
    dataset = Dataset.create(workspace, "d")
    dataset.append({"x": np.arange(5)}, timestamps=np.arange(5))
    reader = dataset.reader()
    reader.read(np.arange(5))
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            assert reader.read(np.array([4]))["x"].tolist() == [4]
            dataset.append({"x": np.array([5])}, timestamps=[5])
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.read(np.array([5]))["x"].tolist() == [5]


def test_leftovers_are_swept_but_not_a_living_writers_files(workspace):
    dataset = Dataset.create(workspace, "d")
    dataset.compacts_in_background = False
    dataset.append({"x": np.arange(5)}, timestamps=np.arange(5))
    (dataset.folder / "left.arrow").write_bytes(b"half a shard")
    with dataset.write(shard_bytes=1) as writer:
        writer.append({"x": np.arange(100)}, timestamps=np.arange(100))
        Dataset.open(workspace, "d").compact()
        assert not (dataset.folder / "left.arrow").exists()
    assert dataset.num_samples == 105
    assert dataset.verify() == []
    assert leftovers(dataset) == set()
