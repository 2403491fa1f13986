import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modyn.datasets import Dataset
from modyn.errors import BadSample, DataError
from modyn.sources import Feed, Memory, add, gathering, ledger
from modyn.sources.binary import Binary
from modyn.sources.csv import Csv
from modyn.sources.files import Files
from modyn.sources.guess import guess_format
from modyn.sources.jsonl import Jsonl
from modyn.sources.paths import find_files
from modyn.sources.times import now_us
from modyn.workspace import Workspace

Fill = Callable[..., Any]


def write(path: Path, rows: list[object], *, ended: bool = True) -> Path:
    path.write_text("x\n" + "\n".join(map(str, rows)) + ("\n" if ended and rows else ""))
    return path


def extend(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_looking_again_adds_nothing_twice(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2])
    data = fill(Csv(path=str(folder)))
    version = data.dataset.version
    assert data.poll().samples == 0
    assert data.dataset.version == version
    os.utime(folder / "a.csv", (1, 1))
    assert data.poll().samples == 0
    assert add(data.dataset, Csv(path=str(folder)), clock=data.clock).samples == 0


def test_new_files_and_new_rows_are_taken(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2])
    data = fill(Csv(path=str(folder)))
    extend(folder / "a.csv", "3\n4\n")
    (folder / "deeper").mkdir()
    write(folder / "deeper" / "b.csv", [5])
    assert data.poll().samples == 3
    assert data.column("x") == [1, 2, 3, 4, 5]


def test_a_line_that_ends_without_a_line_end_is_taken_only_once_settled(workspace: Workspace, folder: Path) -> None:
    path = write(folder / "a.csv", [1, 2], ended=False)
    dataset = Dataset.create(workspace, "d")
    source = Csv(path=str(path), settle="0s")
    assert add(dataset, source, clock=lambda: os.stat(path).st_mtime_ns // 1000).samples == 1
    extend(path, "2\n3\n")
    assert add(dataset, source, clock=lambda: os.stat(path).st_mtime_ns // 1000).samples == 2
    assert dataset.reader().read(dataset.samples().keys)["x"].tolist() == [1, 22, 3]


def test_a_file_that_is_still_changing_is_left_alone(workspace: Workspace, folder: Path) -> None:
    write(folder / "old.csv", [1])
    dataset = Dataset.create(workspace, "d")
    source = Csv(path=str(folder), settle="10s")
    add(dataset, source, clock=lambda: now_us() + 60 * 10**6)
    path = write(folder / "new.csv", [2])
    moment = os.stat(path).st_mtime_ns // 1000
    feed = Feed(dataset, clock=lambda: moment)
    assert feed.poll().waiting == (str(path),)
    moment += 9 * 10**6
    extend(path, "3\n")
    os.utime(path, ns=(moment * 1000, moment * 1000))
    moment += 9 * 10**6
    assert feed.poll().samples == 0
    moment += 2 * 10**6
    assert feed.poll().samples == 2


def test_a_file_from_the_future_is_taken_once_it_stands_still(workspace: Workspace, folder: Path) -> None:
    write(folder / "old.csv", [1])
    dataset = Dataset.create(workspace, "d")
    moment = now_us() + 60 * 10**6
    add(dataset, Csv(path=str(folder), settle="10s"), clock=lambda: moment)
    path = write(folder / "new.csv", [2])
    os.utime(path, ns=((moment + 10**9) * 1000, (moment + 10**9) * 1000))
    feed = Feed(dataset, clock=lambda: moment)
    assert feed.poll().samples == 0
    moment += 11 * 10**6
    assert feed.poll().samples == 1


@pytest.mark.parametrize("name", [".a.csv", "a.csv.tmp", "a.csv.part", "a.csv~"])
def test_files_under_an_unfinished_name_are_not_seen_until_renamed(fill: Fill, folder: Path, name: str) -> None:
    write(folder / "first.csv", [1])
    data = fill(Csv(path=str(folder)))
    write(folder / name, [2])
    assert data.poll().samples == 0
    (folder / name).rename(folder / "second.csv")
    assert data.poll().samples == 1


def test_a_done_file_says_that_a_file_is_whole(fill: Fill, folder: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write(folder / name, [1])
    (folder / "a.csv.done").touch()
    data = fill(Csv(path=str(folder), done_suffix=".done"))
    assert data.added.samples == 1
    assert data.added.waiting == (str(folder / "b.csv"),)
    (folder / "b.csv.done").touch()
    assert data.poll().samples == 1


def test_adding_waits_for_a_file_that_has_just_been_written(workspace: Workspace, folder: Path) -> None:
    path = write(folder / "a.csv", [1])
    moment = os.stat(path).st_mtime_ns // 1000
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal moment
        waited.append(seconds)
        moment += round(seconds * 10**6)

    dataset = Dataset.create(workspace, "d")
    assert add(dataset, Csv(path=str(path)), clock=lambda: moment, sleep=sleep).samples == 1
    assert waited == [1.0]


def test_a_file_that_never_settles_is_an_error_that_says_so(workspace: Workspace, folder: Path) -> None:
    path = write(folder / "a.csv", [1])
    moment = os.stat(path).st_mtime_ns // 1000
    dataset = Dataset.create(workspace, "d")
    with pytest.raises(DataError, match=r"a\.csv is still being written"):
        add(dataset, Csv(path=str(path)), clock=lambda: moment, sleep=lambda _: os.utime(path))


def test_a_changed_file_is_refused_unless_told_otherwise(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2])
    data = fill(Csv(path=str(folder)))
    write(folder / "a.csv", [1, 7, 8])
    added = data.poll()
    assert added.samples == 0
    assert "a.csv has changed since it was taken" in added.refused[0]


def test_a_changed_file_may_add_its_new_rows(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2, 2])
    data = fill(Csv(path=str(folder), changed="append-new"))
    write(folder / "a.csv", [0, 2, 1, 2, 2])
    assert data.poll().samples == 2
    assert data.column("x") == [1, 2, 2, 0, 2]
    assert data.poll().samples == 0


def test_a_changed_file_may_replace_what_was_taken_of_it(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2, 3])
    data = fill(Csv(path=str(folder), changed="replace"))
    write(folder / "a.csv", [0, 3, 1])
    added = data.poll()
    assert (added.samples, added.deleted) == (1, 1)
    assert sorted(data.column("x")) == [0, 1, 3]
    assert data.dataset.samples().keys.tolist() == [0, 2, 3]
    write(folder / "a.csv", [2])
    data.poll()
    assert data.column("x") == [2]


