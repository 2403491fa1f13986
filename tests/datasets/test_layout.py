"""Compaction, purge, linked storage and questions."""

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from modyn.datasets import Dataset, Field, Records, catalog
from modyn.datasets.announcing import fetch
from modyn.errors import Damaged, DataError, NotFound
from modyn.types import Window

DAY = 86_400 * 10**6


@pytest.fixture
def dataset(workspace):
    dataset = Dataset.create(workspace, "d")
    dataset.compacts_in_background = False
    return dataset


def fill(dataset, num=100, parts=10):
    """``num`` samples in ``parts`` shards: x and text of the serial number, label serial % 3, times in disorder."""
    for part in np.array_split(np.arange(num), parts):
        text = [f"t{i}" for i in part]
        dataset.append({"x": part, "text": text}, timestamps=(part * 37) % num * DAY, labels=part % 3)
    return dataset


def shard_files(dataset):
    return sorted(path.name for path in dataset.folder.glob("*.arrow"))


def test_compaction_changes_no_answer_and_no_version(dataset):
    fill(dataset).delete([5, 50])
    window = Window(20 * DAY, 70 * DAY, by="time")
    before = dataset.samples(window)
    reader = dataset.reader()
    assert dataset.compact() == 10
    assert len(shard_files(dataset)) == 1
    assert dataset.compact() == 0
    np.testing.assert_array_equal(dataset.samples(window).keys, before.keys)
    np.testing.assert_array_equal(dataset.samples(window).labels, before.labels)
    assert dataset.version == 11
    assert dataset.at(3).num_samples == 30
    assert reader.read(np.array([99, 0]))["text"].tolist() == ["t99", "t0"]
    assert dataset.verify() == []


def test_a_receipt_says_where_a_shard_became_longer_by_the_keys_that_are_left(dataset):
    dataset.append({"x": np.zeros(5000, np.int8)}, timestamps=np.zeros(5000, np.int64))
    dataset.delete([7])
    receipt = dataset.purge()
    assert receipt.shards[0].bytes_removed < 0
    assert f"(1 sample, {-receipt.shards[0].bytes_removed:,} bytes longer, with the keys that are left)" in str(receipt)


def test_a_shard_is_an_ordinary_arrow_file(dataset):
    fill(dataset).compact()
    with pa.memory_map(str(dataset.folder / shard_files(dataset)[0])) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.column_names == ["__timestamp", "__label", "__time_order", "x", "text"]
    assert table["text"].to_pylist()[:2] == ["t0", "t1"]


def test_many_small_appends_are_compacted_in_the_background(dataset):
    dataset.compacts_in_background = True
    for i in range(70):
        dataset.append({"x": np.array([i])}, timestamps=[i])
    import threading

    for thread in threading.enumerate():
        if thread.name == "compact d":
            thread.join()
    assert len(shard_files(dataset)) < 70
    assert dataset.reader().read(np.arange(70))["x"].tolist() == list(range(70))


