"""The charts of one run: its data and triggers, its costs, what it trained on, and how training went."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.phases import in_words
from modyn.reports.drawing import (
    HIDDEN_AXIS,
    Chart,
    Trace,
    axis,
    categories,
    colour_of,
    few,
    figure,
    iso,
    numbers,
    said,
    time_axis,
    trace,
    windows_of,
)
from modyn.reports.selection_charts import LOWER, UPPER, gap, selected_ages, selected_labels, selection_numbers
from modyn.reports.time_matrix import time_matrix
from modyn.reports.trigger_chart import trigger_values
from modyn.reports.words import (
    count_text,
    duration_text,
    is_missing,
    rows_of,
    score_text,
    span_text,
    whole_text,
)
from modyn.run import STATIONS, Run
from modyn.types import Float64s

if TYPE_CHECKING:
    import pandas as pd


def run_charts(run: Run, number: int) -> list[Chart]:
    """Every chart for which the run has events; ``number`` is its place in the report."""
    makers = (
        time_matrix,
        data_and_triggers,
        trigger_values,
        costs,
        selected_labels,
        selected_ages,
        selection_numbers,
        losses,
    )
    charts = [make(run, number) for make in makers]
    return [chart for chart in charts if chart is not None]


def data_and_triggers(run: Run, number: int) -> Chart | None:
    """How much data arrived when, and after which of it the run was trained."""
    if run.rounds.empty and run.windows.empty:
        return None
    table, stretch = _stretches(run)
    caption = (
        f"Bars: samples that arrived, per day, in each {stretch} (half-open, up to the end of the stream); a bar is as "
        "wide as its time. Lines with triangles: the trigger fired, and the model was trained on data up to there."
    )
    shown = figure(
        [_volume(table), *_firing_marks(run, number)],
        caption,
        xaxis=time_axis(),
        yaxis=axis("samples a day", rangemode="tozero"),
        yaxis2=dict(HIDDEN_AXIS),
    )
    title = "When data came, and when the model was retrained"
    return Chart(id=f"data-{number}", title=title, figures={"*": shown}, height=300)


def _stretches(run: Run) -> "tuple[pd.DataFrame, str]":
    """Stretches of time with how many samples came, and what they are: windows, or rounds where windows overlap."""
    import pandas as pd

    windows = run.windows
    overlap = (windows["start"].iloc[1:].array < windows["end"].iloc[:-1].array).any()
    if len(windows) and not overlap:
        table, stretch = windows.copy(), "evaluation window"
    else:
        table, stretch = run.rounds.rename(columns={"start_time": "start", "end_time": "end"}), "round"
    table = table[["start", "end", "num_samples"]].dropna()
    stream = run.started.get("stream_time")
    if stream and stream[1] is not None and not run.started.get("following"):  # which has gone on since it started
        end = pd.Timestamp(stream[1], unit="us", tz="UTC")
        table["end"] = table["end"].where(table["end"] <= end, end)
    return table, stretch


def _volume(table: "pd.DataFrame") -> Trace:
    seconds = (table["end"] - table["start"]).dt.total_seconds().to_numpy(dtype=float)
    counts = table["num_samples"].to_numpy(dtype=float)
    a_day: Float64s = np.divide(counts * 86_400, seconds, out=np.full(len(seconds), np.nan), where=seconds > 0)
    rows = zip(windows_of(table), counts, a_day, strict=True)
    texts = [said(window, f"{count_text(int(count), 'sample')}, {value:,.1f} a day") for window, count, value in rows]
    style = {"marker": {"color": "$fill", "line": {"width": 1, "color": "$paper"}}, "offset": 0}
    width = (seconds * 1000).tolist()
    return trace("bar", "samples a day", iso(table["start"]), numbers(a_day), text=texts, width=width, **style)


def _firing_marks(run: Run, number: int) -> list[Trace]:
    """A line up to a triangle at each firing."""
    rows = [row for row in rows_of(run.rounds) if not is_missing(row.end_time)]
    texts = [
        said(f"round {row.round}: {span_text(row.start_time, row.end_time)}", whole_text(row.num_samples, "new sample"))
        for row in rows
    ]
    moments, colour = iso(row.end_time for row in rows), colour_of(number)
    up_x = [x for moment in moments for x in (moment, moment, None)]
    up_y = [y for _ in moments for y in (0, 0.96, None)]
    marker = {"symbol": "triangle-down", "size": 11, "color": colour}
    return [
        trace("lines", "", up_x, up_y, yaxis="y2", line={"color": colour, "width": 1}, showlegend=False),
        trace("markers", "trigger fired", moments, [0.96] * len(moments), text=texts, yaxis="y2", marker=marker),
    ]


def costs(run: Run, number: int) -> Chart | None:
    """Seconds of each round by station, and their sum so far; None if none were logged."""
    if run.costs.empty:
        return None
    spent: defaultdict[tuple[int, str], float] = defaultdict(float)
    for row in rows_of(run.costs):
        spent[_OUTSIDE if is_missing(row.round) else int(row.round), str(row.station)] += row.seconds
    places = sorted({place for place, _ in spent})
    known = [*STATIONS, *sorted({station for _, station in spent} - set(STATIONS))]
    traces = [
        part
        for station in known
        if any(spent[place, station] for place in places)
        for part in _station_traces(station, places, [spent[place, station] for place in places])
    ]
    caption = (
        f"Above: seconds of each round, split by station. Below: their running sum, {duration_text(run.seconds)} in all, "
        f"of which {duration_text(run.retraining_seconds)} went into retraining and the rest into evaluation."
    )
    if any(run.training_seconds.values()):
        caption += f" Training was {in_words(run.training_seconds)}."
    names = [_place_name(place) for place in places]
    shown = figure(
        traces,
        caption,
        barmode="stack",
        bargap=gap(names),
        xaxis=categories("round", names, anchor="y2", nticks=12),
        yaxis=axis("seconds a round", domain=UPPER, rangemode="tozero"),
        yaxis2=axis("seconds so far", domain=LOWER, rangemode="tozero"),
    )
    return Chart(id=f"costs-{number}", title="What each round cost", figures={"*": shown}, height=460)


_OUTSIDE = 1 << 62
"""Stands for the round of what was spent outside rounds, after all of them."""


def _place_name(place: int) -> str:
    return "outside" if place == _OUTSIDE else str(place)


def _station_traces(station: str, places: Sequence[int], seconds: Sequence[float]) -> list[Trace]:
    """A station's bars, and its area in the running sum."""
    names, sums = [_place_name(place) for place in places], np.cumsum(seconds).tolist()
    rounds = ["outside rounds" if name == "outside" else f"round {name}" for name in names]
    now = [said(f"{station}, {name}: {duration_text(s)}") for name, s in zip(rounds, seconds, strict=True)]
    so_far = [said(f"{station}, up to {name}: {duration_text(s)}") for name, s in zip(rounds, sums, strict=True)]
    colour = f"$station-{station}" if station in STATIONS else "$fill"
    area = {"stackgroup": "sum", "line": {"width": 1, "color": colour}, "fillcolor": colour, "showlegend": False}
    group = {"legendgroup": said(station)}
    return [
        trace("bar", station, names, numbers(seconds), text=now, marker={"color": colour}, **group),
        trace("lines", station, names, numbers(sums), text=so_far, yaxis="y2", **area, **group),
    ]


