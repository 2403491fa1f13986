"""What tests share: a workspace, and a small drifting stream with a pipeline over it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

from modyn.workspace import Workspace

# A busy machine makes any one example slow; what takes too long is seen in the run's total.
settings.register_profile("modyn", deadline=None)
settings.load_profile("modyn")

DAY = 86_400 * 10**6

PARSER = """
import numpy as np
import torch

def features(columns):
    return torch.from_numpy(np.stack([columns["a"], columns["b"]], axis=1))

def wide(columns):
    return torch.zeros(len(columns["a"]), 3)

def lost(columns):
    return torch.zeros(1, 2)

def choosy(columns):
    if (columns["serial"] == 431).any():
        raise ValueError("not this one")
    return features(columns)

def one(sample):
    return torch.tensor([float(sample["a"]), float(sample["b"])])

def explosive(columns):
    values = features(columns)
    return torch.where(torch.from_numpy(columns["serial"] >= 500)[:, None], torch.inf, values)
"""

PIPELINE = """
name: drifting
dataset: drifting
parser: ./parsers.py:features
model: {mlp: {inputs: 2, hidden: [8], outputs: 2}}
trigger: {every: {samples: 200}}
training: {epochs: 2, batch_size: 32, optimizer: {adamw: {lr: 1e-2}}, device: cpu}
evaluation: {windows: {slices: {every: 5d}}, metrics: [roc-auc, accuracy]}
seed: 7
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """An empty workspace, which the commands use as well."""
    monkeypatch.setenv("MODYN_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    space = Workspace()
    yield space
    space.engine.dispose()


def drifting(
    n: int = 1000, *, seed: int = 0, late: float = 0.1
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns, timestamps and labels of a stream whose boundary turns by 90 degrees over 30 days."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 2)).astype(np.float32)
    angle = np.linspace(0, np.pi / 2, n)
    labels = (points[:, 0] * np.cos(angle) + points[:, 1] * np.sin(angle) > 0).astype(np.int64)
    labels = np.where(rng.random(n) < late, 1 - labels, labels)
    columns = {"a": points[:, 0], "b": points[:, 1], "serial": np.arange(n)}
    return columns, np.linspace(0, 30 * DAY - 1, n).astype(np.int64), labels


@pytest.fixture
def stream(workspace: Workspace) -> Workspace:
    """A workspace with the dataset ``drifting`` of 1,000 samples over 30 days."""
    from modyn.datasets import Dataset

    columns, timestamps, labels = drifting()
    Dataset.create(workspace, "drifting").append(columns, timestamps=timestamps, labels=labels)
    return workspace


@pytest.fixture
def pipeline_file(stream: Workspace, tmp_path: Path) -> Callable[..., Path]:
    """Writes the pipeline over ``drifting`` with some texts replaced, and gives its path."""

    def write(*replaced: tuple[str, str], name: str = "drifting.yaml") -> Path:
        (tmp_path / "parsers.py").write_text(PARSER)
        text = PIPELINE
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write
