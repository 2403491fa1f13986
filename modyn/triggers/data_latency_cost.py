"""Train when waiting for the data has cost more than training will."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from modyn.triggers import Trigger
from modyn.triggers.forecast import TrainingCosts
from modyn.types import Float64s, Int64s, Round, Samples

MILLISECOND = 1000


class DataLatencyCost(Trigger):
    """Fires when the area under (samples not yet trained on) over time, divided by the exchange rate, reaches the predicted training seconds.

    The area is in sample-seconds: with a constant rate r it is r t^2 / 2 after t seconds. Time is sample time in whole milliseconds (so that the area is
    an exact integer, however the stream is cut); a sample that arrives late counts from its arrival. The training seconds are a ridge-regressed line on
    the number of samples over past rounds. The area starts anew at each round. Until a first round is done, each ``first`` samples fire.

    Mahadevan and Mathioudakis 2024, "Cost-aware retraining for machine learning".

    >>> import numpy as np
    >>> trigger = DataLatencyCost(seconds_of_delay_per_training_second=10.0, first=1)
    >>> next(trigger.update(Samples(np.arange(5), np.arange(5))))
    0
    """

    seconds_of_delay_per_training_second: PositiveFloat = Field(
        allow_inf_nan=False, description="how many seconds one sample may wait for each second of training saved"
    )
    window: PositiveInt = Field(10, description="number of past trainings from which their cost is learned")
    first: PositiveInt = Field(1000, description="number of samples to train on while no training's cost is known")
    _costs: TrainingCosts = PrivateAttr()
    _count: int = PrivateAttr(default=0)
    _area: int = PrivateAttr(default=0)
    _now: int | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _set_up(self) -> "DataLatencyCost":
        self._costs = TrainingCosts(self.window)
        return self

    def update(self, batch: Samples) -> Iterator[int]:
        start = 0
        while start < len(batch):
            times, areas, counts = self._areas(batch.timestamps[start:])
            crossed = self._crossed(areas, counts)
            end = int(crossed[0]) if len(crossed) else len(times) - 1
            self._now, self._area, self._count = int(times[end]), int(areas[end]), int(counts[end])
            if len(crossed):
                self._note(batch, start + end)
                yield start + end
            start += end + 1

    def ahead(self, batch: Samples) -> int:
        if not len(batch):
            return 0
        _, areas, counts = self._areas(batch.timestamps)
        crossed = self._crossed(areas, counts)
        return int(crossed[0]) if len(crossed) else len(batch)

    def _areas(self, timestamps: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """For each arriving sample: the time (ms), the area (sample-ms) at its arrival, and the number of samples with it."""
        times = np.maximum.accumulate(timestamps // MILLISECOND)
        if self._now is not None:
            times = np.maximum(times, self._now)
        counts = self._count + np.arange(1, len(times) + 1)
        waited = np.diff(times, prepend=times[0] if self._now is None else self._now)
        return times, self._area + np.cumsum(waited * (counts - 1)), counts

    def _crossed(self, areas: Int64s, counts: Int64s) -> Int64s:
        if not self._costs.past:
            return np.flatnonzero(counts % self.first == 0)
        return np.flatnonzero(areas >= self._needed(counts) * 1000)

    def _needed(self, counts: Any) -> Float64s:
        start, slope = self._costs.line()
        return np.asarray((start + slope * counts) * self.seconds_of_delay_per_training_second)

    def _note(self, batch: Samples, position: int) -> None:
        known = bool(self._costs.past)
        self.note(
            trigger="data-latency-cost",
            key=int(batch.keys[position]),
            timestamp=int(batch.timestamps[position]),
            fired=True,
            reason=None if known else "no training's cost is known yet",
            distance=self._area / 1000,
            threshold=float(self._needed(self._count)) if known else None,
            training_seconds=self._costs.predict(self._count) if known else None,
            num_samples=self._count,
        )

    def inform(self, round: Round) -> None:  # noqa: A002
        self._costs.record(self._count, dict(round.costs))
        self._count = self._area = 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "count": self._count,
            "area": self._area,
            "now": self._now,
            "costs": [list(pair) for pair in self._costs.past],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._count, self._area, self._now = state["count"], state["area"], state["now"]
        self._costs.past = [(n, seconds) for n, seconds in state["costs"]]