def test_a_changed_file_taken_without_hashes_is_replaced_whole(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2])
    data = fill(Csv(path=str(folder)))
    write(folder / "a.csv", [5, 2])
    with data.dataset.workspace.transaction() as connection:
        ((number, source),) = ledger.sources_of(connection, data.dataset.name)
        ledger.redefine(connection, number, source.model_copy(update={"changed": "replace"}))
    added = data.poll()
    assert (added.samples, added.deleted) == (2, 2)
    assert data.column("x") == [5, 2]


def test_deleted_samples_do_not_come_back_by_any_way(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2, 3])
    data = fill(Csv(path=str(folder), changed="replace", vanished="delete"))
    data.dataset.delete([1])
    data.dataset.purge()
    assert data.poll().samples == 0
    os.utime(folder / "a.csv", (1, 1))
    assert data.poll().samples == 0
    extend(folder / "a.csv", "4\n")
    data.poll()
    assert data.column("x") == [1, 3, 4]
    write(folder / "a.csv", [2, 1, 9])
    data.poll()
    assert sorted(data.column("x")) == [1, 9]
    (folder / "a.csv").rename(folder / "b.csv")
    data.poll()
    assert sorted(data.column("x")) == [1, 9]
    (folder / "b.csv").rename(folder / "gone")
    data.poll()
    assert data.column("x") == []
    (folder / "gone").rename(folder / "b.csv")
    data.poll()
    assert sorted(data.column("x")) == [1, 9]


