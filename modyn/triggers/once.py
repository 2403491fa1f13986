"""Train once, and never again."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from modyn.config import Duration
from modyn.triggers import Trigger
from modyn.triggers.every import Every
from modyn.types import Samples


class Once(Trigger):
    """Fires after the first ``samples`` samples, or after the first ``interval`` of sample time, and never again.

    >>> import numpy as np
    >>> from modyn.types import Samples
    >>> list(Once(samples=4).update(Samples(np.arange(10), np.arange(10))))
    [3]
    """

    samples: PositiveInt | None = Field(None, description="train after the first so many samples")
    interval: Duration | None = Field(None, description="train after the first so much sample time, such as 30d")
    _first: Every = PrivateAttr()
    _fired: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _one(self) -> "Once":
        if (self.samples is None) == (self.interval is None):
            raise ValueError("needs exactly one of samples and interval")
        interval = None if self.interval is None else timedelta(microseconds=self.interval)
        self._first = Every.model_validate({"samples": self.samples, "interval": interval})
        return self

    def update(self, batch: Samples) -> Iterator[int]:
        if self._fired:
            return
        for position in self._first.update(batch):
            self._fired = True
            yield position
            return

    def ahead(self, batch: Samples) -> int:
        return len(batch) if self._fired else self._first.ahead(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"fired": self._fired, "first": self._first.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fired = state["fired"]
        self._first.load_state_dict(state["first"])
