"""The charts that set models and runs against each other. A chart is plain data; ``report.js`` hands it to Plotly.

Colours are names such as ``$run0`` or ``$ink``: the page fills them in for light or dark. Text from users is escaped here, since
Plotly reads a little HTML in texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.reports.compare import COSTS, Comparison, first_checkpoint_name, first_checkpoints, guesses, run_names
from modyn.reports.words import (
    MODEL_NAMES,
    UNDEFINED,
    duration_text,
    is_missing,
    rows_of,
    score_text,
    whole_text,
    window_text,
)
from modyn.run import Run
from modyn.types import Float64s

if TYPE_CHECKING:
    import pandas as pd

Figure = dict[str, Any]
NUM_COLOURS = 6
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "star")
_COST_WORDS = {
    "retraining_seconds": "the seconds spent at all stations but evaluation",
    "samples_trained": "the number of samples trained on, every epoch counted",
    "rounds": "the number of trainings",
}
_DASHES = ("dot", "dashdot", "longdash")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One plot with its words. ``figures`` maps a choice (``*``, a metric, or ``metric|cost``) to ``data``, ``layout`` and ``caption``."""

    id: str
    title: str
    figures: Mapping[str, Figure]
    height: int = 360
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def caption(self) -> str:
        """The caption of the first choice."""
        return str(next(iter(self.figures.values()))["caption"])


def colour_of(number: int) -> str:
    """The colour of the run with this number, the same in every chart."""
    return f"$run{number % NUM_COLOURS}"


def figure(data: Sequence[Mapping[str, Any]], caption: str, **layout: Any) -> Figure:
    return {"data": list(data), "layout": layout, "caption": caption}


def axis(title: str, **options: Any) -> dict[str, Any]:
    return {"title": {"text": escape(title)}, **options}


def iso(times: "pd.Series[Any] | Iterable[Any]") -> list[str | None]:
    """Times as Plotly's date axes read them (UTC); None for missing ones."""
    return [None if t is None or t != t else f"{t:%Y-%m-%d %H:%M:%S}" for t in times]


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Values as JSON has them: NaN and missing become None; five significant digits."""
    return [None if v is None or v != v else float(f"{float(v):.5g}") for v in values]


def direction(higher_is_better: bool) -> str:
    return "higher is better" if higher_is_better else "lower is better"


def score_over_time(runs: Sequence[Run], metrics: Mapping[str, bool]) -> Chart:
    """The active model of each run, and the baselines, window by window."""
    caption = (
        "Each point is the score on one window of time (half-open: its start belongs to it, its end does not), at the window's middle. "
        "Solid: the active model, the newest checkpoint trained only on data from before the window. {direction}. "
        "A cross at the foot marks a window in which the active model's score is undefined."
    )
    figures = {}
    for metric, higher in metrics.items():
        data = [trace for number, run in enumerate(runs) for trace in _active_traces(run, number, runs, metric)]
        data += _baseline_traces(runs, metric)
        text = caption.format(direction=direction(higher).capitalize())
        figures[metric] = figure(
            data,
            text,
            xaxis=axis("time of the data (UTC)", type="date"),
            yaxis=axis(f"{metric} ({direction(higher)})"),
            yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        )
    return Chart(id="score-over-time", title="How well each model did over time", figures=figures, height=420)


def _active_traces(run: Run, number: int, runs: Sequence[Run], metric: str) -> list[dict[str, Any]]:
    """The line of a run's active model, and crosses where it has no score."""
    name = escape(run_names(runs)[number]) if len(runs) > 1 else "active model"
    table = run.composite
    table = table[(table["model"] == "active") & (table["metric"] == metric) & table["checkpoint"].notna()]
    line = _line(table, name, metric)
    line |= {"line": {"color": colour_of(number), "width": 2.5}, "legendgroup": f"run{number}"}
    line |= {"marker": {"color": colour_of(number), "size": 7, "symbol": _SYMBOLS[number % len(_SYMBOLS)]}}
    traces = [line]
    lost = table[table["value"].isna()]
    if len(lost):
        texts = [f"{name}<br>{w}<br>{escape(metric)} {UNDEFINED}: {escape(str(r))}" for w, r in zip(_windows(lost), lost["reason"], strict=True)]  # fmt: skip
        marker = {"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": colour_of(number)}, "color": colour_of(number)}  # fmt: skip
        traces.append(
            {"type": "scatter", "mode": "markers", "x": _middles(lost), "y": [0.03 + 0.04 * number] * len(lost), "yaxis": "y2",
             "text": texts, "hovertemplate": "%{text}<extra></extra>", "marker": marker, "name": f"{name}: {UNDEFINED}",
             "showlegend": False}
        )  # fmt: skip
    return traces


def _baseline_traces(runs: Sequence[Run], metric: str) -> list[dict[str, Any]]:
    """The baselines' lines; one that is the same in several runs is drawn once."""
    traces: list[dict[str, Any]] = []
    firsts = first_checkpoints(runs)
    for number in firsts:
        name = escape(first_checkpoint_name(run_names(runs)[number], alone=len(firsts) == 1))
        colour = colour_of(number) if len(firsts) > 1 else "$ink"
        traces.append(_baseline_line(runs[number], "never-retrained", metric, name) | _dashed(colour, "dash"))
    drawn: set[Any] = set()
    for run in runs:
        for place, model in enumerate(guesses(run)):
            line = _baseline_line(run, model, metric, MODEL_NAMES.get(model, escape(model)))
            same = (model, tuple(line["x"]), tuple(line["y"]))
            if same not in drawn and any(y is not None for y in line["y"]):
                traces.append(line | _dashed("$quiet", _DASHES[place % len(_DASHES)]))
            drawn.add(same)
    return traces


