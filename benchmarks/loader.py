"""How fast the loader makes tensors of a shuffled selection, beside what a user would write by hand.

2M records of 160 bytes, a random half of them, shuffled, batches of 4,096; then per-sample parsers on the records and on 12 KB images
in batches of 256. Each loader is made once, with what it loads, and goes through several epochs, each in a new order, as a training needs
it; the limit and the line "in a fixed order" keep to one order.
Run: python benchmarks/loader.py [--records 2000000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import best_of_each, make, rate_of, tensors
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapStyle

from modyn.datasets import Dataset
from modyn.training.blocks import Plan
from modyn.training.loader import Loader
from modyn.training.parsing import Parser
from modyn.training.recipe import Recipe
from modyn.types import Columns, Reader, Selection
from modyn.workspace import Workspace

BATCH = 4096
IMAGE_BATCH = 256


def parse_batch(columns: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    return tensors(columns["payload"])


def parse_one(sample: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    raw = np.frombuffer(sample["payload"], np.uint8)
    return torch.from_numpy(raw[:52].view(np.float32).copy()), torch.from_numpy(raw[52:].view(np.int32).copy())


def decode(raw: Any) -> torch.Tensor:
    """An image of bytes as floats in [0, 1]."""
    return torch.from_numpy(np.frombuffer(raw, np.uint8).astype(np.float32) / 255).view(3, 64, 64)


def parse_image(sample: dict[str, Any]) -> torch.Tensor:
    return decode(sample["payload"])


class PerSample(MapStyle):  # type: ignore[type-arg]
    """What a user would write first: one record at a time from a memory-mapped file."""

    def __init__(self, records: np.memmap, rows: np.ndarray) -> None:
        self.records, self.rows = records, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        raw = np.array(self.records[self.rows[index]])
        label = int(np.frombuffer(raw, np.int32, 1)[0])
        dense = torch.from_numpy(np.frombuffer(raw, np.float32, 13, 4).copy())
        return dense, torch.from_numpy(np.frombuffer(raw, np.int32, 26, 56).copy()), label


class PerImage(MapStyle):  # type: ignore[type-arg]
    """The same for images."""

    def __init__(self, images: np.memmap, labels: np.ndarray, rows: np.ndarray) -> None:
        self.images, self.labels, self.rows = images, labels, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = self.rows[index]
        return decode(self.images[row]), int(self.labels[row])


class Batched(MapStyle):  # type: ignore[type-arg]
    """What a careful user writes: an item is a whole batch, gathered and parsed at once."""

    def __init__(self, records: np.memmap, rows: np.ndarray) -> None:
        self.records, self.rows = records, rows

    def shuffle(self) -> None:
        """A new order for the next epoch, by the fastest shuffle at hand."""
        self.rows = self.rows[torch.randperm(len(self.rows), dtype=torch.int32).numpy()]

    def __len__(self) -> int:
        return -(-len(self.rows) // BATCH)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        raw = np.take(self.records, self.rows[index * BATCH : (index + 1) * BATCH], axis=0)
        dense, categories = tensors(raw[:, 4:])
        return dense, categories, torch.from_numpy(raw[:, :4].view(np.int32)[:, 0])


def ours(
    reader: Reader, parser: Parser, keys: np.ndarray, workers: int | None, batch: int = BATCH
) -> Callable[[], float]:
    loader = Loader(reader, Recipe(parser), num_workers=workers)
    selection, epochs = Selection(keys), count()

    def epoch() -> Iterator[Any]:
        number = next(epochs)
        plan = Plan(batch_size=batch, seed=1, shuffle_window=None, first_epoch=number, end_epoch=number + 1)
        return loader.batches(selection, plan)

    return lambda: rate_of(epoch, len(keys))


def theirs(dataset: MapStyle, num_samples: int, workers: int) -> Callable[[], float]:  # type: ignore[type-arg]
    def run() -> float:
        batch = IMAGE_BATCH if isinstance(dataset, PerImage) else BATCH
        loader = DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=workers)
        return rate_of(lambda: loader, num_samples)

    return run


def batched(dataset: Batched, *, shuffled: bool) -> Callable[[], float]:
    def epoch() -> Iterator[Any]:
        if shuffled:
            dataset.shuffle()
        yield from DataLoader(dataset, batch_size=None)

    return lambda: rate_of(epoch, len(dataset.rows))


def limit(records: np.memmap, rows: np.ndarray) -> Iterator[torch.Tensor]:
    """A plain gather of each batch, as bytes."""
    for start in range(0, len(rows), BATCH):
        yield torch.from_numpy(np.take(records, rows[start : start + BATCH], axis=0))


def chunks_in_order(files: list[Path]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for file in files:
        raw = np.fromfile(file, np.uint8).reshape(-1, 160)
        dense, categories = tensors(raw[:, 4:])
        for start in range(0, len(raw), BATCH):
            yield dense[start : start + BATCH], categories[start : start + BATCH]


def say(rates: dict[str, float]) -> None:
    for name, rate in rates.items():
        print(f"{name:<42}{rate:>14,.0f} samples/s")


def best(rates: dict[str, float], start: str) -> float:
    return max(rate for name, rate in rates.items() if name.startswith(start))


def measure_records(folder: Path, num_records: int) -> None:
    dataset, records, files = make(folder, num_records)
    rows = np.random.default_rng(1).permutation(num_records)[: num_records // 2]
    keys, few = np.sort(rows), np.sort(rows[:60_000])
    reader = dataset.reader()
    for _ in limit(records, rows):
        pass
    rates = best_of_each(
        {
            "limit: numpy gather, from_numpy": lambda: rate_of(lambda: limit(records, rows), len(rows)),
            "modyn, batch parser, thread": ours(reader, Parser(parse_batch), keys, None),
            "modyn, batch parser, in process": ours(reader, Parser(parse_batch), keys, 0),
            "batched map-style dataset, in process": batched(Batched(records, rows), shuffled=True),
            "the same in a fixed order": batched(Batched(records, rows), shuffled=False),
            "chunks in order, no selection": lambda: rate_of(lambda: chunks_in_order(files), num_records),
        },
        repeats=9,
    )
    one = Parser(parse_one, per_sample=True)
    cores = len(os.sched_getaffinity(0))
    rates |= best_of_each(
        {f"modyn, per-sample parser, {w} processes": ours(reader, one, few, w) for w in {0, 1, cores}}
        | {f"per-sample DataLoader, {w} workers": theirs(PerSample(records, few), len(few), w) for w in (0, 1, 2)}
    )
    say(rates)
    modyn = best(rates, "modyn, batch")
    print(f"ratio vs-limit: {modyn / best(rates, 'limit'):.2f} (goal >= 0.6)")
    print(f"ratio vs-per-sample-loader: {modyn / best(rates, 'per-sample DataLoader'):.1f} (goal >= 20)")
    print(f"ratio vs-batched-loader: {modyn / best(rates, 'batched'):.2f} (goal >= 0.9)")
    print(f"ratio vs-batched-in-a-fixed-order: {modyn / best(rates, 'the same'):.2f} (for the record)")
    print(f"ratio vs-chunks-in-order: {modyn / best(rates, 'chunks'):.2f} (for the record)")
    per_sample = best(rates, "modyn, per-sample") / best(rates, "per-sample DataLoader")
    print(f"ratio per-sample-parser: {per_sample:.2f} (goal >= 1.3)")


def measure_images(folder: Path, num_images: int) -> None:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (num_images, 3 * 64 * 64), np.uint8)
    labels = rng.integers(0, 10, num_images)
    (folder / "images.bin").write_bytes(images.tobytes())
    mapped = np.memmap(folder / "images.bin", np.uint8, "r").reshape(num_images, -1)
    dataset = Dataset.create(Workspace(folder / "workspace"), "images")
    dataset.append({"payload": images}, timestamps=np.arange(num_images), labels=labels)
    keys = np.sort(rng.permutation(num_images)[: num_images // 2])
    parser, cores = Parser(parse_image, per_sample=True), len(os.sched_getaffinity(0))
    rates = best_of_each(
        {f"modyn, images, {w} processes": ours(dataset.reader(), parser, keys, w, IMAGE_BATCH) for w in {0, 1, cores}}
        | {f"per-sample images, {w} workers": theirs(PerImage(mapped, labels, keys), len(keys), w) for w in (0, 1, 2)}
    )
    say(rates)
    print(f"ratio images: {best(rates, 'modyn') / best(rates, 'per-sample'):.2f} (goal >= 1.3)")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=2_000_000)
    arguments.add_argument("--images", type=int, default=20_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure_records(Path(folder), given.records)
        measure_images(Path(folder), given.images)


if __name__ == "__main__":
    main()
