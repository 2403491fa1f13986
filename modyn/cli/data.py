"""``modyn data ...``: fill datasets, look at them, follow their sources, delete from them."""

import json
import signal
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from modyn import config
from modyn.cli import deleting, finding
from modyn.cli.console import make_console
from modyn.cli.importing import ImportBar
from modyn.cli.settings import Json, Name, duration_of
from modyn.datasets import Dataset
from modyn.errors import AlreadyExists, ConfigError, Damaged, counted, did_you_mean
from modyn.policy import build, to_document
from modyn.sources import Added, Feed, Source, add, ledger
from modyn.sources.feed import check_names
from modyn.sources.guess import guess_format
from modyn.sources.paths import anchored
from modyn.sources.retrying import retry as retry_
from modyn.sources.times import now_us
from modyn.types import to_datetime
from modyn.workspace import Workspace

app = typer.Typer(
    help="Fill datasets, look at them, follow their sources.", no_args_is_help=True, rich_markup_mode=None
)

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="An option of the format, such as delimiter=';' (repeatable; see modyn policies source)."
    ),
]


Which = Annotated[
    str | None, typer.Option("--source", help="Of several sources the one that --set means, by its path.")
]


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
    make_console().print(table if names else "There are no datasets yet; fill one with: modyn data add NAME PATH")


@app.command("add")
def add_(
    name: Name,
    path: Annotated[
        str | None,
        typer.Argument(
            help="A file, a folder, a pattern such as 'data/*.csv', or a URL such as s3://bucket/folder; "
            "none for a source of your own that needs none."
        ),
    ] = None,
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
        storage = "link" if link else "copy"
        try:
            dataset = Dataset.create(workspace, name, label_classes=source.classes, storage=storage)
        except AlreadyExists as error:
            hint = f"--extend adds to it, modyn data watch {name} goes on with its sources, modyn data rm {name} removes it"
            raise AlreadyExists(f"{error}: {hint}") from None
    try:
        with ImportBar() as progress:
            added = add(dataset, source, progress=progress)
    except BaseException:
        if not extend and dataset.end_key == 0:
            Dataset.remove(workspace, name)
        else:
            typer.echo(
                f"{name}: stopped with {counted(dataset.num_samples, 'sample')} in it; modyn data watch {name} --once goes on",
                err=True,
            )
        raise
    _report(name, added)


def _source(
    path: str | None,
    format_: str | None,
    label: Sequence[str] | None,
    timestamp: str | None,
    settings: Sequence[str],
) -> Source:
    options: dict[str, Any] = {} if path is None else {"path": path}
    if label:
        options["label"] = label[0] if len(label) == 1 else list(label)
    if timestamp is not None:
        options["timestamp"] = timestamp
    options = config.override(config.Document(options), settings).data
    if format_ is None:
        if path is None:
            raise ConfigError("say a PATH, or with --format a source of your own that needs none")
        format_ = guess_format(path)
    if ".py:" in format_:  # remembered in a form that means the same from every working directory
        format_ = str(Path(format_.rpartition(":")[0]).resolve()) + ":" + format_.rpartition(":")[2]
    format_ = {"tsv": "csv", "webdataset": "tar", "feather": "arrow"}.get(format_, format_)
    if format_ == "memory":
        raise ConfigError("--format memory: tables in memory are added from Python, with modyn.sources.Memory")
    return build(Source, {format_: options}, base_dir=Path.cwd())  # type: ignore[type-abstract,unused-ignore]


@app.command("label")
def label_(
    name: Name,
    path: Annotated[str, typer.Argument(help="A file, a folder, a pattern such as 'labels/*.csv', or a URL.")],
    id_: Annotated[str, typer.Option("--id", help="The column that says whose label a row is.")],
    label: Annotated[list[str], typer.Option(help="The label's column (repeatable).")],
    of: Annotated[
        str | None,
        typer.Option(help="The dataset's column that ids are matched with, or key (default: the same name as --id)."),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="The format (default: as the path's ending says).")
    ] = None,
    settings: Settings = None,
) -> None:
    """Give samples labels that became known later, from files. They are followed like any source: see modyn data watch."""
    dataset = Dataset.open(Workspace(), name)
    whose = of or id_
    if whose != "key" and whose not in dataset.column_types:
        raise ConfigError(
            f"dataset '{name}' has no column '{whose}' to match ids with (--of). "
            f"{did_you_mean(whose, ['key', *dataset.column_types])}"
        )
    source = _source(path, format_, label, None, [f"id={id_}", f"labels_of={whose}", *(settings or ())])
    with ImportBar() as progress:
        added = add(dataset, source, progress=progress)
    _report(name, added)


