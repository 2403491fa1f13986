"""The charts of one run: its time matrix, its data and triggers, its costs, and what it trained on."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.reports.charts import Chart, Figure, axis, day_density, direction, figure, iso, numbers
from modyn.reports.words import (
    UNDEFINED,
    count_text,
    duration_text,
    is_missing,
    rows_of,
    score_text,
    span_text,
    whole_text,
    window_text,
)
from modyn.run import STATIONS, Run

if TYPE_CHECKING:
    import pandas as pd

MAX_LABELS = 10
MAX_PANELS = 4
_HOVER = "%{text}<extra></extra>"


def run_charts(run: Run, number: int) -> list[Chart]:
    """Every chart for which the run has events; ``number`` is its place in the report."""
    made = (
        time_matrix(run, number),
        data_and_triggers(run, number),
        trigger_values(run, number),
        costs(run, number),
        selections(run, number),
        losses(run, number),
    )
    return [chart for chart in made if chart is not None]


def time_matrix(run: Run, number: int) -> Chart | None:
    """The score of every checkpoint on every window."""
    table = run.evaluations
    table = table[table["checkpoint"].notna()]
    if table.empty:
        return None
    columns = _unique(window_text(w.start, w.end) for w in rows_of(run.windows))
    checkpoints = list(dict.fromkeys(table.sort_values("round", kind="stable")["checkpoint"]))
    until = {row.checkpoint: row.data_until for row in rows_of(run.rounds)}
    rounds = dict(zip(table["checkpoint"], table["round"], strict=True))
    rows = _unique(_checkpoint_text(rounds[c], until.get(c)) for c in checkpoints)
    figures = {
        metric: _matrix_figure(run, table[table["metric"] == metric], metric, higher, checkpoints, rows, columns)
        for metric, higher in run.metrics.items()
    }
    title = "Every checkpoint on every window"
    return Chart(id=f"matrix-{number}", title=title, figures=figures, height=max(300, min(700, 190 + 22 * len(rows))))


def _matrix_figure(run: Run, table: "pd.DataFrame", metric: str, higher: bool, checkpoints: Sequence[str], rows: Sequence[str], columns: Sequence[str]) -> Figure:  # fmt: skip
    place = {checkpoint: row for row, checkpoint in enumerate(checkpoints)}
    grid = np.full((len(rows), len(columns)), np.nan)
    at = table["checkpoint"].map(place).to_numpy(dtype=int), table["window"].to_numpy(dtype=int)
    grid[at] = table["value"].to_numpy(dtype=float)
    heat = {
        "type": "heatmap", "x": list(columns), "y": list(rows), "z": [numbers(line) for line in grid], "hoverongaps": False, "xgap": 1, "ygap": 1,
        "colorscale": "Viridis", "reversescale": not higher, "name": "score",
        "hovertemplate": "%{y}<br>%{x}<br>" + "%{z:.4g}<extra></extra>",
        "colorbar": {"thickness": 12, "len": 1, "title": {"text": escape(metric), "side": "right"}, "outlinewidth": 0},
    }  # fmt: skip
    lost = table[table["value"].isna()]
    crosses = {
        "x": [columns[w] for w in lost["window"]], "y": [rows[place[c]] for c in lost["checkpoint"]], "name": UNDEFINED,
        "text": [f"{rows[place[c]]}<br>{columns[w]}<br>{UNDEFINED}: {escape(str(r))}" for c, w, r in zip(lost["checkpoint"], lost["window"], lost["reason"], strict=True)],
        "marker": {"symbol": "x-thin", "size": 7, "color": "$ink", "line": {"width": 1.5, "color": "$ink"}},
    }  # fmt: skip
    composite = run.composite
    active = composite[(composite["model"] == "active") & (composite["metric"] == metric)]
    served = [
        (columns[w], rows[place[c]]) for w, c in zip(active["window"], active["checkpoint"], strict=True) if c in place
    ]
    squares = {
        "x": [x for x, _ in served], "y": [y for _, y in served], "name": "active model", "hoverinfo": "skip",
        "marker": {"symbol": "square", "size": 8, "color": "#ffffff", "line": {"width": 1.5, "color": "#000000"}},
    }  # fmt: skip
    marks = [m | {"type": "scatter", "mode": "markers"} for m in (squares, crosses) if m["x"]]
    for mark in marks:
        mark.setdefault("hovertemplate", _HOVER) if "text" in mark else None
    caption = (
        f"Each row is a checkpoint, each column a half-open window of time; colour is {metric} ({direction(higher)}, brighter is better). "
        "Squares mark the checkpoint that was active in the window. Cells above the squares belong to later checkpoints, which may have been "
        "trained on that window's data. A cross is a score that is undefined; an empty cell was not evaluated."
    )
    ticks = _few(len(columns), 8)
    starts = [f"{s:%Y-%m-%d}" for s in run.windows["start"]]
    return figure(
        [heat, *marks], caption,
        xaxis=axis("start of the window", type="category", tickvals=[columns[t] for t in ticks], ticktext=[starts[t] for t in ticks], showgrid=False, categoryorder="array", categoryarray=list(columns)),
        yaxis=axis("checkpoint of round", type="category", tickvals=[rows[t] for t in _few(len(rows), 12)], ticktext=[rows[t].split(",")[0].removeprefix("round ") for t in _few(len(rows), 12)], showgrid=False, categoryorder="array", categoryarray=list(rows)),
    )  # fmt: skip


def data_and_triggers(run: Run, number: int) -> Chart | None:
    """How much data arrived when, and after which of it the run was trained."""
    rounds, windows = run.rounds, run.windows
    if rounds.empty and windows.empty:
        return None
    by_window = len(windows) > 0 and not (windows["start"].iloc[1:].array < windows["end"].iloc[:-1].array).any()
    table = (windows if by_window else rounds).copy()
    if not by_window:
        table = table.rename(columns={"start_time": "start", "end_time": "end"}).dropna(subset=["start", "end"])
    density = day_density(table["num_samples"].to_numpy(dtype=float, na_value=np.nan), table["start"], table["end"])
    texts = [
        f"{window_text(row.start, row.end)}<br>{whole_text(row.num_samples, 'sample')}, {value:,.1f} a day"
        for row, value in zip(rows_of(table), density, strict=True)
    ]
    bars = {
        "type": "bar", "x": iso(table["start"]), "y": numbers(density), "offset": 0, "text": texts, "hovertemplate": _HOVER, "textposition": "none",
        "width": [(e - s).total_seconds() * 1000 for s, e in zip(table["start"], table["end"], strict=True)],
        "name": "samples a day", "marker": {"color": "$fill", "line": {"width": 1, "color": "$paper"}},
    }  # fmt: skip
    stretch = "evaluation window" if by_window else "round"
    caption = (
        f"Bars: samples that arrived, per day, in each {stretch} (half-open); a bar is as wide as its time. "
        "Lines with triangles: the trigger fired, and the model was trained on data up to there."
    )
    layout = {"xaxis": axis("time of the data (UTC)", type="date"), "yaxis": axis("samples a day", rangemode="tozero")}
    layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    fired = _firing_marks(rounds, number)
    return Chart(id=f"data-{number}", title="When data came, and when the model was retrained", figures={"*": figure([bars, *fired], caption, **layout)}, height=300)  # fmt: skip


def _firing_marks(rounds: "pd.DataFrame", number: int) -> list[dict[str, Any]]:
    moments = iso(rounds["end_time"])
    texts = [
        f"round {row.round}: {span_text(row.start_time, row.end_time)}<br>{whole_text(row.num_samples, 'new sample')}"
        for row in rows_of(rounds)
    ]
    colour = f"$run{number % 6}"
    lines = {
        "type": "scatter", "mode": "lines", "x": [x for moment in moments for x in (moment, moment, None)], "hoverinfo": "skip",
        "y": [y for _ in moments for y in (0, 0.96, None)], "yaxis": "y2", "line": {"color": colour, "width": 1}, "showlegend": False,
        "name": "",
    }  # fmt: skip
    marks = {
        "type": "scatter", "mode": "markers", "x": moments, "y": [0.96] * len(moments), "yaxis": "y2", "text": texts, "hovertemplate": _HOVER,
        "name": "trigger fired", "marker": {"symbol": "triangle-down", "size": 11, "color": colour},
    }  # fmt: skip
    return [lines, marks]


def trigger_values(run: Run, number: int) -> Chart | None:
    """The numbers behind the trigger's decisions, with thresholds and firings; None if it gave none."""
    table = run.triggers
    measured = [c for c in table.columns[4:] if _is_measured(table[c])]
    lines = [c for c in measured if not _is_threshold(c)]
    if not lines:
        return None
    shown = sorted(lines, key=lambda c: c.rpartition(".")[2] != "distance")[:MAX_PANELS]
    fired = table["fired"].fillna(False).astype(bool) if "fired" in table else None
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"xaxis": axis("time of the data (UTC)", type="date", anchor=_panel("y", len(shown) - 1))}
    for panel, column in enumerate(shown):
        data += _panel_traces(table, column, _threshold_for(column, measured, first=panel == 0), fired, (panel, number))
        height = 1 / len(shown)
        layout[_panel("yaxis", panel)] = axis(column, domain=[1 - height * (panel + 0.86), 1 - height * panel])
    left_out = f" Not drawn: {', '.join(c for c in lines if c not in shown)}." if len(lines) > len(shown) else ""
    caption = (
        f"Each point is one check of the trigger ({len(table):,} in all), in the units of what it measures. Dashed: the threshold at that check. "
        f"Stars: checks at which it fired.{left_out}"
    )
    return Chart(id=f"trigger-{number}", title="Why the trigger fired", figures={"*": figure(data, caption, **layout)}, height=180 + 130 * len(shown))  # fmt: skip


