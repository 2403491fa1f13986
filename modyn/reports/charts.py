"""The charts that set models and runs against each other."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modyn.reports.compare import (
    COSTS,
    Comparison,
    first_checkpoint_name,
    first_checkpoints,
    guesses,
    run_names,
)
from modyn.reports.drawing import (
    HIDDEN_AXIS,
    Chart,
    Figure,
    Trace,
    axis,
    categories,
    colour_of,
    direction,
    figure,
    iso,
    numbers,
    said,
    symbol_of,
    time_axis,
    trace,
    windows_of,
)
from modyn.reports.words import (
    MODEL_NAMES,
    UNDEFINED,
    duration_text,
    is_missing,
    rows_of,
    score_text,
    whole_text,
)
from modyn.run import Run

if TYPE_CHECKING:
    import pandas as pd

_COST_WORDS = {
    "retraining_seconds": "the seconds spent at all stations but evaluation",
    "samples_trained": "the number of samples trained on, summed over rounds (epochs do not count)",
    "rounds": "the number of trainings",
}
_DASHES = ("dot", "dashdot", "longdash")


def score_over_time(runs: Sequence[Run], metrics: Mapping[str, bool]) -> Chart:
    """The active model of each run, and the baselines, window by window."""
    figures = {metric: _curve(runs, metric, higher) for metric, higher in metrics.items()}
    return Chart(id="score-over-time", title="How well each model did over time", figures=figures, height=420)


def _curve(runs: Sequence[Run], metric: str, higher_is_better: bool) -> Figure:
    traces = [part for number in range(len(runs)) for part in _active_traces(runs, number, metric)]
    caption = (
        "Each point is the score on one window of time (half-open: its start belongs to it, its end does not), at the "
        "window's middle. Solid: the active model, the newest checkpoint trained only on data from before the window. "
        f"{direction(higher_is_better).capitalize()}. A cross at the foot marks a window in which the active model's "
        "score is undefined."
    )
    return figure(
        traces + _baseline_traces(runs, metric),
        caption,
        xaxis=time_axis() | _range_of_one(runs),
        yaxis=axis(f"{metric} ({direction(higher_is_better)})"),
        yaxis2=dict(HIDDEN_AXIS),
    )


def _range_of_one(runs: Sequence[Run]) -> dict[str, Any]:
    """The range of the axis where there is one window only: its own, which no line would span."""
    borders = {place for run in runs for place in zip(run.windows["start"], run.windows["end"], strict=True)}
    return {"range": iso(next(iter(borders)))} if len(borders) == 1 else {}


def _active_traces(runs: Sequence[Run], number: int, metric: str) -> list[Trace]:
    """The line of a run's active model, and crosses where it has no score."""
    name = run_names(runs)[number] if len(runs) > 1 else "active model"
    table = _scores(runs[number], "active", metric)
    table = table[table["checkpoint"].notna()]
    colour = colour_of(number)
    line = _line(table, name, metric) | {
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2.5},
        "marker": {"color": colour, "size": 7, "symbol": symbol_of(number)},
    }
    lost = table[table["value"].isna()]
    if lost.empty:
        return [line]
    reasons = zip(windows_of(lost), lost["reason"], strict=True)
    texts = [said(name, window, f"{metric} {UNDEFINED}: {reason}") for window, reason in reasons]
    mark = {"symbol": "x-thin", "size": 9, "color": colour, "line": {"width": 2, "color": colour}}
    height = [0.03 + 0.04 * number] * len(lost)
    crosses = trace(
        "markers", f"{name}: {UNDEFINED}", _middles(lost), height, text=texts, marker=mark, yaxis="y2", showlegend=False
    )
    return [line, crosses]


def _baseline_traces(runs: Sequence[Run], metric: str) -> list[Trace]:
    """The baselines' lines; one that is the same in several runs is drawn once."""
    traces: list[Trace] = []
    firsts = first_checkpoints(runs)
    for number in firsts:
        name = first_checkpoint_name(run_names(runs)[number], alone=len(firsts) == 1)
        colour = colour_of(number) if len(firsts) > 1 else "$ink"
        line = _line(_scores(runs[number], "never-retrained", metric), name, metric)
        traces.append(line | _dashed(colour, "dash"))
    drawn: set[Any] = set()
    for run in runs:
        for place, model in enumerate(guesses(run)):
            line = _line(_scores(run, model, metric), MODEL_NAMES.get(model, model), metric)
            same = (model, tuple(line["x"]), tuple(line["y"]))
            if same not in drawn and any(y is not None for y in line["y"]):
                traces.append(line | _dashed("$quiet", _DASHES[place % len(_DASHES)]))
            drawn.add(same)
    return traces


