"""Why a trigger fired: the numbers behind its decisions over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.reports.drawing import Chart, Trace, axis, colour_of, figure, iso, numbers, said, time_axis, trace
from modyn.reports.words import count_text, score_text
from modyn.run import Run

if TYPE_CHECKING:
    import pandas as pd

MAX_PANELS = 4
_KNOWN = ("round", "at", "key", "timestamp")


def trigger_values(run: Run, number: int) -> Chart | None:
    """What the trigger measured, with thresholds and firings, a panel a quantity; None if it logged no numbers."""
    table = run.triggers
    measured = [str(c) for c in table.columns if c not in _KNOWN and _is_measured(table[c])]
    lines = sorted((c for c in measured if not _is_threshold(c)), key=lambda c: _last(c) != "distance")
    if not lines:
        return None
    shown = lines[:MAX_PANELS]
    traces: list[Trace] = []
    layout: dict[str, Any] = {"xaxis": time_axis() | {"anchor": _numbered("y", len(shown) - 1)}}
    for panel, column in enumerate(shown):
        threshold = _threshold_for(column, measured, is_first=panel == 0)
        traces += _panel(table, column, threshold, _numbered("y", panel), colour_of(number))
        top = 1 - panel / len(shown)
        layout[_numbered("yaxis", panel)] = axis(column, domain=[top - 0.86 / len(shown), top])
    if "fired" in table:
        traces.append(_stars(table, shown[0]))
    left_out = f" Not drawn: {', '.join(lines[MAX_PANELS:])}." if lines[MAX_PANELS:] else ""
    caption = (
        f"Each point is one check of the trigger ({count_text(len(table), 'check')} in all), in the units of what it "
        f"measures. Dashed: the threshold at that check. Stars: checks at which it fired.{left_out}"
    )
    shape = figure(traces, caption, **layout)
    return Chart(
        id=f"trigger-{number}", title="Why the trigger fired", figures={"*": shape}, height=180 + 130 * len(shown)
    )


def _panel(table: "pd.DataFrame", column: str, threshold: str | None, y_axis: str, colour: str) -> list[Trace]:
    """One measured quantity, and its threshold if it has one."""
    style = {"line": {"color": colour, "width": 1.5}, "marker": {"size": 4, "color": colour}, "yaxis": y_axis}
    traces = [_series("lines+markers", table, column) | style]
    if threshold is not None:
        traces.append(
            _series("lines", table, threshold)
            | {"line": {"color": "$ink", "dash": "dash", "width": 1.5}, "yaxis": y_axis}
        )
    return traces


def _stars(table: "pd.DataFrame", column: str) -> Trace:
    fired = table[[value is True or value == 1 for value in table["fired"]]]
    return _series("markers", fired, column) | {
        "name": "fired",
        "marker": {"symbol": "star", "size": 13, "color": "$ink"},
    }


def _series(kind: str, table: "pd.DataFrame", column: str) -> Trace:
    values = table[column].astype("float64")
    texts = [
        said(f"{t:%Y-%m-%d %H:%M}", f"{column} {score_text(v)}")
        for t, v in zip(table["timestamp"], values, strict=True)
    ]
    return trace(kind, column, iso(table["timestamp"]), numbers(values), text=texts)


def _numbered(axis_name: str, panel: int) -> str:
    return axis_name if panel == 0 else f"{axis_name}{panel + 1}"


def _last(column: str) -> str:
    return column.rpartition(".")[2]


def _is_measured(column: "pd.Series[Any]") -> bool:
    values = column.dropna()
    return len(values) > 0 and all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_) for value in values
    )


def _is_threshold(column: str) -> bool:
    return _last(column).endswith(("threshold", "limit", "bound"))


def _threshold_for(column: str, measured: Sequence[str], *, is_first: bool) -> str | None:
    """The threshold that belongs to a quantity: the one named after it, or that of its group for the main quantity."""
    group = column.rpartition(".")[0]
    limits = [c for c in measured if _is_threshold(c) and c.rpartition(".")[0] == group]
    named = [c for c in limits if c.startswith(column)]
    main = limits if is_first or _last(column) == "distance" else []
    return next(iter(named or main), None)
