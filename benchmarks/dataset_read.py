"""Reading random batches from a dataset, against a bare ``numpy.memmap`` gather from one file of the same bytes.

    python benchmarks/dataset_read.py [--seconds 2] [--folder DIR]

Both take turns on the same keys in one process; a ratio is the median of the rival's times over the median of ours. The dataset is
appended in 50 commits. The folder must be on a disk: the cold reads drop the page cache of its files by ``posix_fadvise``.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from modyn.datasets import Dataset
from modyn.types import Array, Int64s
from modyn.workspace import Workspace

COMMITS = 50


def build(workspace: Workspace, name: str, records: Array) -> Dataset:
    """The records appended in 50 commits, not compacted."""
    dataset = Dataset.create(workspace, name)
    dataset.compacts_in_background = False
    for part in np.array_split(np.arange(len(records)), COMMITS):
        dataset.append({"payload": records[part]}, timestamps=part, labels=part % 10)
    return dataset


def batches(rng: np.random.Generator, num: int, size: int) -> Iterator[Int64s]:
    """Endless batches of distinct keys, as epochs in random order would give."""
    while True:
        order = rng.permutation(num)
        yield from order[: num // size * size].reshape(-1, size)


def interleaved(
    ours: Callable[[Int64s], object], rival: Callable[[Int64s], object], keys: Iterator[Int64s], seconds: float
) -> float:
    """The rival's median time over ours, taking turns, each on keys of its own: what one has read, the other would find in the CPU's cache."""
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < end or turn < 100:
        for which in (turn % 2, 1 - turn % 2):
            asked = next(keys)
            start = time.perf_counter()
            (ours, rival)[which](asked)
            times[which].append(time.perf_counter() - start)
        turn += 1
    return statistics.median(times[1]) / statistics.median(times[0])


def report(name: str, ratio: float, goal: float) -> None:
    print(f"ratio {name}: {ratio:.2f} (goal >= {goal})", flush=True)


def warm(workspace: Workspace, folder: Path, seconds: float) -> tuple[Dataset, Dataset]:
    """Pages in memory: random batches of small and of large records, before and after compaction and deletion; and a scan."""
    rng = np.random.default_rng(0)
    small = write(folder / "small", rng, 2_000_000, 160)
    large = write(folder / "large", rng, 50_000, 12_288)
    of_small, of_large = build(workspace, "small", small), build(workspace, "large", large)
    keys = batches(rng, len(small), 1024)
    reader = of_small.reader()
    report("random-160B-50-shards", interleaved(reader.read, small.__getitem__, keys, seconds), 0.35)
    of_small.compact()
    of_large.compact()
    report("random-160B", interleaved(reader.read, small.__getitem__, keys, seconds), 0.7)
    large_reader, large_keys = of_large.reader(), batches(rng, len(large), 64)
    report("random-12KB", interleaved(large_reader.read, large.__getitem__, large_keys, seconds), 0.85)
    report("scan", scan(of_small, folder / "small"), 0.8)
    report("after-delete", after_delete(of_small, rng, seconds), 0.95)
    return of_small, of_large


def write(path: Path, rng: np.random.Generator, num: int, width: int) -> Array:
    """Random records in one file, mapped."""
    with path.open("wb") as file:
        for _ in range(20):
            file.write(rng.bytes(num // 20 * width))
        file.flush()
        os.fsync(file.fileno())
    return np.memmap(path, np.uint8, "r", shape=(num, width))


def after_delete(dataset: Dataset, rng: np.random.Generator, seconds: float) -> float:
    """Reading the samples that are left after 1 % were deleted, against reading the same ones from the version before, as a loader does:
    by readers that were told which samples they will be asked for. Printed too: by readers that were not, which look at each key."""
    before = dataset.at(dataset.version).reader()
    dataset.delete(rng.choice(dataset.end_key, dataset.end_key // 100, replace=False))
    live, after = dataset.samples().keys, dataset.reader()
    keys = (live[rows] for rows in batches(rng, len(live), 1024))
    untold = interleaved(after.read, before.read, keys, seconds)
    print(f"ratio after-delete-of-any-keys: {untold:.2f} (for the record)")
    return interleaved(after.only(live).read, before.only(live).read, keys, seconds)


def scan(dataset: Dataset, path: Path) -> float:
    """All payloads in key order, in reads of 64k samples, against numpy.fromfile in reads of the same bytes."""
    reader, num, step = dataset.reader(), dataset.end_key, 65_536
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(7):
        start = time.perf_counter()
        for first in range(0, num, step):
            reader.read(np.arange(first, min(first + step, num)))
        times[0].append(time.perf_counter() - start)
        start = time.perf_counter()
        with path.open("rb") as file:
            while len(np.fromfile(file, np.uint8, step * 160)):
                pass
        times[1].append(time.perf_counter() - start)
    return statistics.median(times[1]) / statistics.median(times[0])


@contextmanager
def cold(paths: list[Path]) -> Iterator[None]:
    """The files' pages dropped from memory."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    yield


def cold_ratio(workspace: Workspace, name: str, path: Path, width: int, *, num_batches: int) -> float:
    """Cold random batches of 1,024, all announced first as a loader that knows the order does, against a bare memmap gather."""
    num = os.path.getsize(path) // width
    ours, rivals = [], []
    for turn in range(3):
        rng = np.random.default_rng(turn + 10)
        dataset = Dataset.open(workspace, name)
        asked = rng.permutation(dataset.samples().keys)[: 1024 * num_batches].reshape(num_batches, 1024)
        files = list(dataset.folder.glob("*.arrow"))
        with cold(files):
            reader = dataset.reader()
            start = time.perf_counter()
            for keys in asked:
                reader.announce(keys)
            for keys in asked:
                reader.read(keys)
            ours.append((time.perf_counter() - start) / num_batches)
        with cold([path]):
            bare = np.memmap(path, np.uint8, "r", shape=(num, width))
            start = time.perf_counter()
            bare[asked[0]]
            rivals.append(time.perf_counter() - start)
            del bare
        del reader, dataset
    print(
        f"  {name} cold: {statistics.median(ours) * 1e3:.1f} ms a batch of 1,024; bare {statistics.median(rivals) * 1e3:.1f} ms"
    )
    return statistics.median(rivals) / statistics.median(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each question")
    parser.add_argument("--folder", help="where to put some 2 GB for the time of the run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        workspace = Workspace(folder / "workspace")
        warm(workspace, folder, given.seconds)
        report("cold-160B", cold_ratio(workspace, "small", folder / "small", 160, num_batches=16), 10)
        report("cold-12KB", cold_ratio(workspace, "large", folder / "large", 12_288, num_batches=16), 20)
        workspace.engine.dispose()


if __name__ == "__main__":
    main()