@pytest.mark.parametrize("where", ["in files", "in the catalog"])
def test_purge_removes_the_bytes_and_gives_a_receipt(dataset, workspace, where, request):
    if where == "in files":
        request.getfixturevalue("in_files")
    secret = b"remember me not"
    payload = [b"harmless" * 3, secret, b"another", b"more"]
    dataset.append({"payload": payload}, timestamps=[1, 2, 3, 4])
    dataset.append({"payload": [b"untouched"]}, timestamps=[5])
    untouched = [shard.file for shard in dataset._state.snapshot().shards]
    dataset.delete([1])
    assert dataset.at(2).num_samples == 5
    with workspace.transaction() as connection:
        connection.execute(sa.text("create table notes (dataset_id integer, sample_key integer, note text)"))
        connection.execute(sa.text("create table bad_rows (dataset_id integer, content blob)"))
        connection.execute(
            sa.text(f"insert into notes values ({dataset.id}, 1, 'about it'), ({dataset.id}, 2, 'stays')")
        )
        connection.execute(sa.text(f"insert into bad_rows values ({dataset.id}, :secret)"), {"secret": secret})
    (workspace.root / "caches" / "d").mkdir(parents=True)
    (workspace.root / "caches" / "d" / "copy").write_bytes(secret)
    receipt = dataset.purge()
    assert (receipt.num_keys, receipt.key_ranges) == (1, ((1, 2),))
    assert receipt.tables == {"bad_rows": 1, "notes": 1}
    assert receipt.caches_removed
    (rewritten,) = receipt.shards
    assert rewritten.old_file in untouched
    assert rewritten.num_removed == 1
    assert len(shard_files(dataset)) == (2 if where == "in files" else 1)
    for path in workspace.root.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path
    assert "purged 1 sample of dataset 'd'" in str(receipt)
    assert dataset.receipts() == [receipt]
    assert dataset.at(2).samples().keys.tolist() == [0, 2, 3, 4]
    with pytest.raises(NotFound, match="sample 1 of dataset 'd' is deleted"):
        dataset.at(2).reader().read(np.array([1]))
    assert bytes(dataset.reader().read(np.array([2]))["payload"][0]) == b"another"


def test_small_appends_stay_in_the_catalog_until_they_are_compacted(dataset, workspace):
    for start in range(0, 30, 10):
        dataset.append({"x": np.arange(start, start + 10)}, timestamps=np.arange(10))
    elsewhere = Dataset.open(workspace, "d").reader()
    for num_files, num_kept in ((0, 3), (1, 0)):
        with catalog.reading(workspace) as connection:
            kept = connection.execute(sa.select(sa.func.count()).select_from(catalog.CONTENTS)).scalar_one()
        assert (len(shard_files(dataset)), kept) == (num_files, num_kept)
        assert elsewhere.read(np.array([25, 3, 11]))["x"].tolist() == [25, 3, 11]
        dataset.compact()


def test_removing_a_dataset_removes_its_bytes_from_the_catalog(dataset, workspace):
    dataset.append({"payload": [b"remember me not"]}, timestamps=[1])
    Dataset.remove(workspace, "d")
    for path in workspace.root.rglob("*"):
        assert not path.is_file() or b"remember me not" not in path.read_bytes(), path


def test_purging_everything_leaves_an_empty_dataset_that_goes_on(dataset):
    fill(dataset).delete(np.arange(100))
    assert dataset.purge().num_keys == 100
    assert shard_files(dataset) == []
    assert (dataset.num_samples, dataset.end_key) == (0, 100)
    assert dataset.append({"x": [1], "text": ["a"]}, timestamps=[0], labels=[1]) == range(100, 101)


def test_purging_nothing_is_a_receipt_of_nothing(dataset):
    assert fill(dataset).purge().num_keys == 0


def test_conditions_find_samples(dataset):
    fill(dataset)
    assert dataset.find(["x < 10", "label == 1"]).tolist() == [1, 4, 7]
    assert dataset.find(["text in t3, t77"]).tolist() == [3, 77]
    assert dataset.find(["x >= 98"]).tolist() == [98, 99]
    assert dataset.find(["key not in 1, 2", "x<4"]).tolist() == [0, 3]
    early = dataset.find(["time < 1970-01-03"]).tolist()
    assert early == sorted([0, next(i for i in range(100) if i * 37 % 100 == 1)])
    assert dataset.find(["text != t3"], Window(2, 5)).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("x", "is not a condition; write NAME OP VALUE"),
        ("xx == 3", "no column 'xx'. Did you mean 'x'"),
        ("arr_late == 3", "a sample's label is named 'label' here and its time 'time'"),
        (5, "'5' is not a condition"),
        ("x == many", "'many' is not a value of int64"),
        ("time < soon", "'soon' is not a time such as"),
    ],
)
def test_a_wrong_condition_says_what_is_allowed(dataset, condition, message):
    with pytest.raises(DataError, match=message):
        fill(dataset).find([condition])


