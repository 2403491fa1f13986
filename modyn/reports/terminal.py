"""A comparison as a table for the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modyn.reports.compare import Comparison
from modyn.reports.words import duration_text, score_text

if TYPE_CHECKING:
    from rich.table import Table


def comparison_table(comparison: Comparison) -> "Table":
    """The comparison as a rich table: runs above, baselines below; rows on the Pareto front are marked with a star."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Mean over windows", title_justify="left", header_style="bold", pad_edge=False, box=SIMPLE_HEAD)
    rows = [_cells(row, comparison) for row in comparison.table.to_dict("records")]
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in columns:
        is_text = name in ("run", "status")
        table.add_column(Text(name), justify="left" if is_text else "right", overflow="fold")
    kinds = list(comparison.table["kind"])
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
