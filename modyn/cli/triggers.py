"""``modyn simulate``, ``modyn triggers explain`` and ``modyn triggers fire``: when to train, before, after and during a run."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from modyn.cli.console import make_console
from modyn.cli.settings import Settings
from modyn.errors import NotFound, RunError, counted
from modyn.reports.words import policy_text
from modyn.runlog import RunLog
from modyn.types import to_datetime
from modyn.workspace import Workspace

app = typer.Typer(
    help="Say why a run trained when it did, or ask it to train.", no_args_is_help=True, rich_markup_mode=None
)


def add_to(parent: typer.Typer) -> None:
    """Add the commands of this file that stand at the top level."""
    parent.command("simulate")(simulate)


def simulate(
    file: Annotated[Path, typer.Argument(help="A pipeline file.")],
    settings: Settings = None,
    checkpoint: Annotated[str | None, typer.Option(help="Show the trigger this checkpoint's model all along.")] = None,
    run: Annotated[str | None, typer.Option(help="Show the trigger the checkpoints of this finished run.")] = None,
    training_seconds: Annotated[
        float, typer.Option(help="What a training is said to cost, for triggers that weigh costs.")
    ] = 0.0,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each check how it came out.")] = False,
) -> None:
    """Say when a pipeline's trigger would fire, without training: the dataset is replayed through it in seconds."""
    from modyn.pipeline import Pipeline
    from modyn.simulation import simulate_pipeline
    from modyn.triggers.explain import in_words

    pipeline, console = Pipeline.load(file, settings or []), make_console()
    run_id = None if run is None else RunLog.find(Workspace().runs, run).run_id
    found = simulate_pipeline(
        pipeline, Workspace(), checkpoint=checkpoint, run=run_id, training_seconds=training_seconds
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("firing", "after the sample of (UTC)", "key", "new samples"):
        table.add_column(title, header_style="dim", justify="right")
    for firing in found.firings:
        when = f"{to_datetime(firing.timestamp):%Y-%m-%d %H:%M}"
        table.add_row(str(firing.number), when, f"{firing.key:,}", f"{firing.num_samples:,}")
    if found.firings:
        console.print(table)
    if explain:
        for note in found.notes:
            console.print(in_words(note), highlight=False, markup=False)
    console.print(
        f"{counted(len(found.firings), 'firing')} over {counted(found.num_samples, 'sample')}, "
        f"simulated in {found.seconds:.2f} s"
    )
    for doubt in _doubts(found.notes, has_model=checkpoint is not None or run is not None):
        console.print(f"Mind: {doubt}", highlight=False, soft_wrap=True)


def _doubts(notes: Sequence[Mapping[str, Any]], *, has_model: bool) -> Iterator[str]:
    """What a simulation was not told, so that a real run would fire elsewhere."""
    blind = sum(note.get("reason") == "there is no checkpoint yet" for note in notes)
    if blind and not has_model:
        yield (
            f"{counted(blind, 'check')} had no model to look at, and a run would have one after its first round; show the trigger one with "
            "--run RUN or --checkpoint RUN/ROUND"
        )
    if any(note.get("training_seconds") == 0 for note in notes):
        yield "a training was said to cost nothing, so none was too dear; say what it costs with --training-seconds"


@app.command("explain")
def explain(
    run: Annotated[str, typer.Argument(help="A run's id, or its name for the latest of that name.")],
    number: Annotated[int, typer.Argument(metavar="ROUND", help="A round's number.", min=0)],
) -> None:
    """Say in words why a round took place."""
    from modyn.triggers.explain import why

    log = RunLog.find(Workspace().runs, run)
    notes = []
    for event in log.events("trigger-checked", "round-started", "round-finished"):
        if event.kind == "trigger-checked":
            notes.append(event.fields)
        elif event.kind == "round-started" and event.round == number:
            print(
                f"{log.run_id}, round {number}: {counted(event['num_samples'], 'new sample')}, trigger {_trigger_of(log)}"
            )
            print("\n".join(why(notes)))
            return
        elif event.kind == "round-finished":
            notes = []
    raise NotFound(f"run {log.run_id} has no round {number}")


def _trigger_of(log: RunLog) -> str:
    """The run's trigger as its pipeline spells it, less what is null."""
    started = next(log.events("run-started"))
    return policy_text(started["pipeline"]["trigger"])


@app.command("fire")
def fire(
    run: Annotated[str, typer.Argument(help="A run's id, or its name for the latest of that name.")],
    by: Annotated[str, typer.Option(help="Who asks, for the record.")] = "command line",
) -> None:
    """Ask a run whose trigger is manual (or has a manual child) to train after what has arrived."""
    from modyn.triggers.manual import request_training

    log = RunLog.find(Workspace().runs, run)
    started = next(log.events("run-started"), None)
    if log.status == "finished" or started is None or "'manual'" not in repr(started["pipeline"]["trigger"]):
        why = "is finished" if log.status == "finished" else "has no manual trigger"
        raise RunError(f"run {log.run_id} {why}: asking it to train would do nothing")
    asked = request_training(log.folder, at=time.time_ns() // 1000, by=by)
    print(f"asked {log.run_id} to train; it has been asked {asked} {'time' if asked == 1 else 'times'}")
