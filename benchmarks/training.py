"""What training from a dataset costs over a bare PyTorch loop on tensors in memory, and over reading local files in order.

An MLP on 160-byte records (39 features), batches of 512, a shuffled random half of the records; one epoch each, in turns.
Run: python benchmarks/training.py [--records 1000000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from records import features, make
from torch import Tensor, nn

from modyn.models.spec import ModelSpec
from modyn.training.options import Training
from modyn.training.parsing import Parser
from modyn.training.trainer import Trainer
from modyn.types import Selection

BATCH = 512
MODEL = ModelSpec.parse({"mlp": {"inputs": 39, "hidden": [256, 128], "outputs": 2}})


def bare(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Seconds of a plain loop over batches."""
    model = MODEL.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    criterion = nn.CrossEntropyLoss()
    before = time.perf_counter()
    for inputs, labels in batches:
        optimizer.zero_grad()
        criterion(model(inputs), labels).backward()
        optimizer.step()
    return time.perf_counter() - before


def shuffled(inputs: Tensor, labels: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    order = rows[torch.randperm(len(rows))]
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        yield inputs[chosen], labels[chosen]


def in_order(files: list[Path], num_samples: int) -> Iterator[tuple[Tensor, Tensor]]:
    left = num_samples
    for file in files:
        raw = np.fromfile(file, np.uint8).reshape(-1, 160)[:left]
        inputs, labels = features(raw[:, 4:]), torch.from_numpy(raw[:, :4].view(np.int32)[:, 0].astype(np.int64))
        left -= len(raw)
        for start in range(0, len(raw), BATCH):
            yield inputs[start : start + BATCH], labels[start : start + BATCH]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=1_000_000)
    arguments.add_argument("--repeats", type=int, default=9)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset, records, files = make(Path(folder), given.records)
        rows = np.sort(np.random.default_rng(1).permutation(given.records)[: given.records // 2])
        inputs, labels = (
            features(records[:, 4:]),
            torch.from_numpy(records[:, :4].view(np.int32)[:, 0].astype(np.int64)),
        )
        trainer = Trainer(
            Training(batch_size=BATCH),
            model=MODEL.build,
            parser=Parser(lambda columns: features(columns["payload"])),
            reader=dataset.reader(),
            seed=0,
        )
        times: dict[str, list[float]] = {"bare loop": [], "modyn": [], "chunks in order": []}
        first_steps = []
        for turn in range(given.repeats + 1):
            own = time.perf_counter()
            fitted = trainer.fit(Selection(rows), round=turn)
            own = time.perf_counter() - own
            plain = bare(shuffled(inputs, labels, torch.from_numpy(rows)))
            ordered = bare(in_order(files, len(rows)))
            if turn:  # the first turn warms up torch
                first_steps.append(fitted.first_step_s)
                for name, seconds in (("bare loop", plain), ("modyn", own), ("chunks in order", ordered)):
                    times[name].append(seconds)
    for name, seconds in times.items():
        print(f"{name:<20}{len(rows) / median(seconds):>12,.0f} samples/s   {median(seconds):.3f} s")
    print(f"first step after {1000 * median(first_steps):.1f} ms, at {len(rows):,} samples")
    print(f"ratio vs-bare-loop: {median(times['modyn']) / median(times['bare loop']):.3f} (goal <= 1.10)")
    print(f"ratio vs-sequential: {median(times['chunks in order']) / median(times['modyn']):.3f} (goal >= 0.95)")


if __name__ == "__main__":
    main()