def _panel_traces(
    table: "pd.DataFrame", column: str, threshold: str | None, fired: "pd.Series[Any] | None", place: tuple[int, int]
) -> list[dict[str, Any]]:
    panel, number = place
    shared = {"type": "scatter", "yaxis": _panel("y", panel), "hovertemplate": "%{x}<br>%{y:.4g}<extra></extra>"}
    times, values = iso(table["timestamp"]), numbers(table[column].astype("float64"))
    colour = {"color": f"$run{number % 6}", "width": 1.5}
    traces: list[dict[str, Any]] = [{"mode": "lines+markers", "x": times, "y": values, "name": escape(column), "line": colour, "marker": {"size": 4, "color": colour["color"]}}]  # fmt: skip
    if threshold is not None:
        limits = numbers(table[threshold].astype("float64"))
        dashed = {"color": "$ink", "dash": "dash", "width": 1.5}
        traces.append({"mode": "lines", "x": times, "y": limits, "name": escape(threshold), "line": dashed})
    if fired is not None and panel == 0:
        stars = {"symbol": "star", "size": 13, "color": "$ink"}
        x, y = ([v for v, f in zip(series, fired, strict=True) if f] for series in (times, values))
        traces.append({"mode": "markers", "x": x, "y": y, "name": "fired", "marker": stars})
    return [shared | trace for trace in traces]


