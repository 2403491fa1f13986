"""Train at the times of a cron expression."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, PrivateAttr

from modyn.triggers import Trigger
from modyn.types import Int64s, Samples, to_datetime, to_microseconds


def _cron(expression: str) -> str:
    try:
        CronSim(expression, to_datetime(0))
    except CronSimError as error:
        raise ValueError(f"is not a cron expression such as '0 3 * * 1': {error or expression}") from None
    return expression


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone is named '{name}'; names are such as UTC and Europe/Zurich") from None
    return name


class Cron(Trigger):
    """Fires at the times of a cron expression: of the samples in replay, of the wall clock where there is one.

    In replay a time is passed with the first sample at or after it, and training takes place after the sample before; a gap over several times fires
    once. Where the features give a clock (``now``), it decides when samples or an empty batch are shown, and training is on all that has arrived. Daylight saving is
    that of the time zone: a time that does not exist is taken at the next that does, one that exists twice fires once.

    >>> import numpy as np
    >>> from modyn.types import Samples
    >>> hours = np.arange(50) * 3600 * 1_000_000
    >>> list(Cron(expression="0 0 * * *").update(Samples(np.arange(50), hours)))
    [23, 47]
    """

    expression: Annotated[str, AfterValidator(_cron)] = Field(
        description="five fields: minute, hour, day of month, month, day of week (six: seconds first), such as '0 3 * * 1'"
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="the time zone of the expression")
    _next: int | None = PrivateAttr(default=None)
    _now: int | None = PrivateAttr(default=None)
    _key: int | None = PrivateAttr(default=None)

    def _after(self, moment: int) -> int:
        """The first time of the expression after a moment (microseconds)."""
        return to_microseconds(next(CronSim(self.expression, to_datetime(moment).astimezone(ZoneInfo(self.timezone)))))

    def update(self, batch: Samples) -> Iterator[int]:
        clock = None if self._features is None else self._features.now
        yield from self._by_samples(batch) if clock is None else self._by_clock(batch, clock)

    def _by_clock(self, batch: Samples, clock: int) -> Iterator[int]:
        due = self._next is not None and clock >= self._next
        if due or self._next is None:
            self._next = self._after(clock)
        if due:
            self._key = int(batch.keys[-1]) if len(batch) else self._key
            self._noted(clock)
            yield len(batch) - 1
        self._key = int(batch.keys[-1]) if len(batch) else self._key

    def _by_samples(self, batch: Samples) -> Iterator[int]:
        if not len(batch):
            return
        times = self._times(batch)
        if self._next is None:
            self._next = self._after(int(times[0]))
        while (first := int(np.searchsorted(times, self._next))) < len(times):
            self._now = int(times[first - 1]) if first else self._now
            border, self._next = self._next, self._after(int(times[first]))
            self._key = int(batch.keys[first - 1]) if first else self._key
            self._noted(border)
            yield first - 1
        self._now, self._key = int(times[-1]), int(batch.keys[-1])

    def _times(self, batch: Samples) -> Int64s:
        times = np.maximum.accumulate(batch.timestamps)
        return times if self._now is None else np.maximum(times, self._now)

    def _noted(self, moment: int) -> None:
        self.note(trigger="cron", key=self._key, timestamp=moment, fired=True, expression=self.expression)

    def ahead(self, batch: Samples) -> int:
        clock = None if self._features is None else self._features.now
        if clock is not None:
            return len(batch) - 1 if self._next is not None and clock >= self._next else len(batch)
        if not len(batch):
            return 0
        times = self._times(batch)
        border = self._after(int(times[0])) if self._next is None else self._next
        first = int(np.searchsorted(times, border))
        return first - 1 if first < len(times) else len(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"next": self._next, "now": self._now, "key": self._key}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._next, self._now, self._key = state["next"], state["now"], state["key"]
