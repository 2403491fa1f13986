"""Evaluation windows: the stretches of sample time on which checkpoints are scored. Half-open everywhere."""

from typing import ClassVar

from modyn.config import format_duration
from modyn.errors import ConfigError
from modyn.policy import Policy
from modyn.types import Window

MOST = 100_000
"""More windows than anybody can look at: a misspelt unit."""


def spaced(start: int, end: int, every: int) -> range:
    """The points ``start, start + every, ...`` before ``end``. Raises ConfigError if they are more than ``MOST``."""
    points = range(start, end, every)
    if len(points) > MOST:
        raise ConfigError(
            f"evaluation.windows: every {format_duration(every)} makes {len(points):,} windows over {format_duration(end - start)}; "
            f"at most {MOST:,} are allowed"
        )
    return points


class EvaluationWindows(Policy):
    """Lays out the windows of an evaluation."""

    role: ClassVar[str] = "windows"

    def lay_out(self, first: int, last: int) -> list[Window]:
        """The windows over samples whose times run from ``first`` to ``last`` (microseconds, both inclusive), oldest first."""
        raise NotImplementedError

    def further(self, first: int, last: int, number: int) -> list[Window]:
        """The windows of ``lay_out`` from a number on. Override it where these can be had without the others, as for a stream that never ends."""
        return self.lay_out(first, last)[number:]
