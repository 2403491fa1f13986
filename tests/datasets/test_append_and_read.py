"""Appending samples and reading them back."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from modyn.datasets import Dataset
from modyn.errors import AlreadyExists, BadSample, ConfigError, DataError, NotFound
from modyn.types import Window
from modyn.workspace import Workspace


@pytest.fixture
def dataset(workspace):
    return Dataset.create(workspace, "things")


def numbers(num, start=0):
    return {"x": np.arange(start, start + num, dtype=np.float32)}


def test_keys_are_dense_and_given_in_the_order_of_appends(dataset):
    assert dataset.append(numbers(3), timestamps=[1, 2, 3]) == range(3)
    assert dataset.append(numbers(2), timestamps=[1, 2]) == range(3, 5)
    assert dataset.end_key == dataset.num_samples == 5
    assert dataset.version == 2


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.5, -2.5, 3.0], np.float32),
        np.array([1, 2, 3], np.int16),
        np.array([1, 2, 3], ">i4"),
        np.array([True, False, True]),
        np.array([1.0, 2.0, 3.0], np.float16),
        np.arange(24, dtype=np.float64).reshape(3, 2, 4),
        np.arange(24, dtype=np.uint8).reshape(3, 8),
        np.array(["2013-01-01", "2014-01-01", "NaT"], "M8[ns]").astype("M8[us]"),
    ],
    ids=str,
)
def test_arrays_come_back_as_they_were_given(dataset, values):
    dataset.append({"x": values}, timestamps=[1, 2, 3])
    back = dataset.reader().read(np.array([2, 0, 1]))["x"]
    assert back.dtype == values.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, values[[2, 0, 1]])


def test_text_comes_back_as_text_from_several_shards(dataset):
    dataset.append({"t": np.array(["a", "", "déjà"])}, timestamps=[1, 2, 3])
    dataset.append({"t": pa.array(["x", None, "z"]).dictionary_encode()}, timestamps=[1, 2, 3])
    assert dataset.reader().read(np.array([5, 2, 4, 0]))["t"].tolist() == ["z", "déjà", "", "a"]
    assert dataset.column_types == {"t": "text"}


def test_bytes_of_any_length_come_as_views_and_as_one_buffer(dataset):
    dataset.append({"payload": [b"one", b"", b"three"]}, timestamps=[1, 2, 3])
    dataset.append({"payload": pa.array([b"4", b"55"]).slice(1)}, timestamps=[1])
    reader = dataset.reader()
    views = reader.read(np.array([3, 0, 1]))["payload"]
    assert [bytes(view) for view in views] == [b"55", b"one", b""]
    ragged = reader.ragged("payload", np.array([3, 0, 1]))
    assert bytes(ragged.data) == b"55one"
    assert ragged.offsets.tolist() == [0, 2, 5, 5]


def test_a_list_of_bytes_keeps_zeros_at_the_end_and_may_hold_what_a_reader_gave(dataset):
    given = [b"png\0\0", b"\0", b"", b"jpeg"]
    dataset.append({"payload": given}, timestamps=[1, 2, 3, 4])
    read = dataset.reader().read(np.arange(4))["payload"]
    for again in (list(read), read, tuple(map(bytearray, given))):
        dataset.append({"payload": again}, timestamps=[1, 2, 3, 4])
    assert [bytes(view) for view in dataset.reader().read(np.arange(16))["payload"]] == given * 4


def test_bytes_of_one_length_are_not_taken_for_a_second_axis(dataset):
    dataset.append({"payload": [b"abc", b"def"]}, timestamps=[1, 2])
    views = dataset.reader().read(np.array([0, 1]))["payload"]
    assert views.shape == (2,)
    assert bytes(views[1]) == b"def"


def test_a_table_is_appended_by_column(dataset):
    table = pa.table({"n": [1, 2], "s": ["a", "b"], "v": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))})
    dataset.append(table, timestamps=pa.array([1, 2], pa.timestamp("s")))
    assert dataset.column_types == {"n": "int64", "s": "text", "v": "float32[2]"}
    assert dataset.samples().timestamps.tolist() == [1_000_000, 2_000_000]


def test_no_samples_make_no_version(dataset):
    assert dataset.append(numbers(0), timestamps=[]) == range(0)
    assert dataset.version == 0
    assert len(dataset.samples()) == 0
    assert dataset.reader().read(np.array([], np.int64)) == {}


def test_no_keys_give_empty_columns(dataset):
    dataset.append({"x": np.ones((2, 3), np.float32), "t": ["a", "b"]}, timestamps=[1, 2], labels=[0, 1])
    found = dataset.reader().read(np.array([], np.int64))
    assert found["x"].shape == (0, 3)
    assert found["t"].shape == (0,)
    assert dataset.reader().labels(np.array([], np.int64)).shape == (0,)


@pytest.mark.parametrize(
    ("labels", "type_", "expected"),
    [
        ([1, 0], "int64", [1, 0]),
        (np.array([True, False]), "int64", [1, 0]),
        (np.array([1.5, 2.5], np.float32), "float32", [1.5, 2.5]),
        (np.array([[1, 2], [3, 4]], np.int32), "int64[2]", [[1, 2], [3, 4]]),
        (["dog", "cat"], "int64", [0, 1]),
    ],
)
def test_labels_of_every_kind(dataset, labels, type_, expected):
    dataset.append(numbers(2), timestamps=[1, 2], labels=labels)
    assert dataset.label_type == type_
    assert dataset.samples().labels.tolist() == expected
    assert dataset.reader().labels(np.array([1, 0])).tolist() == expected[::-1]


def test_text_classes_are_remembered_in_the_order_they_come(dataset):
    dataset.append(numbers(2), timestamps=[1, 2], labels=["dog", "cat"])
    dataset.append(numbers(2), timestamps=[1, 2], labels=["fox", "cat"])
    assert dataset.label_classes == ("dog", "cat", "fox")
    assert dataset.samples().labels.tolist() == [0, 1, 2, 1]


def test_fixed_classes_refuse_another_one(workspace):
    dataset = Dataset.create(workspace, "pets", label_classes=["dog", "cat"])
    dataset.append(numbers(2), timestamps=[1, 2], labels=["cat", "dog"])
    with pytest.raises(BadSample, match=r"row 1: 'catt' is not a label class of this dataset. Did you mean 'cat'"):
        dataset.append(numbers(2), timestamps=[1, 2], labels=["cat", "catt"])
    with pytest.raises(BadSample, match="row 0: label 2 is not the code of one of the 2 classes"):
        dataset.append(numbers(1), timestamps=[1], labels=[2])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "lacks column 'x'"),
        ({"x": np.ones(2), "y": np.ones(2)}, "has no column 'y'"),
        ({"x": np.array(["a", "b"])}, r"column 'x' holds float32 in this dataset; got text"),
        ({"x": np.ones((2, 2), np.float32)}, r"column 'x' holds float32 in this dataset; got float32\[2\]"),
        ({"x": np.array([1, 2**53 + 1])}, "row 1 does not fit"),
        ({"x": np.ones(3)}, "column 'x' has 3 values, but there are 2 timestamps"),
        ({"x": [{}, {}]}, "cannot be stored"),
        ({"x": np.ones(2, complex)}, "complex128 cannot be stored"),
        ({"x": 3}, "one value a sample"),
        ({"x": [[1, 2], [3]]}, "the samples' values have different shapes"),
        ({"x": [[b"a", b"b"], [b"c", b"d"]]}, r"bytes must be one value a sample; got an array of shape \(2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_added(dataset, columns, message):
    dataset.append(numbers(2), timestamps=[1, 2])
    with pytest.raises(DataError, match=message):
        dataset.append(columns, timestamps=[1, 2])
    assert dataset.version == 1


def test_what_fits_without_loss_is_converted(dataset):
    dataset.append(numbers(2), timestamps=[1, 2])
    dataset.append({"x": np.array([3, 4], np.int64)}, timestamps=[1, 2])
    assert dataset.reader().read(np.arange(4))["x"].tolist() == [0, 1, 3, 4]


def test_a_missing_value_is_named(dataset):
    with pytest.raises(BadSample, match="column 'n', row 1: the value is missing"):
        dataset.append({"n": pa.array([1, None])}, timestamps=[1, 2])
    with pytest.raises(BadSample, match="row 1: the timestamp is missing"):
        dataset.append(numbers(2), timestamps=pa.array([1, None], pa.timestamp("us")))


def test_labels_must_be_there_for_all_or_none(dataset):
    dataset.append(numbers(1), timestamps=[1], labels=[1])
    with pytest.raises(DataError, match=r"has labels, but what is appended has none\. dataset\.label.* gives labels"):
        dataset.append(numbers(1), timestamps=[1])
    with pytest.raises(DataError, match="2 labels, but 1 timestamps"):
        dataset.append(numbers(1), timestamps=[1], labels=[1, 2])


def test_one_write_is_one_version_or_nothing(dataset, in_files):
    with dataset.write() as writer:
        assert writer.append(numbers(2), timestamps=[1, 2]) == range(2)
        assert writer.append(numbers(3), timestamps=[1, 2, 3]) == range(2, 5)
        assert dataset.num_samples == 0
    assert (dataset.version, dataset.num_samples) == (1, 5)
    with pytest.raises(ZeroDivisionError), dataset.write(shard_bytes=1) as writer:  # noqa: PT012
        writer.append(numbers(2), timestamps=[1, 2])
        writer.append(numbers(2), timestamps=[1 // 0, 2])
    assert (dataset.version, dataset.num_samples) == (1, 5)
    assert len(list(dataset.folder.glob("*.arrow"))) == 1
    assert dataset.append(numbers(1), timestamps=[1]) == range(5, 6)


def test_a_write_inside_a_write_is_refused_instead_of_waiting_for_ever(dataset):
    with dataset.write() as writer:
        writer.append(numbers(1), timestamps=[1])
        with pytest.raises(DataError, match="inside another change"):
            dataset.append(numbers(1), timestamps=[1])
    assert dataset.num_samples == 1


def test_a_large_write_becomes_several_shards(dataset):
    with dataset.write(shard_bytes=1000) as writer:
        for start in range(0, 1000, 100):
            writer.append(numbers(100, start), timestamps=np.arange(100))
    assert dataset.version == 1
    assert len(list(dataset.folder.glob("*.arrow"))) > 2
    assert dataset.reader().read(np.arange(1000))["x"].tolist() == list(range(1000))


@pytest.mark.parametrize(("largest", "num_files"), [(10**9, 2), (5_000, 5)])
def test_one_large_append_is_written_as_it_is_among_small_ones(dataset, monkeypatch, largest, num_files):
    """Of any layout in memory, to few shards; what comes before is kept in the catalog, what comes after is gathered."""
    monkeypatch.setattr("modyn.datasets.writer.SHARD_BYTES", 4_000)
    monkeypatch.setattr("modyn.datasets.compaction.TARGET_BYTES", largest)
    wide = np.arange(1_200).reshape(300, 4).T.copy().T  # in Fortran's order
    every_other = np.arange(600)[::2]
    text = pa.array([f"sample {i}" for i in range(301)]).slice(1)
    with dataset.write() as writer:
        for start, num in ((0, 10), (10, 280), (290, 10)):
            part = slice(start, start + num)
            given = {"wide": wide[part], "text": text.slice(start, num), "odd": np.arange(300)[part] % 2 == 1}
            keys = writer.append(given, timestamps=np.arange(300)[part], labels=every_other[part])
            assert keys == range(start, start + num)
    assert len(list(dataset.folder.glob("*.arrow"))) == num_files
    found = dataset.reader().read(np.arange(300))
    assert np.array_equal(found["wide"], wide)
    assert found["text"].tolist() == text.to_pylist()
    assert np.array_equal(found["odd"], np.arange(300) % 2 == 1)
    assert np.array_equal(dataset.samples().labels, every_other)
    assert np.array_equal(dataset.samples().timestamps, np.arange(300))
    assert dataset.verify() == []


def test_windows_by_key_and_by_time_are_half_open(dataset):
    dataset.append(numbers(4), timestamps=[10, 20, 30, 40])
    dataset.append(numbers(4), timestamps=[45, 15, 20, 50])
    assert dataset.samples(Window(2, 5)).keys.tolist() == [2, 3, 4]
    assert dataset.samples(Window(20, 45, by="time")).keys.tolist() == [1, 2, 3, 6]
    assert dataset.samples(Window(60, 70, by="time")).keys.tolist() == []
    assert dataset.samples(Window(-5, 100)).timestamps.tolist() == [10, 20, 30, 40, 45, 15, 20, 50]


def test_a_deleted_sample_is_never_read_again_but_earlier_versions_keep_it(dataset):
    dataset.append(numbers(4), timestamps=[1, 2, 3, 4], labels=[1, 2, 3, 4])
    reader = dataset.reader()
    pinned = dataset.at(1)
    assert dataset.delete([1, 1, 3]) == 2
    assert dataset.delete([1]) == 0
    assert dataset.samples().keys.tolist() == [0, 2]
    assert dataset.samples(Window(2, 9, by="time")).labels.tolist() == [3]
    with pytest.raises(NotFound, match="sample 1 of dataset 'things' is deleted"):
        reader.read(np.array([0, 1]))
    with pytest.raises(NotFound, match="has no sample 4"):
        dataset.delete([4])
    assert pinned.samples().keys.tolist() == [0, 1, 2, 3]
    assert pinned.reader().read(np.array([1]))["x"].tolist() == [1]


def test_a_version_shows_the_dataset_as_it_was(dataset):
    dataset.append(numbers(2), timestamps=[1, 2])
    dataset.append(numbers(2), timestamps=[3, 4])
    dataset.delete([0])
    assert [dataset.at(v).num_samples for v in range(4)] == [0, 2, 4, 3]
    with pytest.raises(NotFound, match="has no version 4; it has 0 to 3"):
        dataset.at(4)
    with pytest.raises(DataError, match="at version 1 can be read only"):
        dataset.at(1).append(numbers(1), timestamps=[1])
    with pytest.raises(NotFound, match="has no sample 2; version 1 ends before 2"):
        dataset.at(1).reader().read(np.array([2]))


def test_replacing_samples_is_one_version(dataset):
    dataset.append(numbers(2), timestamps=[1, 2])
    with dataset.write() as writer:
        assert writer.delete([0, 1]) == 2
        writer.append(numbers(1), timestamps=[5])
    assert dataset.version == 2
    assert dataset.samples().keys.tolist() == [2]


def test_a_reader_travels_to_another_process_as_bytes_and_opens_lazily(dataset):
    dataset.append(numbers(3), timestamps=[1, 2, 3])
    data = pickle.dumps(dataset.reader())
    assert len(data) < 2000
    assert pickle.loads(data).read(np.array([2]))["x"].tolist() == [2]


def test_a_reader_of_chosen_columns_reads_only_these(dataset):
    dataset.append({"x": np.ones(2), "y": np.zeros(2)}, timestamps=[1, 2])
    assert set(dataset.reader(columns=["y"]).read(np.array([0]))) == {"y"}
    with pytest.raises(DataError, match="has no column 'z'"):
        dataset.reader(columns=["z"])


def test_names_are_unique_known_and_removable(workspace, dataset):
    with pytest.raises(AlreadyExists, match="there is a dataset 'things' already"):
        Dataset.create(workspace, "things")
    with pytest.raises(NotFound, match="Did you mean 'things'"):
        Dataset.open(workspace, "thing")
    with pytest.raises(ConfigError, match="cannot name a dataset"):
        Dataset.create(workspace, "../x")
    assert Dataset.names(workspace) == ["things"]
    dataset.append(numbers(1), timestamps=[1])
    reader = dataset.reader()
    reader.read(np.array([0]))
    Dataset.remove(workspace, "things")
    assert Dataset.names(workspace) == []
    with pytest.raises(NotFound, match="the dataset has been removed"):
        reader.read(np.array([0]))
    assert not dataset.folder.exists()
    assert Dataset.create(workspace, "things").num_samples == 0


def test_keys_must_be_integers(dataset):
    dataset.append(numbers(1), timestamps=[1])
    with pytest.raises(DataError, match="array of integers"):
        dataset.reader().read(np.array([0.5]))


def test_rows_of_ones_own_are_committed_with_the_samples(dataset):
    import sqlalchemy as sa

    def append_and_note(writer, moment):
        keys = writer.append(numbers(1), timestamps=[moment])
        writer.connection.execute(sa.text("insert into ledger values (:key)"), {"key": keys.start})

    with dataset.workspace.transaction() as connection:
        connection.execute(sa.text("create table ledger (key integer)"))
    with pytest.raises(ZeroDivisionError), dataset.write() as writer:  # noqa: PT012
        append_and_note(writer, 2)
        append_and_note(writer, 1 // 0)
    with dataset.write() as writer:
        append_and_note(writer, 1)
    with dataset.workspace.transaction() as connection:
        assert connection.execute(sa.text("select key from ledger")).scalars().all() == [0]


def test_rows_of_whole_pages_begin_at_a_page(dataset, in_files):
    payload = np.arange(10, dtype=np.uint8).repeat(8192).reshape(10, 8192)
    dataset.append({"n": np.arange(10), "payload": payload}, timestamps=np.arange(10), labels=np.arange(10))
    found = dataset.reader().read(np.array([9, 0]))
    assert found["payload"][:, 5].tolist() == found["n"].tolist() == [9, 0]
    snapshot = dataset._state.snapshot()
    starts, _ = snapshot.open(snapshot.shards[0]).span("payload", np.arange(10))
    assert (starts % 4096).tolist() == [0] * 10


@pytest.mark.parametrize("state", ["appended", "deleted", "compacted"])
def test_columns_of_every_kind_come_in_any_order_from_any_number_of_shards(workspace: Workspace, state: str) -> None:
    dataset, rng, parts = Dataset.create(workspace, "kinds"), np.random.default_rng(0), []
    for shard in range(5):
        n = int(rng.integers(1, 50))
        columns = {
            "number": rng.normal(size=n),
            "text": np.array([f"s{shard}-{j}" * (j % 3) for j in range(n)], dtype=object),
            "payload": rng.integers(0, 255, (n, 7)).astype(np.uint8),
            "bytes": np.array([bytes(rng.integers(0, 255, j % 9).astype(np.uint8)) for j in range(n)], dtype=object),
        }
        dataset.append(columns, timestamps=np.arange(n), labels=np.arange(n) + shard)
        parts.append({**columns, "label": np.arange(n) + shard})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if state != "appended":
        dataset.delete(np.array([3, 17]))
    if state == "compacted":
        dataset.compact()
    live, reader = dataset.keys(), dataset.reader()
    orders = [rng.choice(live, size=60), rng.choice(live, size=1), live, live[::-1], live[::3], live[:0]]
    for keys in orders:
        read = reader.read(keys)
        np.testing.assert_array_equal(read["number"], whole["number"][keys])
        np.testing.assert_array_equal(read["text"], whole["text"][keys])
        np.testing.assert_array_equal(read["payload"], whole["payload"][keys])
        assert [bytes(view) for view in read["bytes"]] == whole["bytes"][keys].tolist()
        labels = reader.labels(keys)
        np.testing.assert_array_equal(labels, whole["label"][keys])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d: d.find_ids("text", "a1"), "ids are a list, also of one; got 'a1'"),
        (lambda d: d.find_ids("x", [1.5]), "column 'x' holds int64, but not every id is an integer"),
        (lambda d: d.reader("text"), "columns are a list of names, also of one; got 'text'"),
        (lambda d: d.reader().ragged("x", [0]), "column 'x' holds int64, and not text or bytes of any length"),
        (lambda d: d.reader().ragged("y", [0]), "column 'y' is not there"),
        (lambda d: d.set_retention("90d"), "a retention must be a whole number of microseconds above 0; got '90d'"),
        (lambda d: d.time_histogram("1d"), "a histogram's step must be a whole number of microseconds above 0"),
        (lambda d: Dataset.create(d.workspace, "e", retention_us=-1), "a retention must be a whole number"),
        (lambda d: Dataset.create(d.workspace, "e", label_classes="cat"), "label classes are a list of texts"),
    ],
)
def test_values_of_another_kind_are_refused_in_words(dataset, wrong, message):
    dataset.append({"x": [1, 2], "text": ["a", "a1"]}, timestamps=[0, 1])
    with pytest.raises(DataError, match=message):
        wrong(dataset)


def test_one_condition_needs_no_list_and_ids_that_nobody_can_have_are_of_none(dataset):
    dataset.append({"x": [1, 2]}, timestamps=[0, 1])
    assert dataset.find("x > 1").tolist() == [1]
    assert dataset.find_ids("x", [2**70, "2"]).tolist() == [1]
