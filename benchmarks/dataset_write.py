"""Writing a dataset: import against ``cp``, linking in place, and small durable appends against bare write + fsync + rename.

    python benchmarks/dataset_write.py [--folder DIR] [--megabytes 320]

Rivals take turns in one process; a ratio is the median of the rival's times over the median of ours.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from modyn.datasets import Dataset, Field, Records
from modyn.sources.binary import Binary
from modyn.sources.feed import add
from modyn.workspace import Workspace

WIDTH = 160
LABEL = 4


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def import_vs_cp(workspace: Workspace, source: Path, rounds: int = 3) -> float:
    """Importing fixed binary records (4 bytes of label, then the payload) against cp of the file plus fsync."""
    ours, rival = [], []
    for turn in range(rounds):
        target = source.with_name("copy")
        rival.append(timed(lambda target=target: copy(source, target)))  # type: ignore[misc]
        target.unlink()
        name = f"imported-{turn}"
        ours.append(timed(lambda name=name: import_records(workspace, name, source)))  # type: ignore[misc]
        Dataset.remove(workspace, name)
    num = source.stat().st_size // WIDTH
    print(
        f"  import: {num / statistics.median(ours) / 1e6:.2f}M samples/s; cp + fsync {num / statistics.median(rival) / 1e6:.2f}M"
    )
    return statistics.median(rival) / statistics.median(ours)


def copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def import_records(workspace: Workspace, name: str, source: Path) -> None:
    add(Dataset.create(workspace, name), Binary(path=str(source), record_size=WIDTH, label_type="int32", settle=0))


def link_rate(workspace: Workspace, source: Path) -> float:
    """Million samples a second that are linked in place, first readable label included."""
    num = source.stat().st_size // WIDTH
    records = Records(
        path=str(source),
        record_size=WIDTH,
        num_records=num,
        columns={"payload": Field(LABEL, "uint8", (WIDTH - LABEL,))},
        label=Field(0, "<i4"),
        timestamp=0,
    )
    times = []
    for turn in range(5):
        dataset = Dataset.create(workspace, f"linked-{turn}")
        start = time.perf_counter()
        with dataset.write() as writer:
            writer.link_records(records)
        assert dataset.reader().labels(np.array([num - 1])) is not None
        times.append(time.perf_counter() - start)
        assert len(dataset.samples()) == num
    return num / statistics.median(times) / 1e6


def append_vs_fsync(workspace: Workspace, folder: Path, num: int = 200) -> float:
    """Durable appends of 1,000 samples of 160 B, against write + fsync + rename of the same bytes."""
    dataset = Dataset.create(workspace, "appended")
    records = np.random.default_rng(0).integers(0, 255, (1000, WIDTH), dtype=np.uint8)
    content = records.tobytes()
    moments, labels = np.arange(1000), np.arange(1000) % 10
    bare = folder / "bare"
    bare.mkdir()
    ours, rival = [], []
    for turn in range(num):
        rival.append(timed(lambda turn=turn: write_durably(bare / str(turn), content)))  # type: ignore[misc]
        ours.append(timed(lambda: dataset.append({"payload": records}, timestamps=moments, labels=labels)))
    opened = timed(lambda: Dataset.open(workspace, "appended").num_samples)
    print(f"  append: {statistics.median(ours) * 1e3:.2f} ms; bare {statistics.median(rival) * 1e3:.2f} ms")
    print(f"  opening after {num} appends: {opened * 1e3:.1f} ms (goal < 50)")
    return statistics.median(rival) / statistics.median(ours)


def write_durably(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to put the files for the time of the run")
    parser.add_argument("--megabytes", type=int, default=320, help="size of the imported file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        workspace = Workspace(folder / "workspace")
        print(f"ratio append-vs-fsync: {append_vs_fsync(workspace, folder):.2f} (goal >= 0.5)", flush=True)
        source = folder / "records"
        with source.open("wb") as file:
            for _ in range(given.megabytes // 16):
                file.write(np.random.default_rng(0).bytes(16_000_000))
            os.fsync(file.fileno())
        print(f"ratio import-vs-cp: {import_vs_cp(workspace, source):.2f} (goal >= 0.4)", flush=True)
        print(f"ratio link-rate: {link_rate(workspace, source):.0f} million samples/s (goal > 20)", flush=True)
        workspace.engine.dispose()


if __name__ == "__main__":
    main()
