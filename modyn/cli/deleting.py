"""``modyn data delete``, ``retention``, ``purge`` and ``rm``: what takes samples away. Each says what would be lost, and asks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from modyn.cli.console import confirm
from modyn.cli.settings import Json, Name, Yes, duration_of
from modyn.datasets import Dataset
from modyn.errors import ConfigError, counted
from modyn.sources import ledger
from modyn.sources.times import now_us
from modyn.types import Int64s
from modyn.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("delete")(delete)
    app.command("retention")(retention)
    app.command("purge")(purge)
    app.command("rm")(rm)


def delete(
    name: Name,
    conditions: Annotated[
        list[str] | None,
        typer.Argument(help="Conditions that must all hold, such as 'label == 3' or 'time < 2013-02-01'."),
    ] = None,
    keys: Annotated[str | None, typer.Option(help="Keys and ranges of keys, such as 5,8,100-199.")] = None,
    source_file: Annotated[str | None, typer.Option(help="All samples that came from this file.")] = None,
    id_column: Annotated[str | None, typer.Option(help="The column in which --ids are looked for.")] = None,
    ids: Annotated[str | None, typer.Option(help="Ids, with commas between; or @FILE with one a line.")] = None,
    yes: Yes = False,
) -> None:
    """Delete samples: in force at once for every later read. Earlier versions keep them until modyn data purge."""
    dataset = Dataset.open(Workspace(), name)
    found = _doomed(dataset, conditions or (), keys, source_file, id_column, ids)
    if not len(found):
        typer.echo(f"{name}: no live sample is meant")
        return
    confirm(f"Delete {len(found):,} of the {counted(dataset.num_samples, 'sample')} of {name}?", yes=yes)
    typer.echo(f"{name}: {counted(dataset.delete(found), 'sample')} deleted")


def _doomed(
    dataset: Dataset,
    conditions: Sequence[str],
    keys: str | None,
    source_file: str | None,
    id_column: str | None,
    ids: str | None,
) -> Int64s:
    """The live keys that every way given to name them means."""
    meant: list[Int64s] = []
    if conditions:
        meant.append(dataset.find(conditions))
    if keys is not None:
        meant.append(_keys_in(keys, dataset.end_key))
    if source_file is not None:
        ledger.prepare(dataset.workspace)
        with dataset.workspace.transaction() as connection:
            meant.append(ledger.keys_from(connection, dataset.name, source_file))
    if (ids is None) != (id_column is None):
        raise ConfigError("--ids and --id-column go together")
    if ids is not None and id_column is not None:
        meant.append(dataset.find_ids(id_column, _parse_ids(ids)))
    if not meant:
        raise ConfigError("say which samples: conditions, --keys, --source-file, or --id-column with --ids")
    found = dataset.keys()
    for some in meant:
        found = np.intersect1d(found, some)
    return found


def _keys_in(text: str, end_key: int) -> Int64s:
    """The keys below ``end_key`` that keys and ranges with commas between name."""
    parts = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
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


def retention(
    name: Name,
    duration: Annotated[
        str, typer.Argument(help="How long samples are kept after their own time, such as 90d; or 'for-ever'.")
    ],
    yes: Yes = False,
) -> None:
    """Keep samples for so long: older ones are deleted now, and whenever the dataset is watched."""
    dataset = Dataset.open(Workspace(), name)
    if duration == "for-ever":
        dataset.set_retention(None)
        typer.echo(f"{name}: samples are kept for ever")
        return
    retention_us, now = duration_of("DURATION", duration), now_us()
    if not retention_us:
        raise ConfigError(f"DURATION: samples are kept for longer than no time at all; got '{duration}'")
    num_old = len(dataset.older_than(now - retention_us))
    if num_old:
        whose = f"the {counted(dataset.num_samples, 'sample')} of {name} that are older than {duration}"
        confirm(f"Delete {num_old:,} of {whose}?", yes=yes)
    dataset.set_retention(retention_us)
    typer.echo(f"{name}: samples are kept for {duration}, {counted(dataset.expire(now), 'sample')} deleted")


def purge(name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Remove the bytes of deleted samples from the workspace for good, also from earlier versions, and print a receipt."""
    workspace = Workspace()
    ledger.prepare(workspace)
    dataset = Dataset.open(workspace, name)
    with workspace.transaction() as connection:
        set_aside = ledger.set_aside(connection, name, with_content=True)
    if dataset.num_deleted or set_aside:
        also = f", and what is kept of {set_aside} set aside" if set_aside else ""
        confirm(
            f"Remove the bytes of {counted(dataset.num_deleted, 'deleted sample')} of {name} for good{also}?", yes=yes
        )
    receipt = dataset.purge()
    typer.echo(json.dumps(receipt.to_document(), indent=2) if as_json else str(receipt))


def rm(name: Name, yes: Yes = False) -> None:
    """Remove a dataset with everything that the workspace holds of it. Source and linked files stay."""
    dataset = Dataset.open(Workspace(), name)
    confirm(f"Remove dataset {name} with {counted(dataset.num_samples, 'sample')}?", yes=yes)
    Dataset.remove(Workspace(), name)
    typer.echo(f"{name}: removed")
