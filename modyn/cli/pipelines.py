"""``modyn run``, ``modyn check`` and ``modyn init``: pipelines as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from modyn.cli.console import make_console
from modyn.cli.settings import Settings, duration_of
from modyn.errors import ConfigError, RunError
from modyn.workspace import Workspace

if TYPE_CHECKING:
    from modyn.cli.progress import Progress


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("run")(run)
    app.command("follow")(follow)
    app.command("check")(check)
    app.command("init")(init)


def run(
    file: Annotated[
        list[Path], typer.Argument(help="Pipeline files; several are run one after the other and compared.")
    ],
    settings: Settings = None,
    name: Annotated[str | None, typer.Option(help="What the run is called (default: the pipeline's name).")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report of the runs to this file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run pipelines: replay their datasets, train when their triggers say so, score every checkpoint."""
    from modyn.cli.progress import Progress
    from modyn.cli.runs import check_writable, write_report
    from modyn.pipeline import Pipeline

    if name is not None and len(file) > 1:
        raise ConfigError("--name names one run; it cannot be given with several pipeline files")
    pipelines = [Pipeline.load(path, settings or []) for path in file]
    console, workspace, done = make_console(), Workspace(), []
    if report is not None:
        check_writable(report)
    progress = Progress(console, [name or pipeline.name for pipeline in pipelines], hidden=quiet)
    try:
        with progress:
            for number, pipeline in enumerate(pipelines):
                done.append(pipeline.run(workspace, name=name, observers=[progress.observe(number)]))
    except BaseException as error:
        if len(file) > 1:
            console.print(f"{file[len(done)]} is where it ended, after {len(done)} of {len(file)}", highlight=False)
        _tell_how_to_go_on(console, progress, error)
        raise
    finally:
        if len(done) == 1:
            console.print(repr(done[0]), highlight=False, markup=False)
        for path, ended in zip(file, done, strict=False):
            if not len(ended.rounds):
                untrained = f"{ended.id} trained nothing: its trigger never fired; modyn simulate {path} shows what it would fire on"
                console.print(untrained, highlight=False, markup=False, soft_wrap=True)
        if len(done) > 1 or (done and report is not None):
            write_report(done, report or workspace.root / "report.html", console)


def follow(
    file: Annotated[Path, typer.Argument(help="A pipeline file.")],
    settings: Settings = None,
    name: Annotated[str | None, typer.Option(help="What the run is called (default: the pipeline's name).")] = None,
    interval: Annotated[str, typer.Option(help="Look for new samples at least so often.")] = "2s",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a pipeline in production: follow the dataset and its sources, train when the trigger says so, until ctrl-C.

    What is there is caught up with first; modyn resume goes on with a run that was stopped or killed.
    """
    from modyn.cli.progress import Progress
    from modyn.following import Follow
    from modyn.pipeline import Pipeline

    pipeline = Pipeline.load(file, settings or [])
    how = Follow(poll_s=duration_of("--interval", interval) / 1e6)
    console = make_console()
    progress = Progress(console, [name or pipeline.name], hidden=quiet)
    try:
        with progress:
            pipeline.follow(name=name, observers=[progress.observe(0)], how=how)
    except BaseException as error:
        _tell_how_to_go_on(console, progress, error)
        raise


def _tell_how_to_go_on(console: Console, progress: "Progress", error: BaseException) -> None:
    """Say how, unless the error says that it cannot, or it is one that resuming would only meet again, with nothing gained."""
    unfinished = progress.unfinished
    if unfinished is None or isinstance(error, RunError):
        return
    if progress.has_rounds or not isinstance(error, Exception):
        console.print(f"what it had finished is kept; go on with: modyn resume {unfinished}", highlight=False)


def check(
    file: Annotated[Path, typer.Argument(help="A pipeline file.")],
    settings: Settings = None,
) -> None:
    """Check everything that can be known before running: names, options, imports, the dataset, one real batch."""
    from modyn.checks import check as check_pipeline
    from modyn.pipeline import Pipeline

    pipeline = Pipeline.load(file, settings or [])
    print(f"ok  {file}: names and options")
    for line in check_pipeline(pipeline, Workspace()):
        print(f"ok  {line}")


def init(
    dataset: Annotated[str, typer.Argument(help="A dataset, as modyn data ls names it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path(),
) -> None:
    """Write a commented starter pipeline for a dataset, with a parser for its columns."""
    from modyn.starter import write_starter

    for path in write_starter(Workspace(), dataset, output):
        print(f"wrote {path}")
    print(f"next: modyn check {output / (dataset + '.yaml')}")
