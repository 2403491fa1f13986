"""When would a trigger fire? A stream replayed through it, without training."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.triggers import Features, Trigger
from modyn.types import Checkpoint, Int64s, Round, Samples, Selection, Window, to_datetime

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Firing:
    """One firing: its number, the key and time of the last sample before it, and how many samples arrived since the one before."""

    number: int
    key: int
    timestamp: int
    num_samples: int

    def __str__(self) -> str:
        return f"{self.number}: after sample {self.key} of {to_datetime(self.timestamp):%Y-%m-%d %H:%M}, {self.num_samples} new"


@dataclass(frozen=True)
class Simulation:
    """What a simulated stream led to. ``notes`` are those of ``Trigger.explain``, each with the number of firings before it."""

    firings: list[Firing]
    notes: list[dict[str, Any]] = field(repr=False)
    num_samples: int
    seconds: float

    def table(self) -> "pd.DataFrame":
        """The firings as a table, with their times in UTC."""
        import pandas as pd

        rows = [(f.number, f.key, to_datetime(f.timestamp), f.num_samples) for f in self.firings]
        return pd.DataFrame(rows, columns=["firing", "key", "time", "num_samples"])


def simulate(
    trigger: Trigger,
    batches: Iterable[Samples],
    *,
    features: Features | None = None,
    training_seconds: Callable[[int], float] = lambda _num_samples: 0.0,
    deploy: Callable[[Round], None] | None = None,
) -> Simulation:
    """Replay a stream through a copy of a trigger; each firing is answered by a round that costs what ``training_seconds`` says and trains nothing.

    ``features`` serves triggers that look at the data or at a checkpoint; ``deploy`` is called at each firing and may put another checkpoint in
    place, such as those of a finished run. Raises ModynError where the trigger needs features and has none.

    >>> from modyn.triggers.every import Every
    >>> stream = [Samples(np.arange(5), np.arange(5)), Samples(np.arange(5, 10), np.arange(5, 10))]
    >>> [firing.key for firing in simulate(Every(samples=4), stream).firings]
    [3, 7]
    """
    before = time.perf_counter()
    trigger = copy.deepcopy(trigger)
    if features is not None:
        trigger.bind(features)
    firings: list[Firing] = []
    notes: list[dict[str, Any]] = []
    arrived: list[Samples] = []
    num_samples = 0
    for batch in batches:
        start = 0
        for position in _noted(trigger, batch, notes, firings):
            arrived.append(batch[start : position + 1] if position >= start else batch[:0])
            start = max(start, position + 1)
            done = _round(arrived, len(firings), training_seconds)
            arrived = []
            firings.append(_firing(done, firings))
            if deploy is not None:
                deploy(done)
            trigger.inform(done)
        arrived.append(batch[start:])
        num_samples += len(batch)
    return Simulation(firings, notes, num_samples, time.perf_counter() - before)


def _noted(trigger: Trigger, batch: Samples, notes: list[dict[str, Any]], firings: list[Firing]) -> Iterator[int]:
    positions = trigger.update(batch)
    while True:
        position = next(positions, None)
        notes += [{**note, "firing": len(firings)} for note in trigger.explain()]
        if position is None:
            return
        yield position


def _round(arrived: list[Samples], number: int, training_seconds: Callable[[int], float]) -> Round:
    """A round on everything that arrived since the one before."""
    keys: Int64s = np.concatenate([part.keys for part in arrived])
    times: Int64s = np.concatenate([part.timestamps for part in arrived])
    start, end = (int(keys[0]), int(keys[-1]) + 1) if len(keys) else (0, 0)
    first, last = (int(times.min()), int(times.max()) + 1) if len(times) else (0, 0)
    checkpoint = Checkpoint(
        id=f"simulated/{number}",
        run="simulated",
        round=number,
        parent=None,
        dataset="simulated",
        dataset_version=0,
        data_until=last,
        num_samples=len(keys),
        seed=0,
    )
    return Round(
        number=number,
        window=Window(start, end),
        time_window=Window(first, last, by="time"),
        num_candidates=len(keys),
        selection=Selection(keys),
        checkpoint=checkpoint,
        costs={"train": float(training_seconds(len(keys)))},
    )


def _firing(done: Round, before: list[Firing]) -> Firing:
    if done.num_candidates:
        return Firing(done.number, done.window.end - 1, done.time_window.end - 1, done.num_candidates)
    last = before[-1] if before else Firing(-1, -1, 0, 0)
    return Firing(done.number, last.key, last.timestamp, 0)
