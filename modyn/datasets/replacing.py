"""Replacing shards by others that hold the same samples, or fewer: what compaction and purge have in common."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any

import sqlalchemy as sa

from modyn.datasets import catalog, shards
from modyn.datasets.catalog import CONTENTS, SHARDS, Shard
from modyn.datasets.shards import OpenShard, Rows, Written
from modyn.datasets.snapshot import Snapshot
from modyn.datasets.state import State, tell
from modyn.errors import DataError

MAINTENANCE_LOCK = "maintenance.lock"


def stored_rows(opened: OpenShard) -> Rows:
    """Everything that a shard's file holds, with explicit keys."""
    stored = {name: opened.column(name) for name in opened.stored}
    return Rows(opened.timestamps, opened.labels, stored, opened.explicit_keys())


@dataclass(frozen=True)
class Replacement:
    """A shard's file that is to take the place of others; ``entry`` is its row in the catalog."""

    written: Written
    entry: dict[str, Any]


def prepare(state: State, rows: Rows, *, like: Shard) -> Replacement:
    """Write rows (with keys) to a new file that can take the place of shards like ``like``. Raises DataError."""
    assert rows.keys is not None
    first, end = int(rows.keys[0]), int(rows.keys[-1]) + 1
    is_dense = end - first == len(rows)
    written = shards.write(state.folder, changed(rows, keys=None) if is_dense else rows)
    entry = {
        "dataset_id": state.dataset_id,
        "kind": "arrow" if like.kind == "inline" else like.kind,
        "file": written.path.name,
        "first_key": first,
        "end_key": end,
        "num_rows": len(rows),
        **shards.time_range(rows.timestamps),
        "num_bytes": written.num_bytes,
        "sha256": written.sha256,
        "link": like.link,
    }
    return Replacement(written, entry)


def replace(state: State, old: Sequence[Shard], make: Callable[[Snapshot], Sequence[Rows]]) -> None:
    """Put the rows that ``make`` gives in the place of old shards. The caller holds the maintenance lock."""
    rows = state.retrying(make)
    with_files: list[Replacement] = []
    try:
        with_files = [prepare(state, part, like=old[0]) for part in rows]
        swap(state, old, with_files)
    finally:
        for replacement in with_files:
            replacement.written.close()


def swap(
    state: State,
    old: Sequence[Shard],
    new: Sequence[Replacement],
    also: Callable[[sa.Connection], None] = lambda _: None,
) -> None:
    """In one transaction, take old shards out of the catalog and new ones in; then remove the old files.

    Raises DataError, with nothing changed, if an old shard is not there any more.
    """
    try:
        for replacement in new:
            replacement.written.wait()
        with catalog.changing(state.workspace) as connection:
            head = catalog.advance(connection, state.dataset_id, by=0)
            _take_out(connection, state, old)
            if new:
                catalog.add_shards(connection, [replacement.entry for replacement in new])
            also(connection)
            tell(state.folder, head.generation)
    except BaseException:
        state.sweep()
        raise
    state.renew()
    for shard in old:
        with suppress(OSError):
            os.unlink(state.folder / shard.file)


def _take_out(connection: sa.Connection, state: State, old: Sequence[Shard]) -> None:
    files = [shard.file for shard in old]
    for start in range(0, len(files), 500):
        some = files[start : start + 500]
        mine = sa.delete(CONTENTS).where(CONTENTS.c.dataset_id == state.dataset_id, CONTENTS.c.file.in_(some))
        connection.execute(mine)
        query = sa.delete(SHARDS).where(SHARDS.c.dataset_id == state.dataset_id, SHARDS.c.file.in_(some))
        if connection.execute(query).rowcount != len(some):
            raise DataError(f"dataset '{state.name}': shards were replaced in spite of the lock; nothing was changed")