@app.command("show")
def show(name: Name, as_json: Json = False) -> None:
    """Show a dataset: size, time span, growth, labels, deleted share, shards, sources, samples set aside."""
    workspace = Workspace()
    dataset = Dataset.open(workspace, name)
    summary = dataset.summary()
    sources, num_bad, bad = _ledger_of(dataset)
    if as_json:
        facts = {**asdict(summary), "sources": [to_document(s) for s in sources], "quarantined": num_bad}
        typer.echo(json.dumps(facts, default=str, indent=2))
        return
    classes = dataset.label_classes
    rows = {
        "dataset": f"{summary.name}, version {summary.version}",
        "samples": f"{summary.num_samples:,}",
        "deleted": f"{summary.num_deleted:,} ({summary.deleted_share:.1%}) not yet purged"
        if summary.num_deleted
        else "none",
        "set aside": f"{bad} (modyn data bad {name})" if bad else "none",
        "time": _span(summary.first_time, summary.last_time),
        "size": f"{_in_bytes(summary.num_bytes)} in {counted(summary.num_shards, 'shard')}, {_STORED[summary.storage]}",
        "retention": config.format_duration(summary.retention_us) if summary.retention_us else "for ever",
        "label": ("class" if classes is not None else summary.label_type) or "none",
        "sources": "\n".join(f"{_format_of(s)} {s.describe()}" for s in sources) or "none remembered",
    }
    if summary.lost:
        rows["lost"] = summary.lost_text
    console = make_console(highlight=False)
    console.print(_pairs(rows))
    if summary.label_counts and len(summary.label_counts) <= 50:
        console.print(
            _counted("label", [("not known yet" if k is None else str(k), n) for k, n in summary.label_counts.items()])
        )
    if summary.growth:
        console.print(_counted("day (UTC)", [(g.day, g.num_added) for g in summary.growth[-10:]], what="added"))
    columns = Table(box=None, padding=(0, 2, 0, 0))
    columns.add_column("column", header_style="dim")
    columns.add_column("type", header_style="dim")
    for column, kind in summary.columns.items():
        columns.add_row(column, kind)
    console.print(columns)


_STORED = {"copy": "copied", "link": "linked in place"}


def _ledger_of(dataset: Dataset) -> tuple[list[Source], int, str]:
    """The dataset's sources, and what was set aside of them: how much, and in words."""
    if not ledger.is_there(dataset.workspace):
        return [], 0, ""
    with dataset.workspace.transaction() as connection:
        sources = [source for _, source in ledger.sources_of(connection, dataset.name)]
        return sources, ledger.num_quarantined(connection, dataset.name), ledger.set_aside(connection, dataset.name)


@app.command("watch")
def watch(
    name: Name,
    settings: Settings = None,
    which: Which = None,
    interval: Annotated[
        str, typer.Option(help="Look at least so often; local files are also taken when they change.")
    ] = "2s",
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
) -> None:
    """Follow a dataset's sources: take new files and new rows as they come, until ctrl-C. Nothing is taken twice."""
    dataset = Dataset.open(Workspace(), name)
    _redefine(dataset, settings or (), which)
    feed = Feed(dataset)
    seconds = duration_of("--interval", interval) / 1e6
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: stop.set()) if not once else None
    told: tuple[str, ...] = ()
    try:
        for added in [feed.poll()] if once else feed.follow(interval_s=seconds, stop=stop):
            refused, added = added.refused, replace(added, refused=_not_in(told, added.refused))
            told = refused  # what stands in the way is said once, not at every look
            if once or added.samples or added.labels or added.quarantined or added.deleted or added.refused:
                _report(name, added)
            expired = dataset.expire(now_us())
            if expired:
                typer.echo(f"{name}: {counted(expired, 'sample')} deleted, older than its retention")
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


def _not_in(told: Sequence[str], messages: Sequence[str]) -> tuple[str, ...]:
    return tuple(message for message in messages if message not in told)


def _redefine(dataset: Dataset, settings: Sequence[str], which: str | None) -> None:
    """Give the dataset's one source, or the one meant, other options, which are remembered."""
    if not settings:
        if which is not None:
            raise ConfigError("--source says whose options --set changes; there is no --set")
        return
    ledger.prepare(dataset.workspace)
    with dataset.workspace.transaction() as connection:
        number, source = _meant(ledger.sources_of(connection, dataset.name), which, f"dataset '{dataset.name}'")
        document = to_document(source)
        format_, options = (document, {}) if isinstance(document, str) else next(iter(document.items()))
        changed = config.override(config.Document(options), settings).data
        new = build(Source, {format_: changed}, base_dir=Path.cwd())  # type: ignore[type-abstract,unused-ignore]
        check_names(new)
        ledger.redefine(connection, number, new)


