"""Random batches, ingest and time windows of other stores, for the record: Lance, Hugging Face, MosaicML streaming, PostgreSQL.

    python benchmarks/dataset_rivals.py [--seconds 2] [--folder DIR] [--records 500000]

Each rival is measured only where its package is installed (``pylance``, ``datasets``, ``mosaicml-streaming``; ``psycopg`` and a
PostgreSQL server's binaries). All hold the same records of 160 bytes on the local disk, with warm pages, and take turns on the same keys.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.datasets import Dataset
from modyn.types import Array, Int64s, Window
from modyn.workspace import Workspace

WIDTH, BATCH = 160, 1024
Read = Callable[[Int64s], object]


def table_of(records: Array) -> pa.Table:
    """The records with a key and a time."""
    payload = pa.Array.from_buffers(pa.binary(WIDTH), len(records), [None, pa.py_buffer(records)])
    keys = pa.array(np.arange(len(records)))
    return pa.table({"key": keys, "time": keys, "payload": payload})


def modyn(folder: Path, records: Array) -> tuple[Read, Dataset]:
    dataset = Dataset.create(Workspace(folder / "workspace"), "records")
    dataset.append({"payload": records}, timestamps=np.arange(len(records)))
    return dataset.reader().read, dataset


def lance_reader(folder: Path, records: Array) -> Read:
    import lance

    made = lance.write_dataset(table_of(records), str(folder / "lance"))
    return lambda keys: made.take(keys.tolist(), columns=["payload"])


def hugging_face_reader(folder: Path, records: Array) -> Read:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset(table_of(records)).save_to_disk(str(folder / "hugging-face"))
    made = datasets.load_from_disk(str(folder / "hugging-face")).with_format("arrow", columns=["payload"])
    return lambda keys: made[keys.tolist()]


def mosaic_reader(folder: Path, records: Array) -> Read:
    from streaming import LocalDataset, MDSWriter

    with MDSWriter(out=str(folder / "mosaic"), columns={"payload": "bytes"}) as writer:
        for record in records:
            writer.write({"payload": record.tobytes()})
    made = LocalDataset(str(folder / "mosaic"))
    return lambda keys: [made[key] for key in keys.tolist()]


def random_batches(reads: dict[str, Read], num: int, seconds: float) -> None:
    """Median samples/s of each reader, all taking turns on the same random batches."""
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {name: [] for name in reads}
    end = time.perf_counter() + seconds * len(reads)
    while time.perf_counter() < end or len(times["modyn"]) < 5:
        keys = rng.integers(0, num, BATCH)
        for name, read in reads.items():
            begin = time.perf_counter()
            read(keys)
            times[name].append(time.perf_counter() - begin)
    ours = statistics.median(times["modyn"])
    for name, found in times.items():
        rate = BATCH / statistics.median(found)
        print(f"  {name}: {rate:,.0f} samples/s in random batches of {BATCH:,}")
    for name, found in times.items():
        if name != "modyn":
            print(f"ratio random-160B-over-{name}: {statistics.median(found) / ours:.1f}", flush=True)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A PostgreSQL server of its own on a free loopback port; yields how to connect."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = binaries[-1] if binaries else Path(shutil.which("initdb") or "")
    if not initdb.is_file():
        raise ImportError("no PostgreSQL server is installed")
    home = folder / "postgres"
    home.mkdir()
    run: dict[str, Any] = {"cwd": home, "check": True, "capture_output": True, "env": {"LC_ALL": "C"}}
    if os.geteuid() == 0:
        run["user"] = pwd.getpwnam("nobody").pw_uid
        os.chown(home, run["user"], -1)
        folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subprocess.run([initdb, "-D", home / "data", "-U", "modyn", "-A", "trust"], **run)
    control = [initdb.with_name("pg_ctl"), "-D", home / "data", "-w"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {home}"
    subprocess.run([*control, "-o", options, "-l", home / "log", "start"], **run)
    try:
        yield f"host=127.0.0.1 port={port} user=modyn dbname=postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)


def ingest(connection: Any, records: Array) -> None:
    """COPY the records into a table with a key and an index on time, in one durable transaction."""
    connection.execute("create table records (key bigint primary key, time bigint not null, payload bytea not null)")
    connection.execute("create index on records (time)")
    with connection.cursor() as cursor, cursor.copy("copy records from stdin (format binary)") as copy:
        copy.set_types(["int8", "int8", "bytea"])
        for key, record in enumerate(records):
            copy.write_row((key, key, record.tobytes()))
    connection.commit()


def fetch(connection: Any, query: str, *values: object) -> list[Any]:
    return connection.execute(query, values).fetchall()  # type: ignore[no-any-return]


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def against_postgres(stack: ExitStack, folder: Path, records: Array, dataset: Dataset) -> Read:
    """Ingest and window query of both; returns how PostgreSQL reads a batch."""
    import psycopg

    connection = stack.enter_context(psycopg.connect(stack.enter_context(server(folder))))
    theirs = timed(lambda: ingest(connection, records))
    again = Dataset.create(dataset.workspace, "again")
    ours = timed(lambda: again.append({"payload": records}, timestamps=np.arange(len(records))))
    num = len(records)
    print(f"  ingest: {num / ours / 1e6:.2f}M samples/s; PostgreSQL (COPY) {num / theirs / 1e6:.2f}M")
    print(f"ratio ingest-over-postgresql: {theirs / ours:.1f}", flush=True)
    connection.execute("analyze records")
    start, end = num // 3, num // 3 + num // 100
    window = Window(start, end, by="time")
    query = "select key from records where time >= %s and time < %s order by key"
    mine = [timed(lambda: dataset.keys(window)) for _ in range(50)]
    rival = [timed(lambda: fetch(connection, query, start, end)) for _ in range(20)]
    print(
        f"  keys in 1 % of the time: {statistics.median(mine) * 1e3:.3f} ms; PostgreSQL {statistics.median(rival) * 1e3:.2f} ms"
    )
    print(f"ratio window-over-postgresql: {statistics.median(rival) / statistics.median(mine):.0f}", flush=True)
    return lambda keys: fetch(connection, "select key, payload from records where key = any(%s)", keys.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each reader of random batches")
    parser.add_argument("--records", type=int, default=500_000, help="how many records of 160 bytes")
    parser.add_argument("--folder", help="where to put the files for the time of the run")
    given = parser.parse_args()
    records = np.random.default_rng(0).integers(0, 256, (given.records, WIDTH), np.uint8)
    with tempfile.TemporaryDirectory(dir=given.folder) as name, ExitStack() as stack:
        folder = Path(name)
        read, dataset = modyn(folder, records)
        reads = {"modyn": read}
        makers: dict[str, Callable[[], Read]] = {
            "lance": lambda: lance_reader(folder, records),
            "hugging-face": lambda: hugging_face_reader(folder, records),
            "mosaicml-streaming": lambda: mosaic_reader(folder, records),
            "postgresql": lambda: against_postgres(stack, folder, records, dataset),
        }
        for rival, make in makers.items():
            try:
                reads[rival] = make()
            except ImportError as error:
                print(f"  {rival} is left out: {error}")
        random_batches(reads, len(records), given.seconds)
        dataset.workspace.engine.dispose()


if __name__ == "__main__":
    main()
