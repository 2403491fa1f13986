"""Why a trigger fired: what its checks measured over time, with the bounds and the trainings that followed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from modyn.reports.drawing import Chart, Trace, colour_of, figure, iso, numbers, said, time_axis, trace
from modyn.reports.trigger_notes import UNNAMED, Measured, measured_in
from modyn.reports.words import count_text, is_missing, rows_of, score_text, span_text, whole_text
from modyn.run import Run
from modyn.types import to_datetime

MAX_PANELS = 4
PANEL, MARKS = 160, 26
"""Heights in pixels: of a panel, and of the row of trainings above them."""
LEAST_CHANCE = 1e-6


@dataclass
class Series:
    """What one quantity was at each check that measured it."""

    label: str
    points: list[Measured] = field(default_factory=list)

    @property
    def is_chance(self) -> bool:
        """Whether it is a p-value, whose order of magnitude matters: it is drawn on a log scale, down to ``LEAST_CHANCE``."""
        return self.label.endswith("p-value")

    def heights(self, values: Iterable[float | None]) -> list[float | None]:
        """The values as they are drawn."""
        return numbers(max(v, LEAST_CHANCE) if self.is_chance and v is not None else v for v in values)

    @property
    def bounds(self) -> list[str]:
        """The names of its bounds."""
        return list(dict.fromkeys(name for point in self.points for name in point.bounds))


def trigger_values(run: Run, number: int) -> Chart | None:
    """What the trigger measured, with bounds and trainings, a panel a quantity; None if its checks measured nothing."""
    found = _series(point for event in run.log.events("trigger-checked") for point in measured_in(event.fields))
    if not found:
        return None
    # What decides comes first, in the order of the trigger's own; what has no bound only informs.
    ordered = sorted(found, key=lambda series: not series.bounds)
    shown, left_out = ordered[:MAX_PANELS], ordered[MAX_PANELS:]
    height = 96 + MARKS + PANEL * len(shown)
    layout, traces = _frame(shown), []
    for panel, series in enumerate(shown):
        traces += _panel(series, _numbered("y", panel + 2), colour_of(number), is_first=panel == 0)
    traces += _trainings(run, layout)
    return Chart(
        id=f"trigger-{number}",
        title="Why the trigger fired",
        figures={"*": figure(traces, _caption(found, left_out), **layout)},
        height=height,
    )


def _series(points: Iterable[Measured]) -> list[Series]:
    """The points by what they are of; where several triggers measured a quantity of the same name, each says whose it is."""
    by_source: dict[str, dict[tuple[str, ...], Series]] = {}
    order: list[Series] = []
    for point in points:
        same = by_source.setdefault(point.label, {})
        if point.source not in same:
            order.append(same.setdefault(point.source, Series(point.label)))
        same[point.source].points.append(point)
    for label, same in by_source.items():
        # What all of them are part of says nothing of one.
        levels = zip(*(source[:-1] for source in same), strict=False)
        shared = list(takewhile(lambda level: len(set(level)) == 1, levels))
        for source, series in same.items():
            if len(same) > 1:
                series.label = f"{' > '.join(source[len(shared) :])}: {label}"
    return order


def _caption(found: Iterable[Series], left_out: Sequence[Series]) -> str:
    checks: dict[str, set[tuple[Any, Any]]] = {}
    has_votes = False
    for series in found:
        for point in series.points:
            checks.setdefault(point.trigger, set()).add(point.moment)
            has_votes = has_votes or point.is_vote
    counted = " and ".join(
        f"{count_text(len(moments), 'check')} of {name}" if name != UNNAMED else count_text(len(moments), "check")
        for name, moments in checks.items()
    )
    return (
        f"Each point is a check ({counted}). Dashed: the bound at that check, where there was one. Large points: checks whose "
        f"value was beyond it. Triangles and thin lines: the model was trained{', by what the whole trigger decided' if has_votes else ''}."
        + (f" Not drawn: {', '.join(series.label for series in left_out)}." if left_out else "")
    )


def _frame(shown: Sequence[Series]) -> dict[str, Any]:
    """Axes: a row for the trainings, and below it a panel a quantity with its name above it."""
    total = MARKS + PANEL * len(shown)
    layout: dict[str, Any] = {
        "xaxis": time_axis() | {"anchor": _numbered("y", len(shown) + 1)},
        "yaxis": {"domain": [1 - MARKS / total, 1], "range": [0, 1], "visible": False, "fixedrange": True},
        "annotations": [],
    }
    for panel, series in enumerate(shown):
        top = 1 - (MARKS + panel * PANEL) / total
        foot = top - PANEL / total
        scale = {"type": "log", "exponentformat": "power", "dtick": 2} if series.is_chance else {"nticks": 5}
        layout[_numbered("yaxis", panel + 2)] = {
            "domain": [max(0, foot + 14 / total), top - 24 / total],
            "anchor": "x",
            **scale,
        }
        layout["annotations"].append(
            {
                "text": said(series.label + (" (log scale)" if series.is_chance else "")), "xref": "paper", "yref": "paper", "x": 0, "y": top - 22 / total,
                "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 13, "color": "$quiet"},
            }
        )  # fmt: skip
    return layout


def _panel(series: Series, y_axis: str, colour: str, *, is_first: bool) -> list[Trace]:
    """One measured quantity, its bounds, and the checks that were beyond them."""
    points = series.points
    legend = {"showlegend": is_first}
    texts = [_text(series, point) for point in points]
    traces = [
        trace("lines+markers", "measured", _times(points), series.heights(point.value for point in points), text=texts, yaxis=y_axis,
              line={"color": colour, "width": 1.2}, marker={"size": 4, "color": colour}, **legend)
    ]  # fmt: skip
    for place, name in enumerate(series.bounds):
        values = series.heights(point.bounds.get(name) for point in points)
        dash = ("dash", "dot", "dashdot")[place % 3]
        bound = trace(
            "lines", "bound", _times(points), values, yaxis=y_axis, line={"color": "$ink", "dash": dash, "width": 1.3}
        )
        traces.append({**bound, "showlegend": is_first and place == 0})
    beyond = [point for point in points if point.fired and point.value is not None]
    if beyond:
        traces.append(
            trace("markers", "beyond its bound", _times(beyond), series.heights(point.value for point in beyond),
                  text=[_text(series, point) for point in beyond], yaxis=y_axis,
                  marker={"size": 9, "color": colour, "line": {"width": 1.5, "color": "$ink"}}, **legend)
        )  # fmt: skip
    return traces


def _text(series: Series, point: Measured) -> str:
    several = len(series.bounds) > 1
    bounds = [
        f"{f'bound of {name}' if several else 'bound'} {score_text(bound)}" for name, bound in point.bounds.items()
    ]
    when = [] if point.moment[1] is None else [f"{to_datetime(point.moment[1]):%Y-%m-%d %H:%M}"]
    return said(*when, f"{series.label} {score_text(point.value)}", *bounds, "beyond its bound" if point.fired else "")


def _times(points: Sequence[Measured]) -> list[str | None]:
    return iso(None if point.moment[1] is None else to_datetime(point.moment[1]) for point in points)


def _trainings(run: Run, layout: dict[str, Any]) -> list[Trace]:
    """A triangle for each training, and a thin line through all panels."""
    rows = [row for row in rows_of(run.rounds) if not is_missing(row.end_time)]
    moments = iso(row.end_time for row in rows)
    texts = [
        said(f"round {row.round}: {span_text(row.start_time, row.end_time)}", whole_text(row.num_samples, "new sample"))
        for row in rows
    ]
    layout["shapes"] = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": moment, "x1": moment, "y0": 0, "y1": 1, "layer": "below",
         "line": {"color": "$fill", "width": 1}}
        for moment in moments
    ]  # fmt: skip
    marker = {"symbol": "triangle-down", "size": 10, "color": "$ink"}
    return [trace("markers", "trained", moments, [0.4] * len(moments), text=texts, marker=marker)] if moments else []


def _numbered(axis_name: str, panel: int) -> str:
    return axis_name if panel == 1 else f"{axis_name}{panel}"
