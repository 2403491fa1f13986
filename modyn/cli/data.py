"""``modyn data ...``: fill datasets, look at them, follow their sources."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from modyn import config
from modyn.datasets import Dataset
from modyn.errors import ConfigError, ModynError
from modyn.policy import build
from modyn.sources import Added, Feed, FileSource, Source, add
from modyn.sources.guess import guess_format
from modyn.sources.intake import Progress
from modyn.workspace import Workspace

app = typer.Typer(
    help="Fill datasets, look at them, follow their sources.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="The dataset's name.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="An option of the format, such as delimiter=';' (repeatable; see modyn policies source)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls")
def ls() -> None:
    """List the datasets of the workspace."""
    workspace = Workspace()
    names = Dataset.names(workspace)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("dataset", "samples", "version", "label", "columns"):
        table.add_column(column, header_style="dim", justify="right" if column in ("samples", "version") else "left")
    for name in names:
        dataset = Dataset.open(workspace, name)
        columns = ", ".join(dataset.column_types)
        label = "classes" if dataset.label_classes is not None else dataset.label_type or "none"
        table.add_row(name, f"{dataset.num_samples:,}", str(dataset.version), label, _short(columns, 60))
    Console().print(table if names else "There are no datasets yet; fill one with: modyn data add NAME PATH")


@app.command("add")
def add_(
    name: Name,
    path: Annotated[
        str,
        typer.Argument(help="A file, a folder, a pattern such as 'data/*.csv', or a URL such as s3://bucket/folder."),
    ],
    format_: Annotated[
        str | None, typer.Option("--format", help="The format (default: as the path's ending says).")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="The label's column (repeatable).")] = None,
    timestamp: Annotated[str | None, typer.Option(help="The column of the sample's time.")] = None,
    settings: Settings = None,
    link: Annotated[bool, typer.Option("--link", help="Index the files where they are; copy nothing.")] = False,
    extend: Annotated[bool, typer.Option("--extend", help="Add to a dataset that exists.")] = False,
) -> None:
    """Fill a dataset from files. The dataset remembers where they are: see modyn data watch."""
    workspace = Workspace()
    source = _source(path, format_, label, timestamp, settings or ())
    if extend:
        dataset = Dataset.open(workspace, name)
    else:
        classes = source.classes
        dataset = Dataset.create(workspace, name, label_classes=classes, storage="link" if link else "copy")
    try:
        with _progress() as progress:
            added = add(dataset, source, progress=progress)
    except BaseException:
        if not extend and dataset.end_key == 0:
            Dataset.remove(workspace, name)
        raise
    _report(name, added)


def _source(
    path: str, format_: str | None, label: Sequence[str] | None, timestamp: str | None, settings: Sequence[str]
) -> Source:
    options: dict[str, Any] = {"path": path}
    if label:
        options["label"] = label[0] if len(label) == 1 else list(label)
    if timestamp is not None:
        options["timestamp"] = timestamp
    options = config.override(config.Document(options), settings).data
    format_ = format_ or guess_format(path)
    if ":" not in format_:
        format_ = {"tsv": "csv", "webdataset": "tar", "feather": "arrow"}.get(format_, format_)
    if format_ == "memory":
        raise ConfigError("--format memory: tables in memory are added from Python, with modyn.sources.Memory")
    return build(Source, {format_: options}, base_dir=Path.cwd())  # type: ignore[type-abstract,unused-ignore]


def _report(name: str, added: Added) -> None:
    """One line that says what came, after one for each thing that did not."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if added.first_bad:
        console.print(
            f"{added.quarantined:,} samples are set aside; the first: {added.first_bad} (modyn data bad {name})"
        )
    for message in added.refused:
        console.print(f"not taken: {message}")
    for path in added.waiting:
        console.print(f"not taken yet: {path} is still being written (modyn data watch {name})")
    console.print(f"{name}: {added}")


class _progress:  # noqa: N801
    """A live bar of an import, on a terminal only."""

    def __init__(self) -> None:
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
        ]
        self.bar = Bar(
            *columns, console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal
        )
        self.task: TaskID | None = None

    def __enter__(self) -> Callable[[Progress], None]:
        self.bar.start()
        self.task = self.bar.add_task("reading", total=None)
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, progress: Progress) -> None:
        assert self.task is not None
        words = f"{progress.samples:,} samples" + (f", {progress.quarantined:,} bad" if progress.quarantined else "")
        self.bar.update(self.task, description=words, completed=progress.bytes_done, total=progress.bytes_total or None)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
