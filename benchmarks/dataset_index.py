"""Finding samples by time among 20 million, against numpy on sorted memory-mapped timestamps; and what 100 million cost to open.

    python benchmarks/dataset_index.py [--folder DIR]

Both take turns on the same random windows (0.1 % to 10 % of the samples) in one process and give the keys in them.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from modyn.datasets import Dataset
from modyn.types import Array, Int64s, Window
from modyn.workspace import Workspace

NUM = 20_000_000
STEP_US = 1000


def build(workspace: Workspace, name: str, num: int, *, shuffled: bool = False) -> Dataset:
    """Samples of one float, in 20 commits, in time order or with neighbours up to a million apart in disorder."""
    dataset = Dataset.create(workspace, name)
    dataset.compacts_in_background = False
    rng = np.random.default_rng(0)
    for start in range(0, num, num // 20):
        moments = np.arange(start, start + num // 20, dtype=np.int64) * STEP_US
        if shuffled:
            rng.shuffle(moments)
        dataset.append({"x": moments.astype(np.float32)}, timestamps=moments)
    dataset.compact()
    return dataset


def numpy_keys(timestamps: Array, window: Window) -> Int64s:
    low, high = np.searchsorted(timestamps, (window.start, window.end))
    return np.arange(low, high)


def time_window(dataset: Dataset, timestamps: Array) -> float:
    rng = np.random.default_rng(1)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(200):
        length = int(NUM * STEP_US * 10 ** rng.uniform(-3, -1))
        start = int(rng.integers(0, NUM * STEP_US - length))
        window = Window(start, start + length, by="time")
        for which in (turn % 2, 1 - turn % 2):
            begin = time.perf_counter()
            keys = numpy_keys(timestamps, window) if which else dataset.keys(window)
            times[which].append(time.perf_counter() - begin)
        assert which or len(keys) == len(numpy_keys(timestamps, window))
    print(
        f"  {dataset.name}: {statistics.median(times[0]) * 1e3:.3f} ms; numpy {statistics.median(times[1]) * 1e3:.3f} ms"
    )
    return statistics.median(times[1]) / statistics.median(times[0])


OPEN = """
import sys, time
from modyn.datasets import Dataset
from modyn.types import Window
from modyn.workspace import Workspace
workspace = Workspace(sys.argv[1])
workspace.engine.connect().close()
start = time.perf_counter()
dataset = Dataset.open(workspace, "large")
num = dataset.num_samples
seconds = time.perf_counter() - start
dataset.reader().read(dataset.keys(Window(5, 1005)))
with open("/proc/self/status") as file:
    resident = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
print(f"  opening {num:,} samples: {seconds * 1e3:.1f} ms (goal < 50), {resident / 1024:.0f} MB resident at most (goal < 300)")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to put some 3 GB for the time of the run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        workspace = Workspace(folder / "workspace")
        path = folder / "timestamps"
        (np.arange(NUM, dtype=np.int64) * STEP_US).tofile(path)
        timestamps = np.memmap(path, np.int64, "r")
        ratio = time_window(build(workspace, "in-order", NUM), timestamps)
        print(f"ratio time-window-20M: {ratio:.2f} (goal >= 0.5)", flush=True)
        ratio = time_window(build(workspace, "out-of-order", NUM, shuffled=True), timestamps)
        print(f"ratio time-window-20M-out-of-order: {ratio:.2f}", flush=True)
        build(workspace, "large", 100_000_000)
        subprocess.run([sys.executable, "-c", OPEN, str(workspace.root)], check=True)
        workspace.engine.dispose()


if __name__ == "__main__":
    main()
