"""What charts are made of. A chart is plain data; ``report.js`` hands it to Plotly.

Colours are names such as ``$run0`` or ``$ink``: the page fills them in for light or dark. Whatever comes from users is
escaped here, since Plotly reads a little HTML in its texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from modyn.reports.words import is_missing, window_text

if TYPE_CHECKING:
    import pandas as pd

Figure = dict[str, Any]
Trace = dict[str, Any]
NUM_COLOURS = 6
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "star", "hexagon")
HIDDEN_AXIS: Mapping[str, Any] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
"""A second y axis from 0 at the foot to 1 at the top, for marks that have a place but no value."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One plot with its words.

    ``figures`` maps a choice (``*``, a metric, or ``metric|cost``) to data, layout and caption.
    """

    id: str
    title: str
    figures: Mapping[str, Figure]
    height: int = 360

    @property
    def caption(self) -> str:
        """The caption of the first choice."""
        return str(next(iter(self.figures.values()))["caption"])


def figure(traces: Sequence[Trace], caption: str, **layout: Any) -> Figure:
    return {"data": list(traces), "layout": layout, "caption": caption}


def trace(
    kind: str, name: str, x: Sequence[Any], y: Sequence[Any], *, text: Sequence[str] | None = None, **options: Any
) -> Trace:
    """A series of ``bar``, ``lines``, ``markers`` or ``lines+markers``; ``text``, by ``said``, is shown on hovering."""
    shape = {"type": "bar", "textposition": "none"} if kind == "bar" else {"type": "scatter", "mode": kind}
    hover = {"hoverinfo": "skip"} if text is None else {"text": list(text), "hovertemplate": "%{text}<extra></extra>"}
    return {**shape, **hover, "name": escape(name), "x": list(x), "y": list(y), **options}


def axis(title: str, **options: Any) -> dict[str, Any]:
    return {"title": {"text": escape(title)}, **options}


def time_axis() -> dict[str, Any]:
    return axis("time of the data (UTC)", type="date")


def categories(title: str, names: Sequence[str], **options: Any) -> dict[str, Any]:
    """An axis of names in this order."""
    return axis(title, type="category", categoryorder="array", categoryarray=list(names), **options)


def said(*parts: str) -> str:
    """The lines of a text shown on hovering."""
    return "<br>".join(escape(part) for part in parts if part)


def colour_of(number: int) -> str:
    """The colour of the run with this number, the same in every chart."""
    return f"$run{number % NUM_COLOURS}"


def symbol_of(number: int) -> str:
    """The mark of the run with this number: with 7 marks and 6 colours, 42 runs can be told apart."""
    return SYMBOLS[number % len(SYMBOLS)]


def iso(times: "pd.Series[Any] | Iterable[Any]") -> list[str | None]:
    """Times as Plotly's date axes read them (UTC); None for missing ones."""
    return [None if is_missing(t) else f"{t:%Y-%m-%d %H:%M:%S}" for t in times]


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Values as JSON has them: missing ones become None; five significant digits."""
    return [None if is_missing(v) else float(f"{float(v):.5g}") for v in values]


def direction(higher_is_better: bool) -> str:
    return "higher is better" if higher_is_better else "lower is better"


def windows_of(table: "pd.DataFrame") -> list[str]:
    """The text of each row's half-open window."""
    return [window_text(start, end) for start, end in zip(table["start"], table["end"], strict=True)]


def few(count: int, most: int) -> list[int]:
    """At most so many places, evenly spaced from the first one.

    >>> few(10, 4), few(3, 4)
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return list(range(0, count, max(1, -(-count // most))))
