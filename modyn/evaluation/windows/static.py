"""Windows given one by one."""

from datetime import datetime

from pydantic import Field, field_validator

from modyn.evaluation.windows import EvaluationWindows
from modyn.types import Window, to_microseconds


class Static(EvaluationWindows):
    """The windows of a list, each ``[start, end)``.

    >>> [str(w) for w in Static(intervals=[["2013-01-01", "2013-02-01"]]).lay_out(0, 1)]
    ['[2013-01-01 00:00, 2013-02-01 00:00)']
    """

    intervals: list[tuple[datetime, datetime]] = Field(min_length=1, description="pairs of start and end")

    @field_validator("intervals")
    @classmethod
    def _ordered(cls, intervals: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
        for start, end in intervals:
            if to_microseconds(end) <= to_microseconds(start):
                raise ValueError(f"[{start}, {end}) is empty: its end must come after its start")
        return sorted(intervals, key=lambda pair: to_microseconds(pair[0]))

    def lay_out(self, first: int, last: int) -> list[Window]:
        return [Window(to_microseconds(s), to_microseconds(e), by="time") for s, e in self.intervals]
