"""Damage on the disk is a clear error that names the file, and costs nothing else."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import sqlalchemy as sa

from modyn.datasets import Dataset, catalog
from modyn.errors import ConfigError, Damaged, DataError
from modyn.sources import ledger
from modyn.workspace import Workspace


@pytest.fixture
def dataset(workspace, in_files):
    dataset = Dataset.create(workspace, "d")
    for start in (0, 100, 200):
        payload = np.arange(start, start + 100, dtype=np.uint8).repeat(16).reshape(100, 16)
        dataset.append({"payload": payload, "blob": [b"b" * i for i in range(100)]}, timestamps=np.arange(100))
    return dataset


def shard_path(dataset, index):
    return dataset.folder / dataset._state.snapshot().shards[index].file


def flip(path, position):
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0xFF]))


def others_are_fine(dataset):
    keys = np.r_[0:100, 200:300]
    payload = dataset.reader().read(keys)["payload"]
    np.testing.assert_array_equal(payload[:, 0], keys.astype(np.uint8))


def test_a_missing_shard_is_named(workspace, dataset):
    path = shard_path(dataset, 1)
    path.unlink()
    again = Dataset.open(workspace, "d")
    with pytest.raises(Damaged, match=f"{path.name}: the file is missing"):
        again.reader().read(np.array([5, 150]))
    assert again.verify() == [f"{path}: the file is missing"]
    others_are_fine(again)
    again.delete([5, 150])
    with pytest.raises(Damaged, match=f"{path.name}: the file is missing"):
        again.purge()


def test_a_truncated_shard_is_named(workspace, dataset):
    path = shard_path(dataset, 1)
    os.truncate(path, 1000)
    again = Dataset.open(workspace, "d")
    with pytest.raises(Damaged, match=f"{path.name}: has 1000 bytes, but"):
        again.samples()
    assert len(again.verify()) == 1
    others_are_fine(again)


def test_a_flipped_byte_anywhere_is_found_by_verify(workspace, dataset):
    path = shard_path(dataset, 1)
    size = path.stat().st_size
    for position in np.linspace(0, size - 1, 40).astype(int).tolist():
        flip(path, position)
        again = Dataset.open(workspace, "d")
        assert again.verify() == [f"{path}: bytes have changed since it was written (SHA-256 differs)"]
        with suppress(
            Damaged
        ):  # or the payload, or nothing that is read, is what changed; never a crash of the process
            again.reader().read(np.arange(300))
            again.reader().ragged("blob", np.arange(300))
        others_are_fine(again)
        flip(path, position)
    assert Dataset.open(workspace, "d").verify() == []


def test_damage_to_a_shard_in_the_catalog_is_named(workspace):
    dataset = Dataset.create(workspace, "small")
    for start in (0, 10):
        dataset.append({"x": np.arange(start, start + 10)}, timestamps=np.arange(10))
    assert list(dataset.folder.glob("*.arrow")) == []
    assert dataset.verify() == []
    path = shard_path(dataset, 1)
    with workspace.transaction() as connection:
        content = bytearray(catalog.contents(workspace, dataset.id, [path.name])[path.name])
        content[-200] ^= 1
        mine = sa.update(catalog.CONTENTS).where(catalog.CONTENTS.c.file == path.name)
        connection.execute(mine.values(bytes=bytes(content)))
    assert dataset.verify() == [f"{path}: bytes have changed since it was written (SHA-256 differs)"]
    with workspace.transaction() as connection:
        connection.execute(sa.delete(catalog.CONTENTS).where(catalog.CONTENTS.c.file == path.name))
    again = Dataset.open(workspace, "small")
    assert again.verify() == [f"{path}: the file is missing"]
    with pytest.raises(Damaged, match=f"{path.name}: the file is missing"):
        again.reader().read(np.array([3, 15]))
    assert again.reader().read(np.array([3]))["x"].tolist() == [3]


@contextmanager
def mounted(folder, options):
    """A small file system in memory; skips the test where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing(tmp_path):
    with mounted(tmp_path / "disk", "size=8m"):
        workspace = Workspace(tmp_path / "disk" / "workspace")
        dataset = Dataset.create(workspace, "d")
        rows = {"payload": np.zeros((10_000, 100), np.uint8)}
        with pytest.raises(DataError, match=r"No space left on device|is full"):  # noqa: PT012
            for _ in range(10):
                dataset.append(rows, timestamps=np.arange(10_000))
        num = dataset.num_samples
        assert num >= 10_000
        assert num % 10_000 == 0
        assert dataset.samples().keys.tolist() == list(range(num))
        assert dataset.verify() == []
        assert len(list(dataset.folder.glob("*.arrow"))) == num // 10_000
        workspace.engine.dispose()


@pytest.mark.parametrize("shard_bytes", [None, 1 << 20], ids=["at once", "gathered"])
def test_a_write_whose_append_failed_adds_nothing_even_if_the_error_is_caught(tmp_path, shard_bytes):
    """Its keys were given: samples added behind them would follow keys without rows."""
    with mounted(tmp_path / "disk", "size=80m"):
        workspace = Workspace(tmp_path / "disk" / "workspace")
        dataset = Dataset.create(workspace, "d")
        few, many = ({"payload": np.zeros((num, 100), np.uint8)} for num in (10, 1_000_000))
        dataset.append(few, timestamps=np.arange(10))
        refused = pytest.raises(DataError, match="an append of this write has failed, so nothing of it is added")
        with refused, dataset.write(shard_bytes=shard_bytes) as writer:
            writer.append(few, timestamps=np.arange(10))
            with pytest.raises(DataError, match="No space left on device"):
                writer.append(many, timestamps=np.arange(1_000_000))
            writer.append(few, timestamps=np.arange(10))
        assert dataset.num_samples == 10
        assert dataset.append(few, timestamps=np.arange(10)) == range(10, 20)
        assert dataset.verify() == []
        workspace.engine.dispose()