def _panel(axis_name: str, panel: int) -> str:
    return axis_name if panel == 0 else f"{axis_name}{panel + 1}"


def _is_measured(column: "pd.Series[Any]") -> bool:
    values = column.dropna()
    return len(values) > 0 and all(isinstance(v, int | float | np.number) and not isinstance(v, bool | np.bool_) for v in values)  # fmt: skip


def _is_threshold(column: str) -> bool:
    return column.rpartition(".")[2].endswith(("threshold", "limit", "bound"))


def _threshold_for(column: str, measured: Iterable[str], *, first: bool) -> str | None:
    """The threshold column that belongs to a number: that of its own group, or the only one there is for the first panel."""
    limits = [c for c in measured if _is_threshold(c)]
    group = column.rpartition(".")[0]
    own = [c for c in limits if c.rpartition(".")[0] == group]
    same_name = [c for c in own if c.startswith(column)]
    is_main = first or column.rpartition(".")[2] == "distance"
    return next(iter(same_name or (own if is_main else [])), None)


def costs(run: Run, number: int) -> Chart | None:
    """Seconds of each round by station, and their sum so far."""
    table = run.costs
    if table.empty:
        return None
    spent: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in rows_of(table):
        spent[("outside" if is_missing(row.round) else str(row.round), str(row.station))] += row.seconds
    places = sorted({place for place, _ in spent}, key=lambda p: (p == "outside", int(p) if p != "outside" else 0))
    stations = [*STATIONS, *sorted({s for _, s in spent} - set(STATIONS))]
    data: list[dict[str, Any]] = []
    for station in [s for s in stations if any(spent[p, s] for p in places)]:
        seconds = [spent[place, station] for place in places]
        texts = [
            f"{escape(station)}, {_place_text(p)}: {duration_text(s)}" for p, s in zip(places, seconds, strict=True)
        ]
        total = np.cumsum(seconds)
        sums = [
            f"{escape(station)}, up to {_place_text(p)}: {duration_text(s)}" for p, s in zip(places, total, strict=True)
        ]
        colour = f"$station-{station}" if station in STATIONS else "$fill"
        shared: dict[str, Any] = {
            "x": places,
            "name": escape(station),
            "legendgroup": escape(station),
            "hovertemplate": _HOVER,
        }
        data.append(
            shared
            | {"type": "bar", "y": numbers(seconds), "text": texts, "textposition": "none", "marker": {"color": colour}}
        )
        data.append(shared | {"type": "scatter", "mode": "lines", "y": numbers(total), "text": sums, "yaxis": "y2", "stackgroup": "sum", "showlegend": False, "line": {"width": 1, "color": colour}, "fillcolor": colour})  # fmt: skip
    caption = (
        f"Above: seconds of each round, split by station. Below: their running sum, {duration_text(run.seconds)} in all, of which "
        f"{duration_text(run.retraining_seconds)} went into retraining and the rest into evaluation."
    )
    layout = {
        "barmode": "stack", "bargap": 0.75 if len(places) < 3 else 0.2, "xaxis": axis("round", type="category", anchor="y2", nticks=12, categoryorder="array", categoryarray=places),
        "yaxis": axis("seconds a round", domain=[0.56, 1], rangemode="tozero"), "yaxis2": axis("seconds so far", domain=[0, 0.44], rangemode="tozero"),
    }  # fmt: skip
    return Chart(
        id=f"costs-{number}", title="What each round cost", figures={"*": figure(data, caption, **layout)}, height=460
    )