def test_conditions_on_classes_use_their_names(dataset):
    dataset.append({"f": np.array([True, False, True])}, timestamps=[1, 2, 3], labels=["cat", "dog", "cat"])
    assert dataset.find(["label == cat"]).tolist() == [0, 2]
    assert dataset.find(["f == false"]).tolist() == [1]
    assert dataset.label_counts() == {"cat": 2, "dog": 1}
    with pytest.raises(DataError, match="'cow' is not a label class"):
        dataset.find(["label == cow"])


def test_a_data_subject_is_found_by_the_users_ids(dataset):
    fill(dataset)
    assert dataset.find_ids("text", ["t5", "t99", "nobody"]).tolist() == [5, 99]
    assert dataset.find_ids("x", ["7", 8]).tolist() == [7, 8]
    with pytest.raises(DataError, match="not every id is an integer"):
        dataset.find_ids("x", ["seven"])


def test_retention_deletes_what_is_older(dataset):
    fill(dataset)
    assert dataset.expire(now_us=200 * DAY) == 0
    dataset.set_retention(30 * DAY)
    assert dataset.expire(now_us=100 * DAY) == 70
    assert dataset.samples().timestamps.min() == 70 * DAY
    assert dataset.expire(now_us=100 * DAY) == 0


def test_histograms_and_the_summary_count_live_samples(dataset):
    fill(dataset).delete([0, 1])
    assert dataset.label_counts() == {0: 33, 1: 32, 2: 33}
    assert dataset.label_counts(Window(0, 5)) == {0: 1, 1: 1, 2: 1}
    starts, counts = dataset.time_histogram(10 * DAY)
    assert starts.tolist() == [10 * DAY * i for i in range(10)]
    assert counts.sum() == 98
    summary = dataset.summary()
    assert (summary.num_samples, summary.num_deleted, summary.num_shards) == (98, 2, 10)
    assert summary.deleted_share == 0.02
    assert (summary.first_time, summary.last_time) == (DAY, 99 * DAY)
    (today,) = summary.growth
    assert (today.num_added, today.num_deleted) == (100, 2)
    assert today.day == f"{datetime.now(UTC):%Y-%m-%d}"
    assert "98 (and 2 deleted, 2.0%, not yet purged)" in str(summary)
    assert dataset.since(9) == Window(90, 100)


def test_the_dataset_at_a_moment(dataset):
    with pytest.raises(NotFound, match="did not exist then"):
        dataset.at_time(datetime(2000, 1, 1, tzinfo=UTC))
    dataset.append({"x": [1]}, timestamps=[1])
    between = datetime.now(UTC)
    dataset.append({"x": [2]}, timestamps=[1])
    assert dataset.at_time(between).num_samples == 1


def test_announcing_changes_nothing_and_forgives_unknown_keys(dataset, in_files):
    fill(dataset)
    reader = dataset.reader()
    reader.announce(np.arange(100))
    reader.announce(np.array([1000]))
    assert reader.read(np.arange(100))["x"].tolist() == list(range(100))
    opened = dataset._state.snapshot().open(dataset._state.snapshot().shards[0])
    assert fetch(opened, "x", np.arange(10)) is False  # just written, so in memory
    starts, ends = opened.span("text", np.array([0, 9]))
    content = opened.path.read_bytes()
    assert [content[a:b] for a, b in zip(starts, ends, strict=True)] == [b"t0", b"t9"]