def _baseline_line(run: Run, model: str, metric: str, name: str) -> dict[str, Any]:
    table = run.composite
    return _line(table[(table["model"] == model) & (table["metric"] == metric)], name, metric)


def _dashed(colour: str, dash: str) -> dict[str, Any]:
    return {"mode": "lines", "line": {"color": colour, "width": 1.5, "dash": dash}}


def _line(table: "pd.DataFrame", name: str, metric: str) -> dict[str, Any]:
    """A line over windows; ``name`` is escaped already."""
    texts = [
        f"{name}<br>{window}{'' if is_missing(number) else f'<br>checkpoint of round {number}'}<br>{escape(metric)} {score_text(value)}"
        for window, number, value in zip(_windows(table), table["round"], table["value"], strict=True)
    ]
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": _middles(table), "y": numbers(table["value"]), "text": texts,
        "hovertemplate": "%{text}<extra></extra>", "connectgaps": False,
    }  # fmt: skip


def _windows(table: "pd.DataFrame") -> list[str]:
    return [window_text(start, end) for start, end in zip(table["start"], table["end"], strict=True)]


def _middles(table: "pd.DataFrame") -> list[str | None]:
    return iso(table["start"] + (table["end"] - table["start"]) / 2)


def score_against_cost(comparison: Comparison) -> Chart:
    """Each run and each never-retrained baseline: its mean score against what it cost."""
    figures = {f"{m}|{c}": _score_cost_figure(comparison, m, c) for m in comparison.metrics for c in COSTS}
    return Chart(id="score-against-cost", title="What each run scored, and what that cost", figures=figures, height=420)


def _score_cost_figure(comparison: Comparison, metric: str, cost: str) -> Figure:
    table = comparison.table[comparison.table["rounds"] > 0]
    front = comparison.front(metric, cost)[comparison.table["rounds"] > 0]
    ids = [run.id for run in comparison.runs]
    data: list[dict[str, Any]] = [_front_line(table[front], metric, cost)]
    for (_, row), best in zip(table.iterrows(), front, strict=True):
        number = ids.index(row["run"])
        name, is_run = escape(row["name"]), row["kind"] == "run"
        shown = duration_text(row[cost]) if cost == "retraining_seconds" else f"{row[cost]:,}"
        mark = "<br>on the Pareto front" if best else ""
        text = f"{name}<br>{escape(metric)} {score_text(row[metric])}<br>{escape(COSTS[cost])}: {shown}{mark}"
        symbol = _SYMBOLS[number % len(_SYMBOLS)] + ("" if is_run else "-open")
        data.append(
            {"type": "scatter", "mode": "markers", "name": name, "x": numbers([row[cost]]), "y": numbers([row[metric]]),
             "text": [text], "hovertemplate": "%{text}<extra></extra>",
             "marker": {"size": 14, "symbol": symbol, "color": colour_of(number), "line": {"width": 2, "color": colour_of(number)}}}
        )  # fmt: skip
    higher = comparison.metrics[metric]
    caption = (
        f"Mean {metric} of the active model ({direction(higher)}) against {_COST_WORDS[cost]}. Hollow: the run's first checkpoint, never "
        f"retrained. The dashed line joins the Pareto front: for those no other costs less and scores as well, or scores better for as little."
    )
    return figure(
        data, caption, xaxis=axis(COSTS[cost], rangemode="tozero"), yaxis=axis(f"mean {metric} ({direction(higher)})")
    )


def _front_line(front: "pd.DataFrame", metric: str, cost: str) -> dict[str, Any]:
    front = front.sort_values([cost, metric])
    return {
        "type": "scatter", "mode": "lines", "name": "Pareto front", "x": numbers(front[cost]), "y": numbers(front[metric]),
        "line": {"color": "$quiet", "dash": "dash", "width": 1.5}, "hoverinfo": "skip",
    }  # fmt: skip


def firings(runs: Sequence[Run]) -> Chart:
    """When each run retrained, on the time axis of the data."""
    names = run_names(runs)
    data = []
    for number, run in enumerate(runs):
        rounds, name = run.rounds, escape(names[number])
        texts = [
            f"{name}<br>round {row.round}, after {row.end_time:%Y-%m-%d %H:%M}<br>{whole_text(row.num_samples, 'new sample')}"
            for row in rows_of(rounds)
        ]
        data.append(
            {"type": "scatter", "mode": "markers", "name": name, "x": iso(rounds["end_time"]), "y": [name] * len(rounds), "text": texts,
             "hovertemplate": "%{text}<extra></extra>", "showlegend": False,
             "marker": {"size": 11, "symbol": _SYMBOLS[number % len(_SYMBOLS)], "color": colour_of(number)}}
        )  # fmt: skip
    caption = "Each mark is one training, placed at the end of the data that it could see; one row for each run."
    layout = {"xaxis": axis("time of the data (UTC)", type="date"), "yaxis": {"type": "category", "autorange": "reversed", "automargin": True, "categoryorder": "array", "categoryarray": [escape(n) for n in names]}}  # fmt: skip
    return Chart(id="firings", title="When each run retrained", figures={"*": figure(data, caption, **layout)}, height=130 + 36 * len(runs))  # fmt: skip


def day_density(counts: Float64s, starts: "pd.Series[Any]", ends: "pd.Series[Any]") -> Float64s:
    """Samples per day of stretches of time, ``[n]``; NaN for an empty stretch."""
    days = (ends - starts).dt.total_seconds().to_numpy(dtype=float) / 86_400
    density: Float64s = np.divide(counts, days, out=np.full(len(days), np.nan), where=days > 0)
    return density