def _place_text(place: str) -> str:
    return "outside rounds" if place == "outside" else f"round {place}"


def selections(run: Run, number: int) -> Chart | None:
    """What the rounds trained on: shares of labels, and age; None if neither was logged."""
    table = run.selections
    table = table[[isinstance(labels, Mapping) and sum(labels.values()) > 0 for labels in table["labels"]]]
    if table.empty:
        return None
    totals: Counter[str] = Counter()
    for labels in table["labels"]:
        totals.update({str(k): v for k, v in labels.items()})
    named = [label for label, _ in totals.most_common(MAX_LABELS)]
    shades = {label: shade for shade, label in enumerate(sorted(named, key=_label_order))}
    x = [str(r) for r in table["round"]]
    data: list[dict[str, Any]] = []
    for label in [*shades, None] if len(totals) > len(named) else shades:
        counts = [_label_count(labels, label, named) for labels in table["labels"]]
        shares = [count / sum(labels.values()) for count, labels in zip(counts, table["labels"], strict=True)]
        name = f"{len(totals) - len(named)} other labels" if label is None else f"label {escape(label)}"
        texts = [
            f"round {r}, {name}: {s:.1%} ({count_text(c, 'sample')})" for r, s, c in zip(x, shares, counts, strict=True)
        ]
        colour = "$fill" if label is None else f"$label{shades[label]}"
        data.append({"type": "bar", "x": x, "y": numbers(shares), "name": name, "text": texts, "textposition": "none", "hovertemplate": _HOVER, "marker": {"color": colour}})  # fmt: skip
    layout: dict[str, Any] = {"barmode": "stack", "bargap": 0.75 if len(x) < 3 else 0.2, "xaxis": axis("round", type="category", nticks=12), "yaxis": axis("share of samples", tickformat=".0%", range=[0, 1])}  # fmt: skip
    caption = "The labels of the samples that each round trained on, as shares."
    ages = _age_bars(run, table, x)
    if ages is not None:
        data.append(ages)
        layout["xaxis"]["anchor"] = "y2"
        layout["yaxis"]["domain"], layout["yaxis2"] = (
            [0.56, 1],
            axis("age in days", domain=[0, 0.44], rangemode="tozero"),
        )
        caption += " Below: their age, from the newest to the oldest, in days before the end of the round's data."
    return Chart(id=f"selection-{number}", title="What each round trained on", figures={"*": figure(data, caption, **layout)}, height=460 if ages else 300)  # fmt: skip