def test_an_erased_subject_stays_away_when_its_row_changes(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_text("user,x\nann,1\nbob,2\n")
    data = fill(Csv(path=str(folder), changed="replace", id="user"))
    data.dataset.delete(data.dataset.find_ids("user", ["ann"]))
    (folder / "a.csv").write_text("user,x\nann,5\nbob,6\ncat,7\n")
    data.poll()
    assert data.column("user") == ["bob", "cat"]
    assert data.column("x") == [6, 7]


def test_a_vanished_file_is_told_once_and_its_samples_are_kept(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2])
    write(folder / "b.csv", [3])
    data = fill(Csv(path=str(folder)))
    (folder / "a.csv").unlink()
    assert data.poll().refused == (f"{folder / 'a.csv'} is gone; 2 samples of it kept",)
    assert data.poll().refused == ()
    write(folder / "a.csv", [1, 2])
    assert data.poll().samples == 0
    assert data.dataset.num_samples == 3


def test_the_samples_of_a_vanished_file_are_deleted_if_told_so(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2])
    write(folder / "b.csv", [3])
    data = fill(Csv(path=str(folder), vanished="delete"))
    (folder / "a.csv").unlink()
    assert data.poll().deleted == 2
    assert data.column("x") == [3]
    write(folder / "a.csv", [1, 2])
    assert data.poll().samples == 2


def test_a_rotated_log_is_not_taken_again(fill: Fill, folder: Path) -> None:
    write(folder / "log.csv", [1, 2])
    data = fill(Csv(path=str(folder / "log*.csv")))
    for number in range(3):
        if (folder / "log.1.csv").exists():
            (folder / "log.1.csv").rename(folder / "log.2.csv")
        (folder / "log.csv").rename(folder / "log.1.csv")
        write(folder / "log.csv", [10 + number] * 3)
        assert data.poll().samples == 3
    assert data.column("x") == [1, 2, 10, 10, 10, 11, 11, 11, 12, 12, 12]


def test_a_log_that_grew_before_it_was_rotated_is_read_on(fill: Fill, folder: Path) -> None:
    write(folder / "log.csv", [1, 2])
    data = fill(Csv(path=str(folder / "log*.csv")))
    for number in range(3):
        extend(folder / "log.csv", f"{number}5\n")
        (folder / "log.csv").rename(folder / f"log.{number}.csv")
        write(folder / "log.csv", [10 * number + 6])
        assert data.poll().samples == 2
    assert sorted(data.column("x")) == [1, 2, 5, 6, 15, 16, 25, 26]


def test_two_followers_take_every_row_once(workspace: Workspace, folder: Path) -> None:
    write(folder / "0.csv", [0])
    dataset = Dataset.create(workspace, "d")
    add(dataset, Csv(path=str(folder), settle="0s"))
    for number in range(1, 9):
        write(folder / f"{number}.csv", [number])
    start = threading.Barrier(2)

    def follow() -> None:
        feed = Feed(Dataset.open(Workspace(workspace.root), "d"))
        start.wait()
        feed.poll()

    threads = [threading.Thread(target=follow) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(dataset.reader().read(dataset.samples().keys)["x"].tolist()) == list(range(9))


def test_following_hears_of_new_files(workspace: Workspace, folder: Path) -> None:
    write(folder / "a.csv", [1])
    dataset = Dataset.create(workspace, "d")
    add(dataset, Csv(path=str(folder), settle="0s"))
    stop = threading.Event()
    seen = 0
    for polled in Feed(dataset).follow(interval_s=0.05, stop=stop):
        seen += polled.samples
        if not seen:
            write(folder / "b.csv", [2, 3])
        else:
            stop.set()
    assert seen == 2


def test_a_pattern_whose_folder_is_gone_deletes_nothing(fill: Fill, folder: Path) -> None:
    (folder / "disk").mkdir()
    write(folder / "disk" / "a.csv", [1, 2])
    data = fill(Csv(path=str(folder / "disk" / "*.csv"), vanished="delete"))
    (folder / "disk").rename(folder / "unmounted")
    with pytest.raises(DataError, match="there is no file or folder"):
        data.poll()
    first = next(Feed(data.dataset).follow())
    assert "there is no file or folder" in first.refused[0]
    assert data.column("x") == [1, 2]


@pytest.mark.parametrize("link", [False, True])
def test_a_source_of_one_file_notices_that_it_is_gone(workspace: Workspace, folder: Path, link: bool) -> None:
    path = folder / "a.bin"
    path.write_bytes(bytes(range(8)))
    dataset = Dataset.create(workspace, "d", storage="link" if link else "copy")
    add(dataset, Binary(path=str(path), record_size=4, vanished="delete", settle="0s"))
    path.unlink()
    assert Feed(dataset).poll().deleted == 2
    assert dataset.num_samples == 0


def test_the_same_files_with_other_options_are_not_taken_twice(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1, 2])
    data = fill(Csv(path=str(folder)))
    again = Csv(path=f"{folder}/../{folder.name}", vanished="delete")
    with pytest.raises(DataError, match=r"already, with other options \(vanished: keep\)"):
        add(data.dataset, again, clock=data.clock)
    assert data.dataset.num_samples == 2


