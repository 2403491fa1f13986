"""Train when none of several triggers has fired."""

from collections.abc import Sequence

from pydantic import Field, model_validator

from modyn.triggers.combining.children import Children
from modyn.triggers.combining.combination import Combination
from modyn.triggers.rhythm import Rhythm, fresh


class NoneOf(Combination):
    """Fires at a check if none of its triggers has fired since the last round, or since the last check with ``memory: this-check``.

    It keeps a model fresh in quiet times, or, within ``all-of``, holds others back.

    >>> import numpy as np
    >>> from modyn.triggers.once import Once
    >>> from modyn.types import Samples
    >>> trigger = NoneOf(triggers=(Once(samples=5),), check_every=4, memory="this-check")
    >>> list(trigger.update(Samples(np.arange(12), np.arange(12))))
    [3, 11]
    """

    check_every: Rhythm = Field(description="samples or sample time between checks")

    @model_validator(mode="after")
    def _with_beat(self) -> "NoneOf":
        self._children = Children((*self.triggers, fresh(self.check_every)))
        self._votes = [False] * len(self._children.triggers)
        return self

    def verdict(self, given: Sequence[bool]) -> bool:
        if not given[-1]:
            return False
        quiet = not any(self._votes[:-1])
        self._votes[-1] = False
        if self.memory == "this-check":
            self._votes = [False] * len(self._votes)
        return quiet
