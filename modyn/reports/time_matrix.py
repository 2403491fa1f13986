"""The time matrix of a run: the score of every checkpoint on every window."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.reports.drawing import (
    Chart,
    Figure,
    Trace,
    categories,
    direction,
    few,
    figure,
    numbers,
    said,
    trace,
    windows_of,
)
from modyn.reports.words import UNDEFINED, is_missing, rows_of
from modyn.run import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class _Frame:
    """Names of rows and columns, with their short forms on the axes, and the row of each checkpoint."""

    rows: Sequence[str]
    row_ticks: Sequence[str]
    columns: Sequence[str]
    column_ticks: Sequence[str]
    row_of: dict[str, int]


def time_matrix(run: Run, number: int) -> Chart | None:
    """The heat map of checkpoints and windows; None if no checkpoint was evaluated."""
    table = run.evaluations
    table = table[table["checkpoint"].notna()]
    if table.empty:
        return None
    frame = _frame(run, table)
    figures = {
        metric: _heat_map(run, table[table["metric"] == metric], frame, metric=metric, higher_is_better=higher)
        for metric, higher in run.metrics.items()
    }
    height = max(300, min(700, 190 + 22 * len(frame.rows)))
    return Chart(id=f"matrix-{number}", title="Every checkpoint on every window", figures=figures, height=height)


def _frame(run: Run, table: "pd.DataFrame") -> _Frame:
    checkpoints = table.sort_values("round", kind="stable").drop_duplicates("checkpoint")
    until = {row.checkpoint: row.data_until for row in rows_of(run.rounds)}
    names = [_checkpoint_text(row.round, until.get(row.checkpoint)) for row in rows_of(checkpoints)]
    return _Frame(
        rows=_unique(names),
        row_ticks=["?" if is_missing(number) else str(number) for number in checkpoints["round"]],
        columns=_unique(windows_of(run.windows)),
        column_ticks=[f"{start:%Y-%m-%d}" for start in run.windows["start"]],
        row_of={checkpoint: row for row, checkpoint in enumerate(checkpoints["checkpoint"])},
    )


def _heat_map(run: Run, table: "pd.DataFrame", frame: _Frame, *, metric: str, higher_is_better: bool) -> Figure:
    grid = np.full((len(frame.rows), len(frame.columns)), np.nan)
    grid[table["checkpoint"].map(frame.row_of).to_numpy(dtype=int), table["window"].to_numpy(dtype=int)] = table[
        "value"
    ]
    heat = {
        "type": "heatmap",
        "name": "score",
        "x": list(frame.columns),
        "y": list(frame.rows),
        "z": [numbers(line) for line in grid],
        "hovertemplate": "%{y}<br>%{x}<br>%{z:.4g}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorscale": "Viridis",
        "reversescale": not higher_is_better,
        "colorbar": {"thickness": 12, "len": 1, "title": {"text": escape(metric), "side": "right"}, "outlinewidth": 0},
    }
    caption = (
        f"Each row is a checkpoint, each column a half-open window of time; colour is {metric} "
        f"({direction(higher_is_better)}, brighter is better). Squares mark the checkpoint that was active in the "
        "window. Cells above the squares belong to later checkpoints, which may have been trained on that window's data. "
        "A cross is a score that is undefined; an empty cell was not evaluated."
    )
    marks = [mark for mark in (_active_squares(run, frame), _undefined_crosses(table, frame)) if mark["x"]]
    return figure(
        [heat, *marks],
        caption,
        xaxis=_ticked("start of the window", frame.columns, frame.column_ticks, most=8),
        yaxis=_ticked("checkpoint of round", frame.rows, frame.row_ticks, most=12),
    )


def _active_squares(run: Run, frame: _Frame) -> Trace:
    table = run.composite
    table = table[(table["model"] == "active") & table["checkpoint"].isin(list(frame.row_of))].drop_duplicates("window")
    x = [frame.columns[window] for window in table["window"]]
    y = [frame.rows[frame.row_of[checkpoint]] for checkpoint in table["checkpoint"]]
    marker = {"symbol": "square", "size": 8, "color": "#ffffff", "line": {"width": 1.5, "color": "#000000"}}
    return trace("markers", "active model", x, y, marker=marker)


def _undefined_crosses(table: "pd.DataFrame", frame: _Frame) -> Trace:
    lost = table[table["value"].isna()]
    x = [frame.columns[window] for window in lost["window"]]
    y = [frame.rows[frame.row_of[checkpoint]] for checkpoint in lost["checkpoint"]]
    cells = zip(x, y, lost["reason"], strict=True)
    texts = [said(row, column, f"{UNDEFINED}: {reason}") for column, row, reason in cells]
    marker = {"symbol": "x-thin", "size": 7, "color": "$ink", "line": {"width": 1.5, "color": "$ink"}}
    return trace("markers", UNDEFINED, x, y, text=texts, marker=marker)


def _ticked(title: str, names: Sequence[str], ticks: Sequence[str], *, most: int) -> dict[str, Any]:
    places = few(len(names), most)
    labels = {"tickvals": [names[p] for p in places], "ticktext": [ticks[p] for p in places]}
    return categories(title, names, showgrid=False, **labels)


def _checkpoint_text(number: Any, until: Any) -> str:
    name = "checkpoint of another run" if is_missing(number) else f"round {number}"
    return name if is_missing(until) else f"{name}, data up to {until - timedelta(microseconds=1):%Y-%m-%d %H:%M}"


def _unique(texts: Iterable[str]) -> list[str]:
    """The texts, with a number after those that came before."""
    seen: Counter[str] = Counter()
    found = []
    for text in texts:
        seen[text] += 1
        found.append(text if seen[text] == 1 else f"{text} #{seen[text]}")
    return found
