"""A comparison as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modyn.reports.compare import Comparison
from modyn.reports.words import duration_text, score_text

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 2

_LEAST: Sequence[str] = ("evaluation", "samples trained", "rounds", "retraining")
"""What a narrow terminal does without, the first first."""


def comparison_table(comparison: Comparison, *, width: int | None = None) -> "Table":
    """The comparison as a rich table: runs above, baselines below; rows on the Pareto front are marked with a star.

    Of a ``width`` in which names and numbers would be broken, the columns that matter least are left out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title="Mean over windows",
        title_justify="left",
        header_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
        box=SIMPLE_HEAD,
    )
    rows = [_cells(row, comparison) for row in comparison.table.to_dict("records")]
    kinds = list(comparison.table["kind"])
    columns = _fitting(rows, kinds, width)
    for name in columns:
        is_text = name in ("run", "status")
        table.add_column(Text(name), justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for number, row in enumerate(rows):
        cells = [Text(row[column]) for column in columns]
        last_run = kinds[number] == "run" and kinds[number + 1 : number + 2] == ["baseline"]
        table.add_row(*cells, style="dim" if kinds[number] == "baseline" else None, end_section=last_run)
    headline = comparison.headline
    front = (
        f"* no other row has a better {headline} for fewer seconds of retraining"
        if comparison.table["front"].any()
        else ""
    )
    table.caption = Text("\n".join([*([front] if front else []), *comparison.notes]), justify="left")
    table.caption_justify = "left"
    return table


def _fitting(rows: Sequence[Mapping[str, str]], kinds: Sequence[str], width: int | None) -> list[str]:
    """The columns that are not empty, less those for which there is no room."""
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    needed = {name: max(len(name), *(len(row[name]) for row in rows)) + _GAP for name in columns}
    needed["run"] = max(len(row["run"]) for row, kind in zip(rows, kinds, strict=True) if kind == "run") + _GAP
    for name in _LEAST:
        if width is not None and name in columns and sum(needed[kept] for kept in columns) > width:
            columns.remove(name)
    return columns


def _cells(row: Mapping[Any, Any], comparison: Comparison) -> dict[str, str]:
    """One row's texts by column title; the stations are summed up, so that the table fits 80 columns."""
    trained = bool(row["rounds"])
    status = str(row["status"])
    return {
        "run": f"{row['name']} *" if row["front"] else str(row["name"]),
        "status": "" if status == "finished" else status,
        "rounds": str(row["rounds"]) if trained else "",
        "samples trained": f"{row['samples_trained']:,}" if trained else "",
        **{metric: score_text(row[metric]) for metric in comparison.metrics},
        "retraining": duration_text(row["retraining_seconds"]) if trained else "",
        "evaluation": duration_text(row["seconds_evaluate"]) if row["seconds_evaluate"] else "",
    }
