"""The records that the loader and training benchmarks share: 160 bytes, 13 float32, 26 int32 and a label."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from modyn.datasets import Dataset
from modyn.workspace import Workspace

WIDTH, CHUNK = 160, 65_536
DENSE, CATEGORIES = slice(4, 56), slice(56, 160)


def make(folder: Path, num_records: int) -> tuple[Dataset, np.memmap, list[Path]]:
    """The same records as a Modyn dataset, as one memory-mapped file, and as local files of 65,536 records."""
    rng = np.random.default_rng(0)
    records = np.empty((num_records, WIDTH), np.uint8)
    dense = rng.normal(size=(num_records, 13)).astype(np.float32)
    labels = (dense[:, :2].sum(1) > 0).astype(np.int32)
    records[:, :4] = labels[:, None].view(np.uint8)
    records[:, DENSE] = dense.view(np.uint8)
    records[:, CATEGORIES] = rng.integers(0, 1000, (num_records, 26)).astype(np.int32).view(np.uint8)
    dataset = Dataset.create(Workspace(folder / "workspace"), "records")
    dataset.append(
        {"payload": records[:, 4:].copy()}, timestamps=np.arange(num_records), labels=labels.astype(np.int64)
    )
    (folder / "records.bin").write_bytes(records.tobytes())
    chunks = []
    for start in range(0, num_records, CHUNK):
        chunks.append(folder / f"chunk-{start}.bin")
        chunks[-1].write_bytes(records[start : start + CHUNK].tobytes())
    return dataset, np.memmap(folder / "records.bin", np.uint8, "r").reshape(-1, WIDTH), chunks


def best_of_each(rivals: dict[str, Callable[[], float]], *, repeats: int = 3) -> dict[str, float]:
    """Median samples/s of each rival, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, rate in rivals.items():
            found[name].append(rate())
    return {name: median(rates) for name, rates in found.items()}


def rate_of(batches: Callable[[], object], num_samples: int) -> float:
    """Samples/s of going through ``batches()``, an iterable whose items are thrown away."""
    before = time.perf_counter()
    for _ in batches():  # type: ignore[attr-defined]
        pass
    return num_samples / (time.perf_counter() - before)


def tensors(payload: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Dense features and categories of ``payload[n, 156]``, as views."""
    return torch.from_numpy(payload[:, :52].view(np.float32)), torch.from_numpy(payload[:, 52:].view(np.int32))


def features(payload: np.ndarray) -> torch.Tensor:
    """``float32[n, 39]`` for an MLP: categories as numbers about 0."""
    joined = np.empty((len(payload), 39), np.float32)
    joined[:, :13] = payload[:, :52].view(np.float32)
    np.multiply(payload[:, 52:].view(np.int32), np.float32(0.002), out=joined[:, 13:], casting="unsafe")
    return torch.from_numpy(joined)