def test_a_read_only_disk_can_be_read_and_says_that_it_cannot_be_written(tmp_path, in_files):
    with mounted(tmp_path / "disk", "size=8m"):
        workspace = Workspace(tmp_path / "disk" / "workspace")
        dataset = Dataset.create(workspace, "d")
        dataset.append({"x": np.arange(10)}, timestamps=np.arange(10))
        workspace.engine.dispose()  # the system makes nothing read-only that is open for writing
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        assert dataset.reader().read(np.array([9]))["x"].tolist() == [9]
        with pytest.raises(DataError, match="Read-only file system"):
            dataset.append({"x": np.arange(10)}, timestamps=np.arange(10))
        workspace.engine.dispose()


def test_a_workspace_on_a_full_disk_can_be_read_and_says_why_it_cannot_be_written(tmp_path):
    with mounted(tmp_path / "disk", "size=4m"):
        workspace = Workspace(tmp_path / "disk" / "workspace")
        dataset = Dataset.create(workspace, "d")
        dataset.append({"x": np.arange(10)}, timestamps=np.arange(10))
        workspace.engine.dispose()  # the last to have it open takes the log and its index away
        filler = tmp_path / "disk" / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False)
        assert shutil.disk_usage(filler).free == 0
        for _ in range(2):  # the first try leaves an empty log behind
            full = Workspace(workspace.root)
            found = Dataset.open(full, "d")
            assert Dataset.names(full) == ["d"]
            assert found.reader().read(np.array([9]))["x"].tolist() == [9]
            assert found.summary().num_samples == 10
            assert not ledger.is_there(full)
            for change in (lambda: found.delete([3]), lambda: ledger.prepare(full), lambda: Dataset.create(full, "e")):  # noqa: B023
                with pytest.raises(
                    DataError, match=r"catalog\.sqlite cannot be used: its disk is full \(attempt to write"
                ):
                    change()
            full.engine.dispose()
        filler.unlink()
        assert Dataset.open(Workspace(workspace.root), "d").delete([3]) == 1


def test_a_file_too_large_for_the_system_is_named_and_leaves_nothing(dataset):
    files = set(dataset.folder.glob("*.arrow"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        rows = {"payload": np.zeros((100_000, 16), np.uint8), "blob": [b""] * 100_000}
        with pytest.raises(DataError, match=r"\.arrow cannot be written: File too large"):
            dataset.append(rows, timestamps=np.arange(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert set(dataset.folder.glob("*.arrow")) == files
    assert dataset.num_samples == 300


@contextmanager
def read_only(folder, target):
    """The folder seen through a read-only mount; skips the test where mounting is not allowed."""
    target.mkdir()
    done = subprocess.run(["mount", "--bind", str(folder), str(target)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(target)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


def test_a_workspace_on_a_read_only_disk_is_opened_and_read(workspace, dataset, tmp_path):
    workspace.engine.dispose()
    with read_only(workspace.root, tmp_path / "seen"):
        seen = Workspace(tmp_path / "seen")
        again = Dataset.open(seen, "d")
        assert Dataset.names(seen) == ["d"]
        assert again.samples().keys.tolist() == list(range(300))
        assert again.at(1).num_samples == 100
        assert again.verify() == []
        others_are_fine(again)
        with pytest.raises(DataError, match="Read-only file system"):
            again.append({"payload": np.zeros((1, 16), np.uint8), "blob": [b""]}, timestamps=[0])
        with pytest.raises(DataError, match=r"catalog\.sqlite cannot be used: attempt to write a readonly database"):
            again.delete([3])
        seen.engine.dispose()


def test_a_workspace_seen_through_a_read_only_mount_follows_its_writer(workspace, dataset, tmp_path):
    with read_only(workspace.root, tmp_path / "seen"):
        seen = Workspace(tmp_path / "seen")
        again = Dataset.open(seen, "d")
        assert again.num_samples == 300
        dataset.delete([3])
        dataset.append({"payload": np.zeros((1, 16), np.uint8), "blob": [b""]}, timestamps=[0])
        assert (again.num_samples, again.end_key) == (300, 301)
        seen.engine.dispose()


def test_what_a_writer_changes_is_not_read_in_part_also_where_its_log_is_empty(workspace, dataset, tmp_path):
    """As after a purge: SQLite must not take a file for unchanging that somebody has open."""
    commits = sa.select(sa.func.count()).select_from(catalog.COMMITS)
    with read_only(workspace.root, tmp_path / "seen"):
        catalog.empty_log(workspace)
        seen = Workspace(tmp_path / "seen")
        with seen.engine.connect() as connection:
            before = connection.execute(commits).scalar()
            dataset.delete([3])
            assert connection.execute(commits).scalar() == before
            connection.rollback()
            assert connection.execute(commits).scalar() == before + 1
        seen.engine.dispose()


def test_a_catalog_that_cannot_be_read_on_a_read_only_disk_is_named(workspace, dataset, tmp_path):
    workspace.engine.dispose()
    (workspace.root / "catalog.sqlite").write_bytes(b"no database" * 1000)
    with (
        read_only(workspace.root, tmp_path / "seen"),
        pytest.raises(
            ConfigError, match=r"seen/catalog\.sqlite is on a read-only or full disk and cannot be read: file is not"
        ),
    ):
        Dataset.open(Workspace(tmp_path / "seen"), "d")
