"""``modyn data find``: which samples are meant, by condition, key, file or id. ``modyn data delete`` takes the same words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from modyn.cli.console import make_console
from modyn.cli.settings import Json, Name
from modyn.datasets import Dataset
from modyn.errors import ConfigError, NotFound, counted
from modyn.sources import ledger
from modyn.types import Array, Int64s, to_datetime, unlabelled
from modyn.workspace import Workspace

Conditions = Annotated[
    list[str] | None,
    typer.Argument(help="Conditions that must all hold, such as 'label == 3' or 'time < 2013-02-01'."),
]
Keys = Annotated[str | None, typer.Option(help="Keys and ranges of keys, such as 5,8,100-199.")]
SourceFile = Annotated[str | None, typer.Option(help="All samples that came from this file.")]
IdColumn = Annotated[str | None, typer.Option(help="The column in which --ids are looked for.")]
Ids = Annotated[str | None, typer.Option(help="Ids, with commas between; or @FILE with one a line.")]

_MOST_SHOWN = 50


def find(
    name: Name,
    conditions: Conditions = None,
    keys: Keys = None,
    source_file: SourceFile = None,
    id_column: IdColumn = None,
    ids: Ids = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Show at most so many (default: 50, with --json all).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find samples: their keys, times and labels. What it finds, modyn data delete with the same words would delete."""
    dataset = Dataset.open(Workspace(), name)
    found = meant(dataset, conditions or (), keys, source_file, id_column, ids)
    most = limit or (len(found) if as_json else _MOST_SHOWN)
    shown, reader = found[:most], dataset.reader(columns=())
    times, labels = reader.timestamps(shown), reader.labels(shown)
    if as_json:
        for row, key in enumerate(shown.tolist()):
            line = {"key": key, "time": to_datetime(int(times[row])).isoformat()}
            typer.echo(json.dumps(line if labels is None else line | {"label": _label(labels, row, dataset)}))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("key", "time (UTC)", *(() if labels is None else ("label",))):
        table.add_column(title, header_style="dim", justify="right")
    for row, key in enumerate(shown.tolist()):
        label = () if labels is None else (label_text(labels, row, dataset.label_classes),)
        table.add_row(str(key), f"{to_datetime(int(times[row])):%Y-%m-%d %H:%M:%S}", *label)
    console = make_console(highlight=False, markup=False)
    if len(shown):
        console.print(table)
    of = f"{len(found):,} of {counted(dataset.num_samples, 'sample')} found"
    console.print(f"{name}: {of}" + (f", the first {most:,} shown" if len(found) > most else ""))


def meant(
    dataset: Dataset,
    conditions: Sequence[str],
    keys: str | None,
    source_file: str | None,
    id_column: str | None,
    ids: str | None,
) -> Int64s:
    """The live keys that every way given to name them means. Raises ConfigError if there is none given."""
    named: list[Int64s] = []
    if conditions:
        named.append(dataset.find(conditions))
    if keys is not None:
        named.append(_keys_in(keys, dataset.end_key))
    if source_file is not None:
        if not ledger.is_there(dataset.workspace):
            raise NotFound(f"dataset '{dataset.name}' took no samples from files")
        with dataset.workspace.transaction() as connection:
            named.append(ledger.keys_from(connection, dataset.name, source_file))
    if (ids is None) != (id_column is None):
        raise ConfigError("--ids and --id-column go together")
    if ids is not None and id_column is not None:
        named.append(dataset.find_ids(id_column, _parse_ids(ids)))
    if not named:
        raise ConfigError("say which samples: conditions, --keys, --source-file, or --id-column with --ids")
    found = dataset.keys()
    for some in named:
        found = np.intersect1d(found, some)
    return found


def _keys_in(text: str, end_key: int) -> Int64s:
    """The keys below ``end_key`` that keys and ranges with commas between name."""
    parts = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"--keys: '{part.strip()}' is neither a key nor a range such as 100-199")
        if int(last or first) < int(first):
            raise ConfigError(f"--keys: the range '{part.strip()}' ends before it begins")
        parts.append(np.arange(min(int(first), end_key), min(int(last or first) + 1, end_key), dtype=np.int64))
    return np.concatenate(parts)


def _parse_ids(text: str) -> list[str]:
    if not text.startswith("@"):
        return [part.strip() for part in text.split(",")]
    try:
        return [line.strip() for line in Path(text[1:]).read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError(f"--ids: {text[1:]} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--ids: {text[1:]} is not UTF-8 text") from None


def label_text(labels: Array, row: int, classes: Sequence[str] | None) -> str:
    """A label as text: its class's name, the names of several, or the number."""
    label: Any = labels[row]
    if unlabelled(labels[row : row + 1])[0]:
        return "not known yet"
    if labels.ndim > 1:
        if classes is not None and len(classes) == len(label):
            return ", ".join(name for name, there in zip(classes, label, strict=True) if there) or "none"
        return ", ".join(f"{value:g}" for value in label.tolist())
    if classes is not None and labels.dtype.kind in "iu" and 0 <= label < len(classes):
        return str(classes[label])
    return f"{label:.6g}" if labels.dtype.kind == "f" else str(label)


def _label(labels: Array, row: int, dataset: Dataset) -> Any:
    """A label for JSON: its class's name, a number or numbers; None if it is not known yet."""
    if unlabelled(labels[row : row + 1])[0]:
        return None
    if dataset.label_classes is not None and labels.ndim == 1:
        return label_text(labels, row, dataset.label_classes)
    return labels[row].tolist()
