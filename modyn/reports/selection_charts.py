"""What each round trained on, and how it was selected."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modyn.reports.drawing import Chart, Trace, axis, categories, figure, numbers, said, trace
from modyn.reports.words import count_text, is_missing, rows_of, score_text
from modyn.run import Run

if TYPE_CHECKING:
    import pandas as pd

MAX_LABELS = 10
UPPER, LOWER = [0.56, 1], [0, 0.44]
"""The halves of a chart of two panels."""
AGES = ((0, "this round's data"), (1, "1 round old"), (3, "2 or 3 rounds old"), (7, "4 to 7 rounds old"))
"""Groups of ages in rounds: up to which one (inclusive), and its name; what is older comes last."""
OLDEST = "older"
WIDE = 50
"""Weights that differ by more than this factor are drawn on a logarithmic axis."""
Counts = Mapping[str, int]


def selected_labels(run: Run, number: int) -> Chart | None:
    """The shares of the labels that the rounds trained on; None if no labels were logged."""
    table = _table(run)
    table = table[[_has(counts) for counts in table["labels"]]]
    if table.empty:
        return None
    rounds = [str(r) for r in table["round"]]
    traces = _label_traces(rounds, *([_dict(c) for c in table[name]] for name in ("labels", "candidate_labels")))
    caption = (
        "The labels of the samples that each round selected, as shares; hovering says what shares the candidates had."
    )
    shown = figure(traces, caption + _within_batches(table), **_stacked(rounds), yaxis=_shares())
    return Chart(id=f"selection-{number}", title="What each round trained on", figures={"*": shown}, height=300)


def selected_ages(run: Run, number: int) -> Chart | None:
    """Shares by the rounds since arrival; where those were not logged, bars from the newest sample's age to the oldest's."""
    table = _table(run)
    rounds = [str(r) for r in table["round"]]
    if any(_has(counts) for counts in table["arrived"]):
        traces = _arrival_traces(
            rounds, *([_dict(c) for c in table[name]] for name in ("arrived", "candidates_arrived"))
        )
        caption, scale = "How many rounds ago the selected samples arrived, as shares.", _shares()
    else:
        traces = _age_bars(run, table, rounds)
        caption = (
            "The age of what was selected, from the newest to the oldest, in days before the end of the round's data."
        )
        scale = axis("age in days", rangemode="tozero")
    if not traces:
        return None
    shown = figure(traces, caption + _within_batches(table), **_stacked(rounds), yaxis=scale)
    return Chart(
        id=f"ages-{number}", title="How old the data was that each round trained on", figures={"*": shown}, height=280
    )


def _table(run: Run) -> "pd.DataFrame":
    return run.selections.drop_duplicates("round", keep="last")


def _stacked(rounds: Sequence[str]) -> dict[str, Any]:
    return {"barmode": "stack", "bargap": gap(rounds), "xaxis": categories("round", rounds, nticks=12)}


def _label_traces(rounds: Sequence[str], counted: Sequence[Counts], of_all: Sequence[Counts]) -> list[Trace]:
    """Stacked bars of the most frequent labels, and of the others together."""
    totals: Counter[str] = Counter()
    for counts in counted:
        totals.update(counts)
    named = sorted((label for label, _ in totals.most_common(MAX_LABELS)), key=_label_order)
    groups = {f"label {label}": [label] for label in named}
    if len(totals) > len(named):
        groups[f"{len(totals) - len(named)} other labels"] = [label for label in totals if label not in named]
    traces = []
    for place, (name, labels) in enumerate(groups.items()):
        colour = f"$label{place}" if place < len(named) else "$fill"
        own, all_ = ([sum(c.get(label, 0) for label in labels) for c in group] for group in (counted, of_all))
        traces.append(_share_bars(rounds, name, (own, _totals(counted)), (all_, _totals(of_all)), colour))
    return traces


def _label_order(label: str) -> tuple[bool, float, str]:
    is_number = label.lstrip("-").isdigit()
    return (not is_number, float(label) if is_number else 0.0, label)


def _arrival_traces(rounds: Sequence[str], counted: Sequence[Counts], of_all: Sequence[Counts]) -> list[Trace]:
    own, all_ = ([_by_age(int(r), c) for r, c in zip(rounds, counts, strict=True)] for counts in (counted, of_all))
    names = [name for name in (*(name for _, name in AGES), OLDEST) if any(c[name] for c in (*own, *all_))]
    traces = []
    for place, name in enumerate(names):
        pair = ([c[name] for c in own], _totals(own)), ([c[name] for c in all_], _totals(all_))
        traces.append(_share_bars(rounds, name, *pair, f"$age{place}"))
    return traces


def _by_age(now: int, arrived: Counts) -> Counter[str]:
    found: Counter[str] = Counter()
    for number, count in arrived.items():
        age = now - int(number) if number.isdigit() else None
        found[next((name for most, name in AGES if age is not None and age <= most), OLDEST)] += count
    return found


def _share_bars(
    rounds: Sequence[str],
    name: str,
    own: tuple[Sequence[int], Sequence[int]],
    of_all: tuple[Sequence[int], Sequence[int]],
    colour: str,
) -> Trace:
    """Bars of the shares ``own[0] / own[1]``; hovering gives ``of_all`` beside, which belongs to the candidates."""
    shares = [_share(*pair) for pair in zip(*own, strict=True)]
    texts = []
    for r, share, count, theirs, total in zip(rounds, shares, own[0], *of_all, strict=True):
        beside = f"{_share(theirs, total):.1%} of the candidates" if total else ""
        texts.append(said(f"round {r}, {name}: {share:.1%} ({count_text(count, 'sample')})", beside))
    return trace("bar", name, rounds, numbers(shares), text=texts, marker={"color": colour})


def _age_bars(run: Run, table: "pd.DataFrame", rounds: Sequence[str]) -> list[Trace]:
    """Bars from the age of the newest sample to that of the oldest; none if no times were logged."""
    ends = run.rounds.set_index("round")["end_time"].reindex(table["round"]).array
    newest, oldest = ((ends - table[c].array).total_seconds() / 86_400 for c in ("newest", "oldest"))
    if not np.isfinite(oldest).any():
        return []
    cells = zip(rounds, newest, oldest, strict=True)
    texts = [said(f"round {r}: {young:,.1f} to {old:,.1f} days old") for r, young, old in cells]
    options = {"base": numbers(newest), "marker": {"color": "$fill"}, "showlegend": False}
    return [trace("bar", "age", rounds, numbers(oldest - newest), text=texts, **options)]


def selection_numbers(run: Run, number: int) -> Chart | None:
    """How much was selected, how much of it again, what was never used, and weights; None if all was taken, unweighted."""
    table = _table(run)
    weighted = [isinstance(spread, Mapping) for spread in table["weights"]]
    if not any(weighted) and not bool((table["num_selected"] < table["num_candidates"]).any()):
        return None
    rounds = [str(r) for r in table["round"]]
    layout: dict[str, Any] = {"xaxis": categories("round", rounds, nticks=12)}
    layout["yaxis"] = axis("share", tickformat=".0%", range=[-0.03, 1.03])
    caption = (
        "The share of the candidates that was selected, the share of the selection that the round before had selected too, and the "
        "share of the candidates that no round has trained on so far."
    )
    traces = _share_lines(rounds, table)
    if any(weighted):
        traces += _weight_marks(table[weighted])
        layout["xaxis"]["anchor"], layout["yaxis"]["domain"] = "y2", UPPER
        layout["yaxis2"] = _weight_axis(list(table["weights"][weighted])) | {"domain": LOWER}
        caption = f"Above: {caption[0].lower()}{caption[1:]} Below: weights; thin from the smallest to the largest, thick the middle half, dot = median."
    shown = figure(traces, caption + _within_batches(table), **layout)
    height = 460 if any(weighted) else 300
    return Chart(id=f"selecting-{number}", title="How each round selected", figures={"*": shown}, height=height)


def _share_lines(rounds: Sequence[str], table: "pd.DataFrame") -> list[Trace]:
    """Lines of the shares of each round, gaps where one was not logged."""
    columns = {
        "selected": ("num_selected", "num_candidates", "circle"),
        "selected before too": ("overlap", None, "square"),
        "never used": ("never_used", "num_candidates", "diamond"),
    }
    traces = []
    for place, (name, (column, of, symbol)) in enumerate(columns.items()):
        values = [_ratio(row[column], 1 if of is None else row[of]) for row in table.to_dict("records")]
        texts = [
            said(f"round {r}, {name}: {'not known' if value is None else f'{value:.1%}'}")
            for r, value in zip(rounds, values, strict=True)
        ]
        style = {
            "line": {"color": f"$label{place}", "width": 2},
            "marker": {"color": f"$label{place}", "symbol": symbol, "size": 7},
        }
        if any(value is not None for value in values):
            traces.append(trace("lines+markers", name, rounds, numbers(values), text=texts, **style))
    return traces


def _weight_marks(table: "pd.DataFrame") -> list[Trace]:
    """A thin line from the smallest to the largest weight of each round, a thick one over the middle half, and the median."""
    rows = [(str(row.round), row.weights) for row in rows_of(table)]
    rounds = [r for r, _ in rows]
    texts = [
        said(
            f"round {r}: weights {score_text(w['min'])} to {score_text(w['max'])}",
            f"half of them {score_text(w['q25'])} to {score_text(w['q75'])}, median {score_text(w['median'])}",
            f"mean {score_text(w['mean'])}",
        )
        for r, w in rows
    ]
    traces = []
    for low, high, width in (("min", "max", 2), ("q25", "q75", 8)):
        x = [part for r in rounds for part in (r, r, None)]
        y = [part for _, w in rows for part in (*numbers([w[low], w[high]]), None)]
        line = {"color": "$fill" if low == "min" else "$quiet", "width": width}
        traces.append(trace("lines", "", x, y, yaxis="y2", showlegend=False, line=line))
    medians = numbers(w["median"] for _, w in rows)
    marker = {"color": "$ink", "size": 7}
    dots = trace("markers", "median weight", rounds, medians, text=texts, yaxis="y2", showlegend=False, marker=marker)
    return [*traces, dots]


def _weight_axis(spreads: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    low, high = min(w["min"] for w in spreads), max(w["max"] for w in spreads)
    if low > 0 and high / low > WIDE:
        return axis("weight (logarithmic)", type="log")
    return axis("weight", rangemode="tozero")


def _within_batches(table: "pd.DataFrame") -> str:
    """What to add to a caption where rounds chose within batches."""
    found = sorted({float(share) for share in table["batch_share"] if not is_missing(share)})
    if not found:
        return ""
    shares = " or ".join(f"{share:.3g}" for share in found)
    return f" Rounds that chose within batches trained on {shares} of each large batch; shown is all that came up in any epoch, each sample once."


def _shares() -> dict[str, Any]:
    return axis("share of samples", tickformat=".0%", range=[0, 1])


def _share(part: int, total: int) -> float:
    return part / total if total else 0.0


def _ratio(part: Any, total: Any) -> float | None:
    return None if is_missing(part) or is_missing(total) or not total else float(part) / float(total)


def _totals(counted: Sequence[Counts]) -> list[int]:
    return [sum(counts.values()) for counts in counted]


def _dict(value: Any) -> Counts:
    return value if isinstance(value, Mapping) else {}


def _has(value: Any) -> bool:
    return bool(sum(_dict(value).values()))


def gap(names: Sequence[str]) -> float:
    """The space between bars, so that one or two do not fill the chart."""
    return 0.75 if len(names) < 3 else 0.2
