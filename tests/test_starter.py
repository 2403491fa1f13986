"""Starter pipelines: they load, fit and train on data as people have it."""

from pathlib import Path

import numpy as np
import pytest

import modyn
from modyn.checks import check
from modyn.datasets import Dataset
from modyn.errors import AlreadyExists, DataError
from modyn.starter import write_starter
from modyn.workspace import Workspace


def fill(workspace: Workspace, name: str, columns: dict[str, np.ndarray], labels: np.ndarray) -> None:
    times = np.arange(len(labels)) * 3_600 * 10**6
    Dataset.create(workspace, name).append(columns, timestamps=times, labels=labels)


def orders(n: int = 1200) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    price = rng.lognormal(3, 1, n)
    country = rng.choice(["AT", "DE", "CH"], n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-2 * (np.log(price) - 3) - 2 * (country == "DE")))).astype(np.int64)
    price[::97] = np.nan
    return {"order_id": np.arange(n) + 10_000, "price": price, "country": country}, labels


def test_a_starter_learns_from_numbers_texts_and_gaps(workspace: Workspace, tmp_path: Path) -> None:
    fill(workspace, "orders", *orders())
    write_starter(workspace, "orders", tmp_path)
    pipeline = modyn.Pipeline.load(tmp_path / "orders.yaml")
    assert len(list(check(pipeline, workspace))) >= 4
    scores = pipeline.run(workspace).scores
    active = scores[(scores["model"] == "active") & (scores["metric"] == "roc-auc")]["mean"].item()
    assert active > 0.75
    assert "order_id (rises with every sample: an id?)" in (tmp_path / "orders.py").read_text()


@pytest.mark.parametrize("name", ["2013", "no", "1e5", "null", "a.b", "0x1F"])
def test_any_name_of_a_dataset_is_read_back_as_text(workspace: Workspace, tmp_path: Path, name: str) -> None:
    fill(workspace, name, *orders(50))
    write_starter(workspace, name, tmp_path)
    assert modyn.Pipeline.load(tmp_path / f"{name}.yaml").dataset == name


@pytest.mark.parametrize("column", ['a"b', "b\\", "c\nd", 'x"]; open("pwned","w"); X=["', "'''", '"""', "{name}", "é"])
def test_a_columns_name_is_never_code(workspace: Workspace, tmp_path: Path, column: str) -> None:
    fill(workspace, "odd", {column: np.random.default_rng(0).normal(size=60)}, np.arange(60) % 2)
    write_starter(workspace, "odd", tmp_path)
    assert list(check(modyn.Pipeline.load(tmp_path / "odd.yaml"), workspace))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("labels", "outputs", "loss"),
    [
        (np.arange(60) % 3, 3, "cross-entropy"),
        (np.linspace(0, 1, 60), 1, "mse"),
        (np.array(["a", "b"] * 30), 2, "cross-entropy"),
    ],
)
def test_the_task_is_read_off_the_labels(
    workspace: Workspace, tmp_path: Path, labels: np.ndarray, outputs: int, loss: str
) -> None:
    fill(workspace, "task", {"x": np.random.default_rng(0).normal(size=60)}, labels)
    write_starter(workspace, "task", tmp_path)
    text = (tmp_path / "task.yaml").read_text()
    assert f"outputs: {outputs}}}" in text
    assert f"loss: {loss}" in text
    assert list(check(modyn.Pipeline.load(tmp_path / "task.yaml"), workspace))


def test_images_get_a_parser_of_payloads(workspace: Workspace, tmp_path: Path) -> None:
    fill(workspace, "images", {"payload": np.zeros((60, 16), np.uint8)}, np.arange(60) % 2)
    write_starter(workspace, "images", tmp_path)
    assert list(check(modyn.Pipeline.load(tmp_path / "images.yaml"), workspace))


def test_nothing_is_overwritten_and_an_empty_dataset_is_told(workspace: Workspace, tmp_path: Path) -> None:
    fill(workspace, "orders", *orders(50))
    write_starter(workspace, "orders", tmp_path)
    with pytest.raises(AlreadyExists, match=r"orders\.yaml exists already"):
        write_starter(workspace, "orders", tmp_path)
    Dataset.create(workspace, "empty")
    with pytest.raises(DataError, match="dataset 'empty' has no samples yet"):
        write_starter(workspace, "empty", tmp_path)