def records(path, num=6, start=0):
    """A file of a 4-byte big-endian label, an 8-byte time in seconds and 4 bytes of payload."""
    kind = np.dtype([("label", ">i4"), ("time", "<i8"), ("payload", "u1", (4,))])
    rows = np.zeros(num, kind)
    rows["label"], rows["time"] = np.arange(num) + start, np.arange(num) * 10
    rows["payload"] = np.arange(num * 4).reshape(num, 4)
    path.write_bytes(b"head" + rows.tobytes())
    fields = {"payload": Field(12, "uint8", (4,))}
    return Records(
        path=str(path), record_size=16, num_records=num, columns=fields, start=4,
        label=Field(0, ">i4"), timestamp=Field(4, "<i8", scale=1_000_000),
    )  # fmt: skip


def test_linked_records_are_read_in_place(dataset, tmp_path):
    with dataset.write() as writer:
        assert writer.link_records(records(tmp_path / "a.bin")) == range(6)
        assert writer.link_records(records(tmp_path / "b.bin", start=6)) == range(6, 12)
    assert shard_files(dataset) == []
    samples = dataset.samples()
    assert samples.labels.tolist() == list(range(12))
    assert samples.timestamps[:3].tolist() == [0, 10_000_000, 20_000_000]
    assert dataset.reader().read(np.array([7, 1]))["payload"].tolist() == [[4, 5, 6, 7], [4, 5, 6, 7]]
    assert dataset.samples(Window(20_000_000, 40_000_000, by="time")).keys.tolist() == [2, 3, 8, 9]
    assert dataset.compact() == 0
    dataset.delete([1, 11])
    receipt = dataset.purge()
    assert receipt.linked_files == (str(tmp_path / "a.bin"), str(tmp_path / "b.bin"))
    assert dataset.samples().labels.tolist() == [0, *range(2, 11)]
    assert dataset.reader().read(np.array([2, 10]))["payload"].tolist() == [[8, 9, 10, 11], [16, 17, 18, 19]]
    assert dataset.verify() == []


def test_a_linked_file_may_grow_but_not_change(dataset, workspace, tmp_path):
    path = tmp_path / "a.bin"
    with dataset.write() as writer:
        writer.link_records(records(path))
    with path.open("ab") as file:
        file.write(b"more")
    assert Dataset.open(workspace, "d").reader().labels(np.array([5])).tolist() == [5]
    content = path.read_bytes()
    path.write_bytes(b"HEAD" + b"x" + content[5:])
    with pytest.raises(Damaged, match=r"a\.bin: the linked file has changed since it was linked"):
        Dataset.open(workspace, "d").reader().labels(np.array([5]))
    path.write_bytes(content[:50])
    with pytest.raises(Damaged, match=r"a\.bin: the linked file has 50 bytes, but the records linked need 100"):
        Dataset.open(workspace, "d").samples()
    path.unlink()
    with pytest.raises(Damaged, match=r"a\.bin: the linked file is missing"):
        Dataset.open(workspace, "d").samples()
    assert dataset.verify() == [f"{path}: the linked file is missing"]


def test_verify_names_every_linked_file_that_has_changed(dataset, tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(4)]
    for path in paths:
        path.write_bytes(b"x")
    with dataset.write() as writer:
        writer.link_files(paths, timestamps=np.arange(4))
    paths[1].unlink()
    paths[3].write_bytes(b"longer")
    first, second = dataset.verify()
    assert first == f"{paths[1]}: the linked file is missing or cannot be read: No such file or directory"
    assert second == f"{paths[3]}: the linked file has changed since it was linked"


def test_verify_takes_shards_that_compaction_replaces_meanwhile_for_no_fault(dataset, workspace):
    def merge():
        other = Dataset.open(workspace, "d")
        other.compacts_in_background = False
        for _ in range(10):
            fill(other, num=40, parts=20)
            other.compact()

    fill(dataset, num=10, parts=1)
    with ThreadPoolExecutor(1) as aside:
        merging = aside.submit(merge)
        while not merging.done():
            assert dataset.verify() == []
        merging.result()