def losses(run: Run, number: int) -> Chart | None:
    """The training loss, epoch by epoch; None if no epoch was logged."""
    table = run.epochs.reset_index(drop=True)
    if table.empty or not table["loss"].notna().any():
        return None
    texts = [said(f"round {row.round}, epoch {row.epoch}", f"loss {score_text(row.loss)}") for row in rows_of(table)]
    x, y, shown_texts = _broken_between_rounds(list(table["round"]), numbers(table["loss"]), texts)
    starts = table.drop_duplicates("round")
    ticks = starts.iloc[few(len(starts), 12)]
    line = trace(
        "lines+markers",
        "training loss",
        x,
        y,
        text=shown_texts,
        showlegend=False,
        line={"color": colour_of(number), "width": 1.5},
        marker={"size": 4, "color": colour_of(number)},
    )
    caption = (
        "The mean training loss of each epoch (as the loss function gives it); each piece of line is one round, "
        "labelled where it begins."
    )
    labels = {"tickvals": [int(n) for n in ticks.index], "ticktext": [str(r) for r in ticks["round"]]}
    shown = figure([line], caption, xaxis=axis("epochs, by round", **labels), yaxis=axis("training loss"))
    return Chart(id=f"loss-{number}", title="Training loss", figures={"*": shown}, height=280)


def _broken_between_rounds(
    rounds: Sequence[Any], values: Sequence[float | None], texts: Sequence[str]
) -> tuple[list[int | None], list[float | None], list[str]]:
    """Places, values and texts with a gap wherever another round begins."""
    x: list[int | None] = []
    y: list[float | None] = []
    found: list[str] = []
    for place, (number, value, text) in enumerate(zip(rounds, values, texts, strict=True)):
        if place and number != rounds[place - 1]:
            x, y, found = [*x, None], [*y, None], [*found, ""]
        x, y, found = [*x, place], [*y, value], [*found, text]
    return x, y, found