def _label_order(label: str) -> tuple[bool, float, str]:
    is_number = label.lstrip("-").isdigit()
    return (not is_number, float(label) if is_number else 0.0, label)


def _label_count(labels: Mapping[str, int], label: str | None, named: Sequence[str]) -> int:
    if label is None:
        return sum(count for name, count in labels.items() if str(name) not in named)
    return int(labels.get(label, 0))


def _age_bars(run: Run, table: "pd.DataFrame", x: Sequence[str]) -> dict[str, Any] | None:
    ends = run.rounds.set_index("round")["end_time"].reindex(table["round"])
    days = [np.array([(end - t).total_seconds() / 86_400 for end, t in zip(ends, table[c], strict=True)]) for c in ("newest", "oldest")]  # fmt: skip
    newest, oldest = days
    if not np.isfinite(oldest).any():
        return None
    texts = [f"round {r}: {n:,.1f} to {o:,.1f} days old" for r, n, o in zip(x, newest, oldest, strict=True)]
    return {
        "type": "bar", "x": list(x), "y": numbers(oldest - newest), "base": numbers(newest), "yaxis": "y2", "name": "age", "showlegend": False,
        "text": texts, "textposition": "none", "hovertemplate": _HOVER, "marker": {"color": "$fill"},
    }  # fmt: skip


def losses(run: Run, number: int) -> Chart | None:
    """The training loss, epoch by epoch; None if no epoch was logged."""
    table = run.epochs
    if table.empty or not table["loss"].notna().any():
        return None
    x: list[Any] = []
    y: list[Any] = []
    texts: list[str] = []
    previous = None
    for place, row in enumerate(rows_of(table)):
        if previous is not None and row.round != previous:
            x, y, texts = [*x, None], [*y, None], [*texts, ""]
        x.append(place)
        y += numbers([row.loss])
        texts.append(f"round {row.round}, epoch {row.epoch}<br>loss {score_text(row.loss)}")
        previous = row.round
    colour = f"$run{number % 6}"
    line = {"type": "scatter", "mode": "lines+markers", "x": x, "y": y, "text": texts, "hovertemplate": _HOVER, "name": "loss", "showlegend": False, "line": {"color": colour, "width": 1.5}, "marker": {"size": 4, "color": colour}}  # fmt: skip
    starts = table.reset_index(drop=True).drop_duplicates("round")
    few = _few(len(starts), 12)
    ticks = {"tickvals": [int(starts.index[t]) for t in few], "ticktext": [str(starts["round"].iloc[t]) for t in few]}
    caption = "The mean training loss of each epoch (as the loss function gives it); each piece of line is one round, labelled where it begins."
    layout = {"xaxis": axis("epochs, by round", **ticks), "yaxis": axis("training loss")}
    return Chart(
        id=f"loss-{number}", title="Training loss", figures={"*": figure([line], caption, **layout)}, height=280
    )


def _checkpoint_text(number: Any, until: Any) -> str:
    return (
        f"round {number}"
        if is_missing(until)
        else f"round {number}, data up to {until - timedelta(microseconds=1):%Y-%m-%d %H:%M}"
    )


def _unique(texts: Iterable[str]) -> list[str]:
    """The texts, with a number after those that came before."""
    seen: Counter[str] = Counter()
    found = []
    for text in texts:
        seen[text] += 1
        found.append(text if seen[text] == 1 else f"{text} #{seen[text]}")
    return found


def _few(count: int, most: int) -> list[int]:
    """At most so many places, evenly spaced from the first one."""
    return list(range(0, count, max(1, -(-count // most))))
