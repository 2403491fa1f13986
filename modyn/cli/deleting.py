"""``modyn data delete``, ``retention``, ``purge`` and ``rm``: what takes samples away. Each says what would be lost, and asks."""

import json
from typing import Annotated

import typer

from modyn.cli.console import confirm
from modyn.cli.finding import Conditions, IdColumn, Ids, Keys, SourceFile, meant
from modyn.cli.settings import Json, Name, Yes, duration_of
from modyn.datasets import Dataset
from modyn.errors import ConfigError, counted
from modyn.sources import ledger
from modyn.sources.times import now_us
from modyn.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("delete")(delete)
    app.command("retention")(retention)
    app.command("purge")(purge)
    app.command("rm")(rm)


def delete(
    name: Name,
    conditions: Conditions = None,
    keys: Keys = None,
    source_file: SourceFile = None,
    id_column: IdColumn = None,
    ids: Ids = None,
    yes: Yes = False,
) -> None:
    """Delete samples: in force at once for every later read. Earlier versions keep them until modyn data purge."""
    dataset = Dataset.open(Workspace(), name)
    found = meant(dataset, conditions or (), keys, source_file, id_column, ids)
    if not len(found):
        typer.echo(f"{name}: no live sample is meant")
        return
    confirm(f"Delete {len(found):,} of the {counted(dataset.num_samples, 'sample')} of {name}?", yes=yes)
    typer.echo(f"{name}: {counted(dataset.delete(found), 'sample')} deleted")


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
    dataset, set_aside = Dataset.open(workspace, name), ""
    if ledger.is_there(workspace):
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