def _meant(sources: Sequence[tuple[int, Source]], which: str | None, whose: str) -> tuple[int, Source]:
    names = [source.describe() for _, source in sources]
    if which is not None:
        sources = [known for known in sources if known[1].describe() in (which, anchored(which))]
        if not sources:
            raise ConfigError(f"--source: {whose} does not take from {which}. {did_you_mean(anchored(which), names)}")
    if len(sources) != 1:
        raise ConfigError(
            f"--set: {whose} has {counted(len(sources), 'source')}, and could mean any: say --source with one of "
            + ", ".join(names)
            if sources
            else f"--set: {whose} has no source"
        )
    return sources[0]


@app.command("bad")
def bad(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List the samples that were set aside: file, row (the first is 1) and reason."""
    dataset = Dataset.open(Workspace(), name)
    total, in_words, found = 0, "", list[ledger.Quarantined]()
    if ledger.is_there(dataset.workspace):
        with dataset.workspace.transaction() as connection:
            total, in_words = ledger.num_quarantined(connection, name), ledger.set_aside(connection, name)
            found = ledger.quarantined(connection, name, limit=limit)
    if as_json:
        for q in found:
            line = {
                "file": q.path,
                "row": q.bad.row + 1 if q.bad.row >= 0 else None,
                "reason": q.bad.reason,
                "value": q.bad.value,
            }
            typer.echo(json.dumps(line))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("file", "row", "reason", "value"):
        table.add_column(column, header_style="dim", justify="right" if column == "row" else "left", overflow="fold")
    for q in found:
        row = f"{q.bad.row + 1:,}" if q.bad.row >= 0 else "all"
        table.add_row(q.path, row, q.bad.reason, "" if q.bad.value is None else repr(q.bad.value))
    console = make_console(highlight=False, markup=False)
    if found:
        console.print(table)
    console.print(
        f"{name}: {in_words or 'nothing'} set aside" + (f", the first {limit:,} shown" if total > limit else "")
    )


@app.command("retry")
def retry(name: Name, settings: Settings = None, which: Which = None) -> None:
    """Try the samples that were set aside again, with other options if given; usable ones are added."""
    dataset = Dataset.open(Workspace(), name)
    _redefine(dataset, settings or (), which)
    retried = retry_(dataset)
    for reason in dict.fromkeys(retried.reasons):
        typer.echo(f"not tried: {reason}")
    typer.echo(f"{name}: {retried}")


app.command("find")(finding.find)
deleting.add_to(app)


@app.command("compact")
def compact(name: Name) -> None:
    """Merge small shards into big ones, so that reading is faster. Readers are not disturbed."""
    typer.echo(f"{name}: {counted(Dataset.open(Workspace(), name).compact(), 'shard')} merged")


@app.command("verify")
def verify(name: Name) -> None:
    """Read every byte of a dataset and compare checksums; exit with 2 if something is damaged."""
    problems = Dataset.open(Workspace(), name).verify()
    if problems:
        raise Damaged("\n".join(problems))
    typer.echo(f"{name}: everything is as it was written")


def _report(name: str, added: Added) -> None:
    """One line that says what came, after one for each thing that did not."""
    what = {frozenset({"labels"}): "label row", frozenset({"labels", "samples"}): "row"}.get(added.looked_for, "sample")
    if added.first_bad:
        typer.echo(
            f"set aside: {counted(added.quarantined, what)}; the first: {added.first_bad} (modyn data bad {name})"
        )
    for message in added.refused:
        typer.echo(f"not taken: {message}")
    for path in added.waiting:
        typer.echo(f"not taken yet: {path} is still being written (modyn data watch {name})")
    typer.echo(f"{name}: {added}")


def _format_of(source: Source) -> str:
    document = to_document(source)
    return document if isinstance(document, str) else str(next(iter(document)))


def _span(first: int | None, last: int | None) -> str:
    if first is None or last is None:
        return "-"
    return f"{to_datetime(first):%Y-%m-%d %H:%M:%S} to {to_datetime(last):%Y-%m-%d %H:%M:%S} UTC"


def _in_bytes(size: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} TB"


def _pairs(rows: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _counted(name: str, rows: Sequence[tuple[str, int]], what: str = "samples") -> Table:
    """Counts, with bars."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(name, header_style="dim")
    table.add_column(what, header_style="dim", justify="right")
    table.add_column("")
    most = max((n for _, n in rows), default=0) or 1
    for label, count in rows:
        table.add_row(label, f"{count:,}", "\u2588" * round(24 * count / most))
    return table


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
