"""Windows side by side."""

from datetime import datetime

from pydantic import Field, model_validator

from modyn.config import Duration
from modyn.evaluation.windows import EvaluationWindows, spaced
from modyn.types import Window, to_microseconds


class Slices(EvaluationWindows):
    """Cuts time into windows of one length, side by side: ``[start, start + every)``, and so on until all samples are covered.

    >>> [str(w) for w in Slices(every="30d").lay_out(0, 31 * 24 * 3600 * 10**6)]
    ['[1970-01-01 00:00, 1970-01-31 00:00)', '[1970-01-31 00:00, 1970-03-02 00:00)']
    """

    every: Duration = Field(description="each window's length, such as 30d")
    start: datetime | None = Field(None, description="where the first window starts (null = the first sample's time)")
    end: datetime | None = Field(
        None, description="where the last window ends at the latest (null = after the last sample)"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Slices":
        if self.start and self.end and to_microseconds(self.end) <= to_microseconds(self.start):
            raise ValueError("end must come after start")
        return self

    def lay_out(self, first: int, last: int) -> list[Window]:
        return self.further(first, last, 0)

    def further(self, first: int, last: int, number: int) -> list[Window]:
        start = (first if self.start is None else to_microseconds(self.start)) + number * self.every
        end = last + 1 if self.end is None else to_microseconds(self.end)
        cap = None if self.end is None else end
        starts = spaced(start, end, self.every)
        return [Window(s, s + self.every if cap is None else min(s + self.every, cap), by="time") for s in starts]