def test_names_of_any_kind_are_taken_or_told(fill: Fill, folder: Path) -> None:
    (folder / "x[1]").mkdir()
    write(folder / "x[1]" / "\u65e5 'q\".csv", [1])
    write(folder / "elsewhere.csv", [2])
    (folder / "x[1]" / "link.csv").symlink_to(folder / "elsewhere.csv")
    (folder / "x[1]" / "broken.csv").symlink_to(folder / "nowhere.csv")
    (folder / "x[1]" / "circle").symlink_to(folder / "x[1]")
    Path(os.fsdecode(os.fsencode(folder / "x[1]") + b"/\xff.csv")).write_text("x\n3\n")
    data = fill(Csv(path=str(folder / "x[1]")))
    assert sorted(data.column("x")) == [1, 2]
    assert data.added.refused == (f"'{folder}/x[1]/\\udcff.csv' has a name that is not UTF-8: rename it",)


def test_the_hashes_of_equal_rows_differ_between_datasets(fill: Fill, folder: Path) -> None:
    (folder / "a.csv").write_text("user,x\n17,1\n")
    seen = set()
    for _ in range(2):
        data = fill(Csv(path=str(folder), changed="replace", id="user"))
        with data.dataset.workspace.transaction() as connection:
            ((number, source),) = ledger.sources_of(connection, data.dataset.name)
            (file,) = ledger.known(connection, number, source).files.values()
            (extent,) = ledger.extents_of(connection, file.id)
        assert extent.contents is not None
        assert extent.subjects is not None
        seen |= {*extent.contents.tolist(), *extent.subjects.tolist()}
    assert len(seen) == 4


def test_a_dataset_from_memory_has_nothing_to_follow(workspace: Workspace) -> None:
    dataset = Dataset.create(workspace, "d")
    add(dataset, Memory(data={"x": [1, 2]}))
    add(dataset, Memory(data={"x": [3]}))
    assert dataset.num_samples == 3
    with pytest.raises(DataError, match="has no source to follow"):
        Feed(dataset)


def test_single_files_that_change_or_vanish_follow_the_same_rules(fill: Fill, folder: Path) -> None:
    for name in "abc":
        (folder / f"{name}.txt").write_text(name)
    data = fill(Files(path=str(folder), changed="replace", vanished="delete"))
    (folder / "b.txt").write_text("bb")
    (folder / "c.txt").unlink()
    (folder / "d.txt").write_text("d")
    data.poll()
    assert sorted(bytes(p) for p in data.column("payload")) == [b"a", b"bb", b"d"]
    assert data.poll().samples == 0


def test_what_the_writer_has_when_a_look_fails_is_given_up(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "STRETCH", 1)
    write(folder / "a.csv", [1, 2])
    dataset = Dataset.create(workspace, "d")
    source = Csv(path=str(folder), settle="0s", on_bad_sample="fail")
    add(dataset, source)
    write(folder / "b.csv", list(range(1000)))
    write(folder / "c.csv", ["never a number"])
    with pytest.raises(BadSample, match=r"c\.csv"):
        add(dataset, source)
    assert dataset.num_samples == 2
    dataset.append({"x": [3]}, timestamps=[0])  # nobody holds the lock
    assert dataset.verify() == []


