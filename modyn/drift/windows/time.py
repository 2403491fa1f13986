"""Windows of so much sample time."""

from pydantic import Field

from modyn.config import Duration
from modyn.drift.windows import DriftWindow
from modyn.types import Array, Int64s


class Time(DriftWindow):
    """The samples whose time is less than ``reference`` before the newest sample's time at the last round, or ``current`` before that of now.

    >>> import numpy as np
    >>> Time(reference="5us", current="2us").kept(np.arange(9), "current", now=8).nonzero()[0]
    array([7, 8])
    """

    reference: Duration = Field(description="how far back the reference window reaches, such as 30d")
    current: Duration = Field(description="how far back the current window reaches, such as 7d")

    def kept(self, timestamps: Int64s, which: str, *, now: int) -> Array:
        return timestamps > now - (self.reference if which == "reference" else self.current)
