"""Windows of so many samples."""

from pydantic import Field, PositiveInt

from modyn.drift.windows import DriftWindow
from modyn.types import Int64s


class Amount(DriftWindow):
    """The last ``reference`` and the last ``current`` samples.

    >>> import numpy as np
    >>> Amount(reference=5, current=2).kept(np.arange(9), "current", now=8)
    slice(7, None, None)
    """

    reference: PositiveInt = Field(5000, description="most samples of the reference window")
    current: PositiveInt = Field(5000, description="most samples of the current window")

    def kept(self, timestamps: Int64s, which: str, *, now: int) -> slice:
        return slice(max(0, len(timestamps) - (self.reference if which == "reference" else self.current)), None)
