"""Starter pipelines: they load, fit and train on data as people have it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def encoded_images(kind: str, n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    images = np.empty(n, dtype=object)
    for i in range(n):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (20 + i % 3, 24, 3), dtype=np.uint8)).save(file, kind)
        images[i] = file.getvalue()
    return images


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("column", ["payload", "picture"])
def test_encoded_images_get_a_parser_that_decodes_and_a_network_for_images(
    workspace: Workspace, tmp_path: Path, kind: str, column: str
) -> None:
    fill(workspace, "images", {column: encoded_images(kind)}, np.arange(60) % 2)
    write_starter(workspace, "images", tmp_path)
    pipeline = modyn.Pipeline.load(tmp_path / "images.yaml")
    assert "parser gives float32[32, 3, 24, 24], small-cnn" in "".join(check(pipeline, workspace))


def test_bytes_of_one_length_are_inputs_under_any_name(workspace: Workspace, tmp_path: Path) -> None:
    rows = np.array([bytes([i, 1, 2]) for i in range(60)], dtype=object)
    fill(workspace, "records", {"raw": rows}, np.arange(60) % 2)
    write_starter(workspace, "records", tmp_path)
    assert "parser gives float32[32, 3]" in "".join(check(modyn.Pipeline.load(tmp_path / "records.yaml"), workspace))


def test_arrays_of_numbers_are_inputs(workspace: Workspace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {"embedding": rng.normal(5, 2, (60, 8)).astype(np.float32), "price": rng.normal(size=60)}
    fill(workspace, "arrays", columns, np.arange(60) % 2)
    write_starter(workspace, "arrays", tmp_path)
    assert "parser gives float32[32, 9]" in "".join(check(modyn.Pipeline.load(tmp_path / "arrays.yaml"), workspace))


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (np.arange(60), "rises with every sample"),
        (np.array([f"text {i}" for i in range(60)]), "nearly as many values as samples"),
        (np.array([b"x" * i for i in range(60)], dtype=object), "bytes"),
        (np.zeros((60, 3, 2), np.float32), r"float32\[3, 2\]"),
    ],
)
def test_a_dataset_without_usable_columns_is_told(
    workspace: Workspace, tmp_path: Path, column: np.ndarray, why: str
) -> None:
    fill(workspace, "useless", {"only": column}, np.arange(60) % 2)
    with pytest.raises(DataError, match=rf"no column that a starter can make inputs of: only \({why}"):
        write_starter(workspace, "useless", tmp_path)
    assert not list(tmp_path.glob("useless.*"))


def test_samples_of_one_time_are_trained_on_by_their_number(workspace: Workspace, tmp_path: Path) -> None:
    columns, labels = orders()
    Dataset.create(workspace, "orders").append(columns, timestamps=np.full(len(labels), 10**15), labels=labels)
    write_starter(workspace, "orders", tmp_path)
    assert "modyn data add --timestamp" in (tmp_path / "orders.yaml").read_text()
    assert len(modyn.Pipeline.load(tmp_path / "orders.yaml").run(workspace).rounds) == 12


def test_nothing_is_overwritten_and_an_empty_dataset_is_told(workspace: Workspace, tmp_path: Path) -> None:
    fill(workspace, "orders", *orders(50))
    write_starter(workspace, "orders", tmp_path)
    with pytest.raises(AlreadyExists, match=r"orders\.yaml exists already"):
        write_starter(workspace, "orders", tmp_path)
    Dataset.create(workspace, "empty")
    with pytest.raises(DataError, match="dataset 'empty' has no samples yet"):
        write_starter(workspace, "empty", tmp_path)


def test_bytes_that_only_begin_like_an_image_do_not_stop_a_starter(workspace: Workspace, tmp_path: Path) -> None:
    Dataset.create(workspace, "notes").append({"text": [b"BM 1", b"BM 22"]}, timestamps=[1, 2], labels=[0, 1])
    write_starter(workspace, "notes", tmp_path)
    assert "Image.open" in (tmp_path / "notes.py").read_text()
