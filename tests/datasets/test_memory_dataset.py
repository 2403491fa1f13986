"""The dataset in memory answers as the one on the disk does."""

import tempfile
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.datasets import Dataset, MemoryDataset
from modyn.errors import DataError, ModynError
from modyn.types import Window
from modyn.workspace import Workspace

APPEND = st.tuples(st.just("append"), st.lists(st.integers(0, 50), max_size=6))
DELETE = st.tuples(st.just("delete"), st.lists(st.integers(-1, 20), max_size=4))
LABEL = st.tuples(st.just("label"), st.lists(st.integers(-1, 20), max_size=4))
WINDOW = st.tuples(st.integers(0, 30), st.integers(0, 60), st.sampled_from(["key", "time"]))


def outcome(action):
    """What an action gives, or which error it raises."""
    try:
        return action()
    except ModynError as error:
        return type(error)


def append(dataset, moments, labelled):
    first = dataset.end_key
    serial = np.arange(first, first + len(moments))
    return dataset.append(
        {
            "serial": serial,
            "vector": serial[:, None] * np.ones(3, np.float32),
            "flag": serial % 2 == 0,
            "text": np.array([f"t{m}" for m in moments], object),
            "blob": [b"b" * (m % 4) for m in moments],
        },
        timestamps=np.array(moments, np.int64),
        labels=np.array([f"class {m % 3}" for m in moments], object) if labelled else None,
    )


def plain(columns):
    if isinstance(columns, type):
        return columns
    return {n: [bytes(v) if isinstance(v, memoryview) else v for v in a.tolist()] for n, a in columns.items()}


def seen(dataset, window, asked):
    """Everything a dataset says of itself."""
    samples, reader = dataset.samples(Window(*window)), dataset.reader()
    keys = dataset.keys()[::-1]
    read = reader.read(keys) if len(keys) else {}
    return (
        (dataset.version, dataset.end_key, dataset.num_samples, dataset.label_classes, dataset.label_type),
        dict(dataset.column_types),
        (
            samples.keys.tolist(),
            samples.timestamps.tolist(),
            None if samples.labels is None else samples.labels.tolist(),
        ),
        dataset.keys(Window(*window)).tolist(),
        plain(read),
        {name: array.dtype for name, array in read.items()},
        plain(outcome(lambda: reader.read(np.array(asked, np.int64)))) if asked else None,
        outcome(lambda: dataset.since(1)),
    )


@settings(max_examples=25)
@given(
    changes=st.lists(APPEND | DELETE | LABEL, max_size=8),
    window=WINDOW,
    asked=st.lists(st.integers(-1, 20), max_size=4),
    labelled=st.booleans(),
)
def test_it_answers_as_the_dataset_on_the_disk(changes, window, asked, labelled):
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        both = (Dataset.create(workspace, "d"), MemoryDataset("d"))
        both[0].compacts_in_background = False
        for what, values in changes:
            if what == "append":
                real, fake = (outcome(lambda d=d, v=values: append(d, v, labelled)) for d in both)
            elif what == "label":
                names = np.array([f"class {v % 4}" for v in values], object)
                real, fake = (outcome(lambda d=d, v=values, n=names: d.label(v, n)) for d in both)
            else:
                real, fake = (outcome(lambda d=d, v=values: d.delete(v)) for d in both)
            assert real == fake
        assert seen(both[0], window, asked) == seen(both[1], window, asked)
        for version in range(-1, both[0].version + 2):
            real, fake = (outcome(lambda d=d, v=version: seen(d.at(v), window, asked)) for d in both)
            assert real == fake
        workspace.engine.dispose()


@pytest.mark.parametrize("make", [lambda w: Dataset.create(w, "d"), lambda _: MemoryDataset("d")])
def test_both_refuse_what_does_not_fit(workspace, make):
    dataset = make(workspace)
    dataset.append({"x": np.arange(3)}, timestamps=np.arange(3))
    for columns, labels in (({"y": [1]}, None), ({"x": [1.5]}, None), ({"x": [1, 2]}, None), ({"x": [1]}, [0])):
        with pytest.raises(DataError):
            dataset.append(columns, timestamps=[0], labels=labels)
    with pytest.raises(DataError, match="can be read only"):
        dataset.at(1).delete([0])
    with pytest.raises(DataError, match="no column 'z'"):
        dataset.reader(columns=["z"])
    assert (dataset.version, dataset.num_samples) == (1, 3)


@pytest.mark.parametrize("make", [lambda w: Dataset.create(w, "d"), lambda _: MemoryDataset("d")])
@pytest.mark.parametrize(
    ("window", "message"),
    [
        (5, "a window must be a modyn.types.Window, such as .*; got 5"),
        ((0, 5), r"a window must be a modyn.types.Window, .*; got \(0, 5\)"),
        (Window(0, 5, by="tme"), "a window is by 'key' or by 'time'; got by='tme'"),
        (Window(0, 1.5), "a window by key is between integers; got 1.5"),
        (Window(datetime(2020, 1, 1), datetime(2021, 1, 1), by="time"), "microseconds: modyn.types.to_microseconds"),
    ],
)
def test_what_is_no_window_is_told_what_one_is(workspace, make, window, message):
    dataset = make(workspace)
    dataset.append({"x": np.arange(3)}, timestamps=np.arange(3), labels=[0, 1, 1])
    questions = [dataset.samples, dataset.keys]
    if isinstance(dataset, Dataset):
        questions += [
            dataset.label_counts,
            lambda w: dataset.find(["x > 1"], w),
            lambda w: dataset.time_histogram(1, w),
        ]
    for question in questions:
        with pytest.raises(DataError, match=message):
            question(window)
