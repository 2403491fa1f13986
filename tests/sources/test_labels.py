"""Files of labels for samples that are there already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modyn.datasets import Dataset
from modyn.errors import BadSample, ConfigError, DataError
from modyn.sources import Feed, add
from modyn.sources.csv import Csv
from modyn.sources.retrying import retry
from modyn.types import UNKNOWN_LABEL
from modyn.workspace import Workspace

Write = Callable[..., Path]


@pytest.fixture
def orders(workspace: Workspace) -> Dataset:
    dataset = Dataset.create(workspace, "orders")
    dataset.append({"order": np.array(["a", "b", "c", "b"], object), "x": np.arange(4)}, timestamps=np.arange(4))
    return dataset


def labels_of(dataset: Dataset) -> list[Any]:
    labels = dataset.samples().labels
    assert labels is not None
    return [None if label == UNKNOWN_LABEL else label for label in labels.tolist()]


def source(path: Path, **options: Any) -> Csv:
    return Csv(path=str(path), **{"id": "order", "label": "y", "labels_of": "order", "settle": "0s", **options})


def test_labels_are_matched_by_a_column_and_every_sample_of_an_id_gets_one(orders: Dataset, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("order,y,note\nb,7,x\na,1,y\nb,8,z\n")
    added = add(orders, source(tmp_path / "labels.csv"))
    assert (added.labels, added.samples, added.quarantined) == (3, 0, 0)
    assert labels_of(orders) == [1, 8, None, 8]
    assert str(added).startswith("3 labels delivered, 0 quarantined")
    assert orders.num_samples == 4


def test_labels_are_matched_by_key(orders: Dataset, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("k,y\n2,no\n0,yes\n")
    add(orders, source(tmp_path / "labels.csv", id="k", labels_of="key"))
    assert orders.label_classes == ("no", "yes")
    assert labels_of(orders) == [1, None, 0, None]


def test_a_label_file_is_followed_and_nothing_is_taken_twice(orders: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("order,y\na,1\n")
    add(orders, source(path))
    feed = Feed(orders)
    assert feed.poll().labels == 0
    with path.open("a") as file:
        file.write("c,3\n")
    assert feed.poll().labels == 1
    assert labels_of(orders) == [1, None, 3, None]


def test_a_label_of_nobody_is_set_aside_and_can_be_tried_again(orders: Dataset, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("order,y\na,1\nz,9\n")
    added = add(orders, source(tmp_path / "labels.csv"))
    assert (added.labels, added.quarantined) == (1, 1)
    assert added.first_bad is not None
    assert "row 2: there is no sample whose order is z" in added.first_bad
    orders.append({"order": np.array(["z"], object), "x": [4]}, timestamps=[4])
    assert retry(orders).still_bad == 0
    assert labels_of(orders) == [1, None, None, None, 9]


def test_a_label_of_nobody_fails_where_told_so(orders: Dataset, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("order,y\na,1\nz,9\n")
    with pytest.raises(BadSample, match="there is no sample whose order is z"):
        add(orders, source(tmp_path / "labels.csv", on_bad_sample="fail"))
    assert orders.samples().labels is None


def test_what_does_not_fit_says_so(orders: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("order,y\na,1\n")
    with pytest.raises(ConfigError, match="labels_of needs id"):
        Csv(path=str(path), label="y", labels_of="order")
    with pytest.raises(DataError, match=r"column 'order' holds .*string, but keys are integers"):
        add(orders, source(path, labels_of="key"))
    with pytest.raises(DataError, match=r"no column 'ordr'\. Did you mean 'order'"):
        add(orders, source(path, labels_of="ordr"))
    assert orders.version == 1


def test_files_of_samples_and_files_of_labels_fill_one_dataset_in_any_order(
    workspace: Workspace, tmp_path: Path
) -> None:
    for folder in ("orders", "returns", "more"):
        (tmp_path / folder).mkdir()
    (tmp_path / "orders" / "1.csv").write_text("order,price,at\na,1.5,10\nb,2.5,20\n")
    (tmp_path / "returns" / "1.csv").write_text("order,y\na,1\n")
    (tmp_path / "more" / "1.csv").write_text("order,price,at\nc,3.5,30\n")
    dataset = Dataset.create(workspace, "orders")
    times = {"timestamp": "at", "time_unit": "us", "settle": "0s"}
    add(dataset, Csv(path=str(tmp_path / "orders"), **times))
    assert add(dataset, source(tmp_path / "returns")).labels == 1
    assert add(dataset, Csv(path=str(tmp_path / "more"), **times)).samples == 1
    (tmp_path / "returns" / "2.csv").write_text("order,y\nc,3\nb,2\n")
    (tmp_path / "orders" / "2.csv").write_text("order,price,at\nd,4.5,40\n")
    added = Feed(dataset).poll()
    assert (added.samples, added.labels, added.quarantined) == (1, 2, 0)
    assert labels_of(dataset) == [1, 2, 3, None]
    assert set(dataset.column_types) == {"order", "price"}


def test_samples_may_come_from_files_after_labels_did(orders: Dataset, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("order,y\na,1\n")
    add(orders, source(tmp_path / "labels.csv"))
    (tmp_path / "more.csv").write_text("order,x\nd,4\n")
    assert add(orders, Csv(path=str(tmp_path / "more.csv"), settle="0s")).samples == 1
    assert labels_of(orders) == [1, None, None, None, None]


def test_labels_of_which_none_can_be_used_are_an_error(orders: Dataset, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("order,wrong\na,1\n")
    with pytest.raises(DataError, match="has no column 'y'"):
        add(orders, source(tmp_path / "labels.csv"))


def test_labels_from_files_reach_samples_that_are_linked_in_place(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"x")
    dataset = Dataset.create(workspace, "images", storage="link")
    with dataset.write() as writer:
        writer.link_files(sorted((tmp_path / "images").iterdir()), timestamps=np.arange(3))
    (tmp_path / "labels.csv").write_text("k,y\n2,7\n")
    assert add(dataset, source(tmp_path / "labels.csv", id="k", labels_of="key")).labels == 1
    assert labels_of(dataset) == [None, None, 7]
