"""Labels that become known after their samples."""

import numpy as np
import pytest

from modyn.datasets import Dataset, Field, Records
from modyn.errors import BadSample, DataError, NotFound
from modyn.types import UNKNOWN_LABEL, Window, unlabelled


@pytest.fixture
def dataset(workspace):
    dataset = Dataset.create(workspace, "d")
    dataset.compacts_in_background = False
    dataset.append({"x": np.arange(6.0)}, timestamps=np.arange(6))
    return dataset


def labels_of(dataset):
    return dataset.samples().labels.tolist()


def test_samples_get_their_labels_later_and_earlier_versions_do_not_know_them(dataset, workspace):
    assert dataset.samples().labels is None
    assert dataset.label([4, 1], [40, 10]) == 2
    assert labels_of(dataset) == [UNKNOWN_LABEL, 10, UNKNOWN_LABEL, UNKNOWN_LABEL, 40, UNKNOWN_LABEL]
    assert labels_of(Dataset.open(workspace, "d")) == labels_of(dataset)
    assert dataset.reader().labels(np.array([4, 0, 1])).tolist() == [40, UNKNOWN_LABEL, 10]
    assert unlabelled(dataset.at(1).samples().labels).all()
    assert dataset.version == 2


def test_the_newest_label_counts(dataset):
    dataset.label([1, 1], [10, 11])
    assert dataset.reader().labels(np.array([1])).tolist() == [11]
    dataset.label([1, 2], [12, 20])
    assert dataset.samples(Window(1, 3)).labels.tolist() == [12, 20]
    assert dataset.at(2).reader().labels(np.array([1, 2])).tolist() == [11, UNKNOWN_LABEL]


def test_samples_may_then_come_with_a_label_or_without(dataset):
    with pytest.raises(DataError, match="has no labels, but what is appended has"):
        dataset.append({"x": [6.0]}, timestamps=[6], labels=[60])
    dataset.label([0], [0])
    dataset.append({"x": [6.0]}, timestamps=[6], labels=[60])
    dataset.append({"x": [7.0]}, timestamps=[7])
    assert labels_of(dataset)[6:] == [60, UNKNOWN_LABEL]
    assert dataset.compact() == 3
    assert labels_of(dataset)[0] == 0
    assert labels_of(dataset)[6:] == [60, UNKNOWN_LABEL]
    assert dataset.verify() == []


def test_labels_may_be_text_floats_or_columns(workspace):
    for name, given, kind in (
        ("text", np.array(["cat", "dog"], object), "int64"),
        ("float", [0.5, 1.5], "float64"),
        ("columns", [[1.0, 2.0], [3.0, 4.0]], "float64[2]"),
    ):
        dataset = Dataset.create(workspace, name)
        dataset.append({"x": np.arange(3)}, timestamps=np.arange(3))
        dataset.label([0, 2], given)
        assert dataset.label_type == kind
        assert unlabelled(dataset.samples().labels).tolist() == [False, True, False]
    assert Dataset.open(workspace, "text").label_classes == ("cat", "dog")
    assert Dataset.open(workspace, "text").label_counts() == {"cat": 1, "dog": 1, None: 1}


def test_a_label_that_was_wrong_can_be_mended(workspace):
    dataset = Dataset.create(workspace, "d", label_classes=["cat", "dog"])
    dataset.append({"x": np.arange(3)}, timestamps=np.arange(3), labels=["cat", "cat", "dog"])
    dataset.label([1], ["dog"])
    assert dataset.label_counts() == {"cat": 1, "dog": 2}
    assert dataset.find(["label == dog"]).tolist() == [1, 2]
    with pytest.raises(BadSample, match=r"'dig' is not a label class of this dataset\. Did you mean 'dog'"):
        dataset.label([1], ["dig"])


