"""Windows that reach around points in time."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from modyn.config import Duration, format_duration, parse_duration
from modyn.evaluation.windows import EvaluationWindows, spaced
from modyn.types import Window, to_microseconds


def _parse_offset(value: Any) -> int:
    if isinstance(value, str):
        text = value.strip()
        return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text.removeprefix("+"))
    return parse_duration(value)


def _spell_offset(value: int) -> str:
    return f"{'-' if value < 0 else '+'}{format_duration(abs(value))}"


Offset = Annotated[
    int,
    BeforeValidator(_parse_offset),
    PlainSerializer(_spell_offset),
    WithJsonSchema({"type": "string", "examples": ["-1y", "+1y"]}),
]
"""A duration with a sign, written ``-1y`` or ``+30d``, held as microseconds."""


class Sliding(EvaluationWindows):
    """Windows that overlap: around a point every so often, from ``interval[0]`` before it to ``interval[1]`` after it.

    Wild-Time (Yao et al., NeurIPS 2022) evaluates so: around each year, that year and its neighbours.

    >>> [str(w) for w in Sliding(every="1d", interval=["-1d", "+1d"]).lay_out(0, 1)]
    ['[1969-12-31 00:00, 1970-01-02 00:00)']
    """

    every: Duration = Field(description="how far apart the points lie, such as 30d")
    interval: tuple[Offset, Offset] = Field(
        description="where a window starts and ends, seen from its point, such as [-1y, +1y]"
    )
    start: datetime | None = Field(None, description="the first point (null = the first sample's time)")
    end: datetime | None = Field(None, description="points lie before this time (null = up to the last sample)")

    @model_validator(mode="after")
    def _ordered(self) -> "Sliding":
        if self.interval[1] <= self.interval[0]:
            raise ValueError("interval must end after it starts")
        return self

    def lay_out(self, first: int, last: int) -> list[Window]:
        return self.further(first, last, 0)

    def further(self, first: int, last: int, number: int) -> list[Window]:
        start = (first if self.start is None else to_microseconds(self.start)) + number * self.every
        end = last + 1 if self.end is None else to_microseconds(self.end)
        return [Window(p + self.interval[0], p + self.interval[1], by="time") for p in spaced(start, end, self.every)]