def test_a_file_that_does_not_fit_is_set_aside_and_the_others_are_taken(fill: Fill, folder: Path) -> None:
    write(folder / "a.csv", [1])
    data = fill(Csv(path=str(folder)))
    (folder / "b.csv").write_text("y\n2\n")
    write(folder / "c.csv", [3])
    added = data.poll()
    assert (added.samples, added.quarantined) == (1, 1)
    assert "b.csv has no column 'x'" in added.first_bad
    assert data.poll().quarantined == 0


CHUNKS = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=CHUNKS, cut=st.integers(0, 3), lines=st.booleans())
def test_a_growing_file_gives_each_row_once_in_order(
    fill: Fill, tmp_path: Path, chunks: list[list[int]], cut: int, lines: bool
) -> None:
    """However the rows come, and wherever a write is torn, the dataset ends with the file's rows."""
    ending, head = ("jsonl", "") if lines else ("csv", "x\n")
    texts = ["".join(f'{{"x": {i}}}\n' if lines else f"{i}\n" for i in chunk) for chunk in chunks]
    path = tmp_path / f"grow{len(list(tmp_path.iterdir()))}.{ending}"
    path.write_text(head + ('{"x": 0}\n' if lines else "0\n"))
    source = Jsonl if lines else Csv
    data = fill(source(path=str(path), settle="0s"))
    data.clock = now_us
    for text in texts:
        torn = max(0, len(text) - cut)
        for part in (text[:torn], text[torn:]):
            extend(path, part)
            data.poll()
    assert data.column("x") == [0, *(i for chunk in chunks for i in chunk)]


def test_a_source_that_cannot_be_reached_keeps_no_other_waiting(workspace: Workspace, tmp_path: Path) -> None:
    dataset = Dataset.create(workspace, "d")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.csv", [1])
        add(dataset, Csv(path=str(tmp_path / name), settle="0s"))
    feed = Feed(dataset)
    (tmp_path / "first").rename(tmp_path / "away")
    write(tmp_path / "second" / "b.csv", [2, 3])
    added = feed.look()
    assert added.samples == 2
    assert "first" in added.refused[0]
    write(tmp_path / "second" / "c.csv", [4])
    with pytest.raises(DataError, match="first"):
        feed.poll()
    assert dataset.num_samples == 5


def test_a_source_that_is_added_meanwhile_is_followed_from_then_on(workspace: Workspace, tmp_path: Path) -> None:
    dataset = Dataset.create(workspace, "d")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.csv", [1])
    add(dataset, Csv(path=str(tmp_path / "first"), settle="0s"))
    feed = Feed(dataset)
    add(Dataset.open(workspace, "d"), Csv(path=str(tmp_path / "second"), settle="0s"))
    write(tmp_path / "second" / "b.csv", [2, 3])
    assert feed.poll().samples == 2


def test_a_workspace_in_the_folder_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("a\n1\n")
    workspace = Workspace(tmp_path / "modyn-workspace")
    dataset = Dataset.create(workspace, "first")
    for _ in range(2):
        dataset.append({"a": np.arange(3)}, timestamps=np.arange(3))
    assert guess_format(str(tmp_path)) == "csv"
    assert [Path(file.path).name for file in find_files(str(tmp_path), suffixes=(), include=None)] == ["day.csv"]


def test_files_beside_those_of_a_workspace_are_data(tmp_path: Path) -> None:
    """As where the workspace is the folder itself, or one of the data was named like it."""
    dataset = Dataset.create(Workspace(tmp_path), "first")
    dataset.append({"a": np.arange(3)}, timestamps=np.arange(3))
    (tmp_path / "day.csv").write_text("a\n1\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "night.csv").write_text("a\n1\n")
    found = find_files(str(tmp_path), suffixes=(), include=None)
    assert [Path(file.path).name for file in found] == ["day.csv", "night.csv"]
