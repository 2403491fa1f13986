"""``modyn runs ...``, ``modyn report`` and ``modyn resume``: what was run."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from modyn.cli.console import confirm, make_console
from modyn.cli.settings import Yes
from modyn.errors import ConfigError, Damaged
from modyn.models.store import ModelStore
from modyn.phases import in_words
from modyn.run import Run
from modyn.runlog import RunLog
from modyn.workspace import Workspace

app = typer.Typer(help="List, show and remove runs.", no_args_is_help=True, rich_markup_mode=None)


def add_to(parent: typer.Typer) -> None:
    """Add the commands of this file that stand at the top level."""
    parent.command("report")(report)
    parent.command("resume")(resume)
    parent.command("evaluate")(evaluate)


@app.command("ls")
def ls() -> None:
    """List the runs of the workspace, the newest first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "status", "started (UTC)", "dataset", "trigger", "selector", "rounds"):
        table.add_column(column, header_style="dim")
    rows = [_row(RunLog(path.parent)) for path in Workspace().runs.glob("*/events.jsonl")]
    for row in sorted(rows, key=lambda row: row[2], reverse=True):
        table.add_row(*row)
    make_console().print(table if rows else "There are no runs yet; start one with: modyn run FILE")


def _row(log: RunLog) -> tuple[str, ...]:
    try:
        started = next(log.events("run-started"), None)
        if started is None:
            return log.run_id, log.status, "", "", "", "", ""
        when = f"{datetime.fromtimestamp(started.at / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
        num_rounds = sum(1 for _ in log.events("round-finished"))
        return (
            log.run_id,
            log.status,
            when,
            started["dataset"],
            started["trigger"],
            started["selector"],
            str(num_rounds),
        )
    except Damaged:
        return log.run_id, "damaged", "", "", "", "", ""


@app.command("show")
def show(run: Annotated[str, typer.Argument(help="A run's id, or its name for the latest of that name.")]) -> None:
    """Show a run: its rounds, scores and costs."""
    found = Run(RunLog.find(Workspace().runs, run))
    console = make_console()
    console.print(repr(found), highlight=False, markup=False)
    if len(found.rounds):
        console.print()
        console.print(_rounds_table(found))
        if any(found.training_seconds.values()):
            console.print(f"training was {in_words(found.training_seconds)}", highlight=False)


def _rounds_table(run: Run) -> Table:
    rounds = run.rounds
    scores = [column for column in rounds.columns if column.startswith("score_")]
    titles = ("round", "data until (UTC)", "new samples", "trained on", "loss", "train s", "total s", "first step")
    table = Table(box=None, padding=(0, 2, 0, 0), caption="scores are those on the window after the round's data")
    for title in (*titles, *(column.removeprefix("score_") for column in scores)):
        table.add_column(title, header_style="dim", justify="right")
    starts = run.windows["start"]
    for row in rounds.to_dict("records"):
        cells = [
            str(row["round"]) if row["finished"] else f"{row['round']} (unfinished)",
            _cell(row["data_until"], "{:%Y-%m-%d %H:%M}"),
            *(_cell(row[name], "{:,}") for name in ("num_samples", "num_trained")),
            *(_cell(row[name], "{:.3g}") for name in ("loss", "seconds_train", "seconds")),
            _cell(row["first_step_s"] * 1000, "{:.0f} ms"),
        ]
        has_window = starts.ge(row["data_until"]).any()
        table.add_row(*cells, *(_cell(row[name], "{:.3f}", "undefined" if has_window else "") for name in scores))
    return table


def _cell(value: Any, form: str, missing: str = "") -> str:
    import pandas as pd  # 0.3 s that only a command with a table of a run should cost

    return missing if pd.isna(value) else form.format(value)


@app.command("rm")
def rm(
    run: Annotated[list[str], typer.Argument(help="Ids of runs.")],
    yes: Yes = False,
) -> None:
    """Remove runs with their checkpoints. What is removed cannot be brought back."""
    workspace = Workspace()
    logs = [RunLog.find(workspace.runs, name) for name in run]
    for log, name in zip(logs, run, strict=True):
        if log.run_id != name:
            raise ConfigError(f"'{name}' is a name, not a run's id; the latest run of that name is {log.run_id}")
    confirm(f"Remove {', '.join(log.run_id for log in logs)} with all checkpoints?", yes=yes)
    for log in logs:
        log.remove()
        ModelStore(workspace).remove(log.run_id)
        print(f"removed {log.run_id}")


def report(
    run: Annotated[
        list[str], typer.Argument(help="Ids of runs, or names for the latest of each; several = comparison.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file (default: report.html in the workspace).")
    ] = None,
) -> None:
    """Write one self-contained HTML report of one or several runs, and print their comparison."""
    workspace = Workspace()
    write_report(
        [Run(RunLog.find(workspace.runs, name)) for name in run],
        output or workspace.root / "report.html",
        make_console(),
    )


def check_writable(path: Path) -> None:
    """Raise ConfigError if no file can be written there: better before a training than after it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"the report cannot be written to {path}: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK) or path.is_dir():
        raise ConfigError(f"the report cannot be written to {path}: it is not writable")


def write_report(runs: list[Run], path: Path, console: Console) -> None:
    """Print the comparison of runs, write their report and print its path."""
    from modyn.reports.compare import compare
    from modyn.reports.html import write_html
    from modyn.reports.terminal import comparison_table

    console.print()
    console.print(comparison_table(compare(runs), width=console.width))
    console.print(f"\nReport: {write_html(runs, path).absolute()}", soft_wrap=True, highlight=False)


def evaluate(
    run: Annotated[str, typer.Argument(help="A run's id, or its name for the latest of that name.")],
) -> None:
    """Score the checkpoints of a stopped or failed run whose pipeline leaves scoring to the end of the run."""
    from modyn.pipeline import Pipeline

    make_console().print(repr(Pipeline.evaluate(run)), highlight=False, markup=False)


def resume(
    run: Annotated[str, typer.Argument(help="A run's id, or its name for the latest of that name.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Go on with a run that was stopped, failed or killed, after its last finished round."""
    from modyn.cli.progress import Progress
    from modyn.pipeline import Pipeline

    console, workspace = make_console(), Workspace()
    known = RunLog.find(workspace.runs, run).run_id
    with Progress(console, [known], hidden=quiet) as progress:
        try:
            done = Pipeline.resume(known, workspace, observers=[progress.observe(0)])
        except KeyboardInterrupt:
            console.print(f"go on with: modyn resume {known}", highlight=False)
            raise
    console.print(repr(done), highlight=False, markup=False)
