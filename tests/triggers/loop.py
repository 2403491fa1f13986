"""The loop around a trigger, as the pipeline runs it, over streams and models held in memory."""

import copy
import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.memory_features import MemoryFeatures
from modyn.types import Checkpoint, Round, Samples, Selection, Window

SECOND = 1_000_000


def stream(n: int, *, every_s: float = 1.0, labels: np.ndarray | None = None) -> Samples:
    """``n`` samples, one each ``every_s`` seconds."""
    return Samples(np.arange(n), (np.arange(n) * every_s * SECOND).astype(np.int64), labels)


def chunks(samples: Samples, edges: Iterable[int]) -> list[Samples]:
    cuts = [0, *sorted({e for e in edges if 0 < e < len(samples)}), len(samples)]
    return [samples[a:b] for a, b in pairwise(cuts)]


def round_at(end: int, number: int, *, start: int = 0, seconds: float = 1.0, samples: Samples | None = None) -> Round:
    keys = np.arange(start, end)
    until = int(samples.timestamps[:end].max()) + 1 if samples is not None and end else 0
    checkpoint = Checkpoint(
        id=f"run-1/{number}",
        run="run-1",
        round=number,
        parent=None,
        dataset="memory",
        dataset_version=1,
        data_until=until,
        num_samples=len(keys),
        seed=0,
    )
    return Round(
        number=number,
        window=Window(start, end),
        time_window=Window(0, until, by="time"),
        num_candidates=len(keys),
        selection=Selection(keys),
        checkpoint=checkpoint,
        costs={"train": seconds, "evaluate": 99.0, "trigger": 99.0},
    )


class Loop:
    """Drives a trigger: each firing deploys a new checkpoint and informs. ``ends`` are the keys (exclusive) trained up to."""

    def __init__(self, trigger: Any, features: MemoryFeatures | None = None, *, seconds: float = 1.0) -> None:
        self.trigger: Trigger = build(Trigger, trigger)
        self.features, self.seconds = features, seconds
        self.ends: list[int] = []
        self.notes: list[dict[str, Any]] = []
        self.states: list[tuple[int, int, Any]] = []
        if features is not None:
            self.trigger.bind(features)

    def run(self, batches: Iterable[Samples]) -> "Loop":
        for batch in batches:
            for position in self.trigger.update(batch):
                end = int(batch.keys[position]) + 1 if position >= 0 else int(batch.keys[0])
                self.fire(end)
            self.notes += self.trigger.explain()
            self.remember(int(batch.keys[-1]) + 1)
        return self

    def fire(self, end: int) -> None:
        self.notes += self.trigger.explain()
        number = len(self.ends)
        done = round_at(end, number, start=self.ends[-1] if self.ends else 0, seconds=self.seconds)
        if self.features is not None:
            self.deploy(number)
        self.ends.append(end)
        self.trigger.inform(done)
        self.remember(end)

    def deploy(self, number: int) -> None:
        """Each checkpoint embeds differently."""
        assert self.features is not None
        self.features.deploy(f"run-1/{number}", embed=lambda rows: rows * (1 + number))

    def remember(self, cursor: int) -> None:
        state = json.loads(json.dumps(self.trigger.state_dict(), allow_nan=False))
        self.states.append((cursor, len(self.ends), copy.deepcopy(state)))

    def resumed(self, saved: tuple[int, int, Any], document: Any, features: MemoryFeatures | None) -> "Loop":
        """A new loop that goes on from one of the remembered states."""
        _, rounds, state = saved
        loop = Loop(document, features, seconds=self.seconds)
        loop.ends = self.ends[:rounds]
        if features is not None and rounds:
            loop.deploy(rounds - 1)
        loop.trigger.load_state_dict(state)
        return loop