def test_the_samples_of_a_linked_file_that_is_lost_are_known_and_can_be_deleted(dataset, workspace, tmp_path):
    lost = tmp_path / "lost.bin"
    with dataset.write() as writer:
        writer.link_records(records(lost))
        writer.link_records(records(tmp_path / "kept.bin", start=6))
    lost.unlink()
    dataset = Dataset.open(workspace, "d")
    assert dataset.keys().tolist() == list(range(12))
    assert dataset.keys(Window(4, 8)).tolist() == [4, 5, 6, 7]
    assert dataset.find("key in 3, 9").tolist() == [3, 9]
    assert dataset.samples(Window(6, 12)).labels.tolist() == list(range(6, 12))
    for needs_it in (dataset.samples, dataset.label_counts, lambda: dataset.reader().labels(np.array([3]))):
        with pytest.raises(Damaged, match=r"lost\.bin: the linked file is missing"):
            needs_it()
    assert dataset.delete(np.arange(6)) == 6
    assert dataset.samples().labels.tolist() == list(range(6, 12))
    assert dataset.purge().linked_files == (str(lost),)
    assert dataset.verify() == []


def test_some_samples_of_a_linked_file_that_is_lost_are_purged_from_the_index(dataset, workspace, tmp_path):
    lost = tmp_path / "lost.bin"
    with dataset.write() as writer:
        writer.link_records(records(lost))
        writer.link_records(records(tmp_path / "kept.bin", start=6))
    content, stamps = lost.read_bytes(), (lost.stat().st_atime_ns, lost.stat().st_mtime_ns)
    lost.unlink()
    dataset = Dataset.open(workspace, "d")
    assert dataset.delete([1, 4, 7]) == 3
    receipt = dataset.purge()
    assert (receipt.num_keys, receipt.linked_files) == (3, (str(tmp_path / "kept.bin"), str(lost)))
    assert dataset.keys().tolist() == [0, 2, 3, 5, 6, 8, 9, 10, 11]
    lost.write_bytes(content)
    os.utime(lost, ns=stamps)
    found = Dataset.open(workspace, "d")
    assert found.samples().labels.tolist() == [0, 2, 3, 5, 6, 8, 9, 10, 11]
    assert found.samples(Window(20_000_000, 40_000_000, by="time")).keys.tolist() == [2, 3, 8, 9]
    assert found.reader().read(np.array([5]))["payload"].tolist() == [[20, 21, 22, 23]]
    assert found.verify() == []


