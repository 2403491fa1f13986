"""Removing what crashes and superseded layouts leave: files that no catalog names and that nobody is writing."""

from pathlib import Path

import sqlalchemy as sa

from modyn.datasets import catalog
from modyn.datasets.catalog import SHARDS
from modyn.datasets.locks import abandoned
from modyn.datasets.shards import SUFFIX, clear_errors
from modyn.workspace import Workspace


def sweep(workspace: Workspace, dataset_id: int, folder: Path) -> list[str]:
    """Remove the leftovers in a dataset's folder; returns their names.

    A file is owned while its writer lives, and named by the catalog afterwards; the catalog is asked again once a file is
    known to have no owner, so a file that was committed meanwhile stays.
    """
    with clear_errors(folder, "read"):
        there = {path.name for path in folder.iterdir() if path.suffix == SUFFIX}
    removed = []
    for name in sorted(there - _named(workspace, dataset_id)):
        with abandoned(folder / name) as is_abandoned:
            if is_abandoned and name not in _named(workspace, dataset_id):
                with clear_errors(folder / name, "removed"):
                    (folder / name).unlink(missing_ok=True)
                removed.append(name)
    return removed


def _named(workspace: Workspace, dataset_id: int) -> set[str]:
    with catalog.reading(workspace) as connection:
        return set(connection.execute(sa.select(SHARDS.c.file).where(SHARDS.c.dataset_id == dataset_id)).scalars())
