"""Evaluation windows: the stretches of sample time on which checkpoints are scored. Half-open everywhere."""

from typing import ClassVar

from modyn.policy import Policy
from modyn.types import Window


class EvaluationWindows(Policy):
    """Lays out the windows of an evaluation."""

    role: ClassVar[str] = "windows"

    def lay_out(self, first: int, last: int) -> list[Window]:
        """The windows over samples whose times run from ``first`` to ``last`` (microseconds, both inclusive), oldest first."""
        raise NotImplementedError