def test_records_out_of_time_order_are_still_found_by_time_after_a_purge(dataset, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(np.array([[50, 0], [10, 1], [30, 2], [20, 3]], "<i8").tobytes())
    with dataset.write() as writer:
        writer.link_records(
            Records(
                path=str(path), record_size=16, num_records=4, columns={"x": Field(8, "<i8")}, timestamp=Field(0, "<i8")
            )
        )
    dataset.delete([2])
    dataset.purge()
    assert dataset.samples(Window(15, 60, by="time")).keys.tolist() == [0, 3]
    assert dataset.samples(Window(0, 15, by="time")).keys.tolist() == [1]


def test_what_is_known_of_a_linked_file_that_is_lost_is_shown(dataset, workspace, tmp_path):
    lost = tmp_path / "lost.bin"
    with dataset.write() as writer:
        writer.link_records(records(lost))
        writer.link_records(records(tmp_path / "kept.bin", num=3, start=6))
    assert dataset.summary().lost == ()
    lost.unlink()
    summary = Dataset.open(workspace, "d").summary()
    assert (summary.num_samples, summary.first_time, summary.last_time) == (9, 0, 50_000_000)
    assert summary.label_counts == {6: 1, 7: 1, 8: 1}
    assert summary.lost == (f"{lost}: the linked file is missing",)
    assert f"lost     {lost}: the linked file is missing: no labels are known of what lies there" in str(summary)


def test_records_of_one_moment_and_without_a_label_are_told_without_their_file(dataset, workspace, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(40))
    with dataset.write() as writer:
        writer.link_records(
            Records(
                path=str(path), record_size=8, num_records=5, timestamp=7, columns={"payload": Field(0, "u1", (8,))}
            )
        )
    path.unlink()
    samples = Dataset.open(workspace, "d").samples(Window(0, 10, by="time"))
    assert samples.timestamps.tolist() == [7] * 5
    with pytest.raises(Damaged, match=r"a\.bin: the linked file is missing"):
        Dataset.open(workspace, "d").reader().read(np.array([0]))


def test_a_shard_of_which_everything_is_deleted_is_passed_over(dataset):
    for moment in (5, 3 * DAY):
        dataset.append({"x": [1, 2]}, timestamps=[moment, moment], labels=[0, 1])
    dataset.delete([0, 1])
    assert dataset.summary().first_time == 3 * DAY
    assert dataset.time_histogram(DAY)[1].tolist() == [2]
    assert dataset.label_counts() == {0: 1, 1: 1}


def test_what_small_appends_left_in_the_catalog_is_asked_for_together(dataset, workspace):
    dataset.compacts_in_background = False
    for i in range(20):
        dataset.append({"x": [i, i]}, timestamps=[i, i], labels=[0, 1])
    asked = []
    sa.event.listen(workspace.engine, "before_cursor_execute", lambda *event: asked.append(event[2]))
    for use in (
        lambda new: new.samples(),
        lambda new: new.label_counts(),
        lambda new: new.find("x > 3"),
        lambda new: new.reader().read(np.arange(40)),
        lambda new: new.reader().labels(np.arange(40)[::-1]),
    ):
        new = Dataset.open(workspace, "d")
        assert new.num_samples == 40
        asked.clear()
        use(new)
        assert len([query for query in asked if "dataset_contents" in query]) == 1


def test_a_field_outside_the_record_is_refused(dataset, tmp_path):
    wrong = Records(path=str(tmp_path / "x"), record_size=8, num_records=1, columns={"p": Field(4, "f8")}, timestamp=0)
    with (
        pytest.raises(DataError, match="field 'p' takes bytes 4 to 12 of a record of 8 bytes"),
        dataset.write() as writer,
    ):
        writer.link_records(wrong)


def test_linked_files_are_read_in_place(dataset, workspace, tmp_path):
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.jpg")
        paths[-1].write_bytes(b"image" * i)
    with dataset.write() as writer:
        writer.link_files(paths[:3], timestamps=[1, 2, 3], labels=[0, 1, 2])
    with dataset.write() as writer:
        writer.link_files(paths[3:], timestamps=[4, 5], labels=[3, 4])
    reader = dataset.reader()
    assert [bytes(b) for b in reader.read(np.array([4, 0, 1]))["payload"]] == [b"image" * 4, b"", b"image"]
    assert dataset.samples().labels.tolist() == [0, 1, 2, 3, 4]
    assert dataset.compact() == 2
    dataset.delete([1])
    assert dataset.purge().linked_files == (str(paths[1]),)
    paths[2].write_bytes(b"other")
    with pytest.raises(Damaged, match=r"2\.jpg: the linked file has changed"):
        reader.read(np.array([2]))
    paths[3].unlink()
    with pytest.raises(Damaged, match=r"3\.jpg: the linked file is missing"):
        reader.read(np.array([3]))
    assert bytes(reader.read(np.array([4]))["payload"][0]) == b"image" * 4
    with pytest.raises(DataError, match="cannot be linked"), dataset.write() as writer:
        writer.link_files([tmp_path / "none"], timestamps=[1], labels=[1])


def test_the_catalog_holds_no_samples(dataset, workspace):
    fill(dataset, 10_000, 1)
    dataset.delete(np.arange(0, 10_000, 2))
    with sqlite3.connect(workspace.root / "catalog.sqlite") as connection:
        (size,) = connection.execute("select sum(length(bitmap)) from dataset_deletions").fetchone()
    connection.close()
    assert size < 10_000
