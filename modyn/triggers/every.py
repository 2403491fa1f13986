"""Train at fixed intervals, of samples or of time."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from modyn.config import Duration
from modyn.triggers import Trigger
from modyn.types import Int64s, Samples, to_microseconds


class Every(Trigger):
    """Fires each ``samples`` samples, or at each border of ``interval`` in sample time, after the last sample before the border.

    Give exactly one of the two. A gap over several borders fires once. The border at ``start + k * interval`` belongs to what comes
    after it: samples of exactly that time are trained on at the next border.

    >>> import numpy as np
    >>> from modyn.types import Samples
    >>> list(Every(samples=4).update(Samples(np.arange(10), np.arange(10))))
    [3, 7]
    >>> list(Every(interval="3us").update(Samples(np.arange(6), np.array([0, 1, 3, 4, 11, 12]))))
    [1, 3, 4]
    """

    samples: PositiveInt | None = Field(None, description="train each so many samples")
    interval: Duration | None = Field(None, description="train each so much sample time, such as 7d")
    start: datetime | None = Field(None, description="a border in sample time (null = the first sample's time)")
    _seen: int = PrivateAttr(default=0)
    _origin: int | None = PrivateAttr(default=None)
    _reached: int | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _one(self) -> "Every":
        if (self.samples is None) == (self.interval is None):
            raise ValueError("needs exactly one of samples and interval")
        if self.start is not None and self.interval is None:
            raise ValueError("start goes with interval, not with samples")
        return self

    def update(self, batch: Samples) -> Iterator[int]:
        return self._by_samples(len(batch)) if self.samples is not None else self._by_time(batch.timestamps)

    def _by_samples(self, arriving: int) -> Iterator[int]:
        assert self.samples is not None
        before = self._seen
        for position in range(self.samples - before % self.samples - 1, arriving, self.samples):
            self._seen = before + position + 1
            yield position
        self._seen = before + arriving

    def _by_time(self, timestamps: Int64s) -> Iterator[int]:
        assert self.interval is not None
        if not len(timestamps):
            return
        if self._origin is None:
            self._origin = int(timestamps[0]) if self.start is None else to_microseconds(self.start)
        # A sample that arrives late belongs to the interval that is being filled: borders are passed once.
        intervals = np.maximum.accumulate((timestamps - self._origin) // self.interval)
        reached = int(intervals[0]) if self._reached is None else self._reached
        intervals = np.maximum(intervals, reached)
        for position in np.flatnonzero(np.diff(intervals, prepend=reached) > 0) - 1:
            self._reached = int(intervals[position + 1])
            yield int(position)
        self._reached = int(intervals[-1])

    def ahead(self, batch: Samples) -> int:
        if self.samples is not None:
            return min(self.samples - self._seen % self.samples - 1, len(batch))
        assert self.interval is not None
        if not len(batch):
            return 0
        origin, reached = self._origin, self._reached
        if origin is None:
            origin = int(batch.timestamps[0]) if self.start is None else to_microseconds(self.start)
        intervals = (batch.timestamps - origin) // self.interval
        later = np.flatnonzero(intervals > (intervals[0] if reached is None else reached))
        return int(later[0]) - 1 if len(later) else len(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self._seen, "origin": self._origin, "reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._seen, self._origin, self._reached = state["seen"], state["origin"], state["reached"]