def _scores(run: Run, model: str, metric: str) -> "pd.DataFrame":
    table = run.composite
    return table[(table["model"] == model) & (table["metric"] == metric)]


def _line(table: "pd.DataFrame", name: str, metric: str) -> Trace:
    """A line over windows, with the checkpoint behind each point."""
    rows = zip(windows_of(table), table["round"], table["value"], strict=True)
    texts = [
        said(name, window, "" if is_missing(n) else f"checkpoint of round {n}", f"{metric} {score_text(value)}")
        for window, n, value in rows
    ]
    kind = "lines" if table["value"].notna().sum() > 1 else "lines+markers"  # one point makes no line
    return trace(kind, name, _middles(table), numbers(table["value"]), text=texts, connectgaps=False)


def _dashed(colour: str, dash: str) -> Trace:
    return {
        "line": {"color": colour, "width": 1.5, "dash": dash},
        "marker": {"color": colour, "symbol": "line-ew-open", "size": 14},
    }


def _middles(table: "pd.DataFrame") -> list[str | None]:
    return iso(table["start"] + (table["end"] - table["start"]) / 2)


def score_against_cost(comparison: Comparison) -> Chart:
    """Each run and each never-retrained baseline: its mean score against what it cost."""
    figures = {f"{m}|{c}": _score_cost_figure(comparison, m, c) for m in comparison.metrics for c in COSTS}
    return Chart(id="score-against-cost", title="What each run scored, and what that cost", figures=figures, height=420)


def _score_cost_figure(comparison: Comparison, metric: str, cost: str) -> Figure:
    trained = comparison.table["rounds"] > 0
    table, front = comparison.table[trained], comparison.front(metric, cost)[trained]
    rows = zip(table.to_dict("records"), front, strict=True)
    points = [_point(comparison, row, (metric, cost), on_front=bool(best)) for row, best in rows]
    higher = comparison.metrics[metric]
    caption = (
        f"Mean {metric} of the active model ({direction(higher)}) against {_COST_WORDS[cost]}. Hollow: a run's first "
        "checkpoint, never retrained. The dashed line joins the Pareto front: nothing else is at least as good as its "
        "points in both score and cost, and better in one."
    )
    return figure(
        [_front_line(table[front], metric, cost), *points],
        caption,
        xaxis=axis(COSTS[cost], rangemode="tozero"),
        yaxis=axis(f"mean {metric} ({direction(higher)})"),
    )


def _point(comparison: Comparison, row: Mapping[Any, Any], what: tuple[str, str], *, on_front: bool) -> Trace:
    metric, cost = what
    number = [run.id for run in comparison.runs].index(row["run"])
    spent = duration_text(row[cost]) if cost == "retraining_seconds" else f"{row[cost]:,}"
    mark = "on the Pareto front" if on_front else ""
    text = said(row["name"], f"{metric} {score_text(row[metric])}", f"{COSTS[cost]}: {spent}", mark)
    colour, hollow = colour_of(number), "" if row["kind"] == "run" else "-open"
    style = {"size": 14, "symbol": symbol_of(number) + hollow, "color": colour, "line": {"width": 2, "color": colour}}
    return trace("markers", row["name"], numbers([row[cost]]), numbers([row[metric]]), text=[text], marker=style)


def _front_line(front: "pd.DataFrame", metric: str, cost: str) -> Trace:
    front = front.sort_values([cost, metric])
    return trace("lines", "Pareto front", numbers(front[cost]), numbers(front[metric])) | _dashed("$quiet", "dash")


def firings(runs: Sequence[Run]) -> Chart:
    """When each run retrained, on the time axis of the data."""
    names = run_names(runs)
    traces = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
        rows = [row for row in rows_of(run.rounds) if not is_missing(row.end_time)]
        texts = [
            said(
                name,
                f"round {row.round}, on data up to {row.end_time:%Y-%m-%d %H:%M}",
                whole_text(row.num_samples, "new sample"),
            )
            for row in rows
        ]
        marker = {"size": 11, "symbol": symbol_of(number), "color": colour_of(number)}
        moments = iso(row.end_time for row in rows)
        traces.append(
            trace("markers", name, moments, [str(number)] * len(rows), text=texts, marker=marker, showlegend=False)
        )
    caption = "Each mark is one training, placed at the end of the data that it could see; one row for each run."
    places = [str(number) for number in range(len(runs))]
    rows_axis = categories("", places, autorange="reversed", tickvals=places, ticktext=[said(name) for name in names])
    shown = figure(traces, caption, xaxis=time_axis(), yaxis=rows_axis)
    return Chart(id="firings", title="When each run retrained", figures={"*": shown}, height=130 + 36 * len(runs))
