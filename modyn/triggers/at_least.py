"""Train when at least so many of several triggers have fired."""

from pydantic import Field, PositiveInt, model_validator

from modyn.errors import counted
from modyn.triggers.combining.combination import Combination


class AtLeast(Combination):
    """Fires when at least ``count`` of its triggers have fired since the last round, or at the same sample with ``memory: this-check``.

    >>> import numpy as np
    >>> from modyn.triggers.every import Every
    >>> from modyn.types import Samples
    >>> children = (Every(samples=2), Every(samples=3), Every(samples=100))
    >>> list(AtLeast(count=2, triggers=children).update(Samples(np.arange(7), np.arange(7))))
    [2, 5]
    """

    count: PositiveInt = Field(description="how many of the triggers suffice")

    @model_validator(mode="after")
    def _reachable(self) -> "AtLeast":
        if self.count > len(self.triggers):
            raise ValueError(f"count: {self.count} can never be reached with {counted(len(self.triggers), 'trigger')}")
        return self

    def fires_on(self, votes: int) -> bool:
        return votes >= self.count
