"""Small data, models and parsers that the training tests share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modyn.models.spec import ModelSpec
from modyn.training.memory_reader import MemoryReader
from modyn.training.options import Training
from modyn.training.parsing import Parser
from modyn.training.trainer import Trainer
from modyn.types import Array, Columns, Selection


def reader(num_rows: int = 1000, *, width: int = 8, classes: int = 2) -> MemoryReader:
    """Separable classes: the label is a function of the first features."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(num_rows, width)).astype(np.float32)
    labels = np.digitize(x[:, 0] + x[:, 1], np.linspace(-1, 1, classes + 1)[1:-1]).astype(np.int64)
    return MemoryReader({"x": x}, labels=labels)


def identity(columns: Columns) -> Array:
    """The batch parser that gives the column x."""
    return columns["x"]


def one(sample: Mapping[str, Any]) -> Tensor:
    """The per-sample parser that gives x."""
    return torch.from_numpy(sample["x"])


def mlp(**options: Any) -> Callable[[], nn.Module]:
    """A small mlp as the pipeline would build it."""
    return ModelSpec.parse({"mlp": {"inputs": 8, "hidden": [16], "outputs": 2, **options}}).build


class Journal:
    """Keeps what a trainer tells; stands for a RunLog that is not written to disk."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.shown: list[dict[str, Any]] = []

    def append(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields))

    def progress(self, kind: str, **fields: Any) -> None:
        self.shown.append(fields)


def trainer(
    *,
    data: MemoryReader | None = None,
    parser: Any = identity,
    per_sample: bool = False,
    model: Callable[[], nn.Module] | None = None,
    seed: int = 3,
    log: Any = None,
    state_dir: Path | None = None,
    **options: Any,
) -> Trainer:
    """A trainer on small data; ``options`` are those of the training section."""
    return Trainer(
        Training.model_validate({"batch_size": 32, **options}),
        model=model or mlp(),
        parser=Parser(parser, per_sample=per_sample),
        reader=reader() if data is None else data,
        seed=seed,
        log=log,
        state_dir=state_dir,
    )


def everything(num_rows: int = 1000, weights: Any = None) -> Selection:
    """A selection of the keys ``[0, num_rows)``."""
    given = None if weights is None else np.asarray(weights, dtype=np.float32)
    return Selection(np.arange(num_rows, dtype=np.int64), given)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two sets of weights are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def noise(inputs: Tensor, seeds: Tensor) -> Tensor:
    """A batch augmentation: a pure function of each sample's seed."""
    shift = (seeds % 1000).to(torch.float32) / 5000 - 0.1
    return inputs + shift[:, None]
