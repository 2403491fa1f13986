"""A fifth of Fashion-MNIST's labels are wrong: which selectors pick fewer of them than chance?"""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from modyn.models.spec import ModelSpec
from modyn.policy import build
from modyn.selecting import Selecting
from modyn.selectors import Selector
from modyn.training.memory_reader import MemoryReader
from modyn.training.options import Training
from modyn.training.parsing import Parser
from modyn.training.trainer import Trainer
from modyn.types import Candidates, Columns, Samples, Selection

FASHION = Path("/usr/share/datasets/fashion-mnist")
N = 6000


def pixels(columns: Columns) -> torch.Tensor:
    return torch.from_numpy(columns["image"]).float().div_(255).unsqueeze(1)


def idx(name: str, axes: int) -> np.ndarray:
    raw = gzip.decompress((FASHION / name).read_bytes())
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_rho_loss_and_small_loss_pick_fewer_noisy_samples_than_chance(tmp_path, capsys):
    images = idx("train-images-idx3-ubyte.gz", 3)[: N * 784].reshape(N, 28, 28)
    clean = idx("train-labels-idx1-ubyte.gz", 1)[:N].astype(np.int64)
    rng = np.random.default_rng(0)
    noisy = rng.random(N) < 0.2
    labels = np.where(noisy, (clean + rng.integers(1, 10, N)) % 10, clean)
    options = Training.model_validate(
        {"epochs": 2, "batch_size": 32, "optimizer": {"adamw": {"lr": 2e-3}}, "device": "cpu"}
    )
    trainer = Trainer(
        options,
        model=ModelSpec.parse({"small-cnn": {"outputs": 10}}).build,
        parser=Parser(pixels),
        reader=MemoryReader({"image": images}, labels=labels),
        seed=0,
    )
    # Early in training, where there is much to learn: later, what is left of the loss is noise for both models.
    weights = trainer.fit(Selection(np.arange(0, N, 8)), round=0).weights
    keys = np.arange(N)
    candidates = Candidates(Samples(keys, keys, labels), np.zeros(N, int), np.zeros(N, int), np.full(N, -1), round=1)
    shares = {}
    for name, document in {
        "random": {"uniform": {"budget": "25%"}},
        "loss": {"loss": {"budget": "25%"}},
        "small-loss": {"small-loss": {"budget": "25%"}},
        "rho-loss": {"rho-loss": {"budget": "25%"}},
        "rho-loss twin": {"rho-loss": {"budget": "25%", "holdout": "twin"}},
    }.items():
        selecting = Selecting(build(Selector, document), trainer, folder=tmp_path / name, seed=1)
        shares[name] = noisy[selecting.select(candidates, weights)[0].keys].mean()
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {share:.1%} noisy" for name, share in shares.items()))
    assert shares["loss"] > shares["random"]
    for name in ("small-loss", "rho-loss", "rho-loss twin"):
        assert shares[name] < shares["random"]