def test_what_cannot_be_labelled_says_so_and_changes_nothing(dataset):
    with pytest.raises(NotFound, match="has no sample 99"):
        dataset.label([0, 99], [1, 1])
    with pytest.raises(DataError, match="3 labels, but 1"):
        dataset.label([0], [1, 2, 3])
    dataset.label([0], [7])
    with pytest.raises(DataError, match="label"):
        dataset.label([0], [[1.0, 2.0]])
    assert dataset.version == 2
    with pytest.raises(DataError, match="can be read only"):
        dataset.at(1).label([0], [1])


def test_a_deleted_sample_stays_deleted_and_its_label_is_purged_with_it(dataset, workspace):
    dataset.label(np.arange(6), np.arange(6) + 7_777_777)
    dataset.delete([2, 3])
    assert dataset.label([2, 4], [20, 40]) == 1
    receipt = dataset.purge()
    assert receipt.tables == {"dataset_labels": 2}
    assert labels_of(dataset) == [7_777_777, 7_777_778, 40, 7_777_782]
    secret = (7_777_779).to_bytes(8, "little")
    files = [path for path in workspace.root.rglob("*") if path.is_file()]
    assert not [path for path in files if secret in path.read_bytes()]


@pytest.mark.parametrize("labelled", [[2], [2, 4]])
def test_a_label_of_a_sample_that_is_purged_before_it_is_committed_is_not_kept(dataset, workspace, labelled):
    secret = 7_777_779
    with dataset.write() as writer:
        writer.label(labelled, [secret - key + 2 for key in labelled])
        other = Dataset.open(workspace, "d")
        other.delete([2])
        other.purge()
    assert labels_of(dataset) == [
        *[UNKNOWN_LABEL] * 3,
        *([secret - 2] if 4 in labelled else [UNKNOWN_LABEL]),
        UNKNOWN_LABEL,
    ]
    files = [path for path in workspace.root.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.to_bytes(8, "little") in path.read_bytes()]


@pytest.mark.parametrize("labels", [[3, 5], [3.0, 5.0]])
def test_no_condition_holds_for_a_label_that_is_not_known(dataset, labels):
    dataset.label([1, 2], labels)
    assert dataset.find(["label != 3"]).tolist() == [2]
    assert dataset.find(["label < 9"]).tolist() == [1, 2]
    assert dataset.find(["label not in 5, 6"]).tolist() == [1]


def test_labels_and_samples_go_in_one_transaction(dataset):
    with dataset.write() as writer:
        writer.append({"x": [6.0]}, timestamps=[6])
        writer.label([0], [5])
        writer.append({"x": [7.0]}, timestamps=[7], labels=[70])
    assert dataset.version == 2
    assert labels_of(dataset) == [5, *[UNKNOWN_LABEL] * 6, 70]


def test_another_process_s_view_follows(dataset, workspace):
    other = Dataset.open(workspace, "d")
    reader = other.reader()
    assert reader.labels(np.array([1])) is None
    dataset.label([1], [10])
    assert reader.labels(np.array([1])).tolist() == [10]
    assert labels_of(other)[1] == 10


def test_linked_records_get_labels_too(workspace, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(12)))
    dataset = Dataset.create(workspace, "l", storage="link")
    fields = {"p": Field(0, "u1", (4,))}
    with dataset.write() as writer:
        writer.link_records(Records(path=str(path), record_size=4, num_records=3, columns=fields, timestamp=0))
    dataset.label([2], [9])
    assert dataset.reader().labels(np.array([2, 0])).tolist() == [9, UNKNOWN_LABEL]
    assert labels_of(dataset) == [UNKNOWN_LABEL, UNKNOWN_LABEL, 9]


def test_only_growing_is_told_from_labelling(dataset):
    dataset.append({"x": [6.0]}, timestamps=[6])
    assert dataset.only_grew_since(1)
    dataset.label([0], [1])
    assert not dataset.only_grew_since(1)
    assert dataset.only_grew_since(3)
