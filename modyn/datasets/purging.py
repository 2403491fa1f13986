"""Purge: deleted samples' bytes leave the workspace.

Shards that hold deleted samples are written anew without them and the old files removed; then earlier versions lack them too.
What other stations keep of samples goes by convention, whatever is imported:

1. a catalog table with columns ``dataset_id`` and ``sample_key``: the rows of purged keys are removed;
2. a catalog table with columns ``dataset_id`` and ``content``: what was kept of the dataset's samples (as a quarantine does) is set to null;
3. the folder ``caches/NAME`` of the workspace is removed: a cache can be made again.

Linked files are the user's: they leave the index, and the receipt names them.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from modyn.datasets import catalog, deletions, late, links, locks, replacing, shards
from modyn.datasets.catalog import LABELS, PURGES, Shard
from modyn.datasets.columns import Values
from modyn.datasets.links import PATH, OpenFiles
from modyn.datasets.ranks import Mask, runs
from modyn.datasets.replacing import MAINTENANCE_LOCK, Replacement, stored_rows
from modyn.datasets.shards import OpenShard, Rows
from modyn.datasets.snapshot import Snapshot, Superseded
from modyn.datasets.state import State
from modyn.errors import Damaged, counted
from modyn.types import Int64s, to_datetime


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A shard that held purged samples, and what took its place (None = nothing was left of it)."""

    old_file: str
    old_sha256: str
    new_file: str | None
    new_sha256: str | None
    num_removed: int
    bytes_removed: int


def _in_words(bytes_removed: int) -> str:
    """How much shorter a shard has become, or longer, where the keys of the others are written down from now on."""
    return (
        f"{bytes_removed:,} bytes"
        if bytes_removed >= 0
        else f"{-bytes_removed:,} bytes longer, with the keys that are left"
    )


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a purge removed. ``key_ranges`` are half-open; ``keys_sha256`` is of the keys as little-endian int64, ascending."""

    dataset: str
    at: int
    version: int
    num_keys: int
    key_ranges: tuple[tuple[int, int], ...]
    keys_sha256: str
    shards: tuple[Rewritten, ...]
    tables: Mapping[str, int]
    caches_removed: bool
    linked_files: tuple[str, ...]
    """The user's files that still hold bytes of purged samples; deleting those is the user's."""

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"purged {counted(self.num_keys, 'sample')} of dataset '{self.dataset}' at {to_datetime(self.at):%Y-%m-%d %H:%M:%S} UTC",
            f"keys    {_ranges(self.key_ranges)}",
            f"sha256  {self.keys_sha256} (of the keys)",
        ]
        lines += [
            f"shard   {s.old_file} {s.old_sha256[:16]} -> {s.new_file or 'removed'} {(s.new_sha256 or '')[:16]}"
            f" ({counted(s.num_removed, 'sample')}, {_in_words(s.bytes_removed)})"
            for s in self.shards
        ]
        lines += [f"table   {name}: {counted(num, 'row')}" for name, num in self.tables.items()]
        lines += ["caches  removed"] if self.caches_removed else []
        lines += [f"linked  {path} is yours and still holds the bytes" for path in self.linked_files]
        return "\n".join(lines)


def _ranges(ranges: tuple[tuple[int, int], ...]) -> str:
    shown = ", ".join(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in ranges[:20])
    return shown + (f", ... ({len(ranges)} ranges)" if len(ranges) > 20 else "")


def purge(state: State) -> Receipt:
    """Remove the bytes of every sample that is deleted now; returns the receipt, which the catalog keeps too."""
    with locks.exclusive(state.folder / MAINTENANCE_LOCK, purpose="a purge"):
        now = state.renew()
        keys = now.deleted.array()
        touched = [s for s in now.shards if now.deleted.count(s.first_key, s.end_key)]
        prepared: list[tuple[Shard, Replacement | None]] = []
        linked: set[str] = set()
        try:
            for opened in now.in_turn(touched):
                prepared.append((opened.shard, _rewrite(state, now, opened, linked)))  # noqa: PERF401 what is prepared must be closed
            receipt = _commit(state, now, keys, prepared, linked)
        except Superseded as gone:  # nobody else replaces shards while the lock is held
            raise Damaged(f"{gone.path}: the file is missing") from None
        finally:
            for _, replacement in prepared:
                if replacement is not None:
                    replacement.written.close()
        state.sweep()  # what a crash left may hold purged bytes
        catalog.empty_log(state.workspace)
        return receipt


def _rewrite(state: State, now: Snapshot, opened: OpenShard, linked: set[str]) -> Replacement | None:
    shard = opened.shard
    gone = opened.rows_of(now.deleted.within(shard.first_key, shard.end_key))
    keep = np.ones(shard.num_rows, np.bool_)
    keep[gone[gone >= 0]] = False
    linked.update(_linked_files(opened, ~keep))
    if not keep.any():
        return None
    if isinstance(opened, links.OpenRecords):
        return _reindex(state, opened, keep)
    rows = _only(stored_rows(opened), keep)
    if opened.time_order is not None:
        rows = replace(rows, time_order=shards.order_by_time(rows.timestamps))
    return replacing.prepare(state, rows, like=shard)


def _reindex(state: State, opened: links.OpenRecords, keep: Mask) -> Replacement:
    """The keys that are left of linked records. The user's file, which may be lost, is not read: all else lies there."""
    shard, keys = opened.shard, opened.explicit_keys()[keep]
    unused = np.zeros(len(keys), np.int64)  # times and their range are those of the records
    prepared = replacing.prepare(state, Rows(unused, None, {}, keys), like=shard)
    known = {name: getattr(shard, name) for name in ("min_time", "max_time", "in_time_order")}
    return replace(prepared, entry={**prepared.entry, **known})


def _linked_files(opened: OpenShard, gone: Mask) -> set[str]:
    if isinstance(opened, OpenFiles):
        return set(opened.gather_any_length(PATH, np.flatnonzero(gone)).to_pylist())
    if isinstance(opened, links.OpenRecords):
        return {opened.records.path}
    return set()


def _only(rows: Rows, keep: Mask) -> Rows:
    def chosen(values: Values) -> Values:
        return values[keep] if isinstance(values, np.ndarray) else values.filter(pa.array(keep))

    assert rows.keys is not None
    labels = None if rows.labels is None else rows.labels[keep]
    stored = {name: chosen(values) for name, values in rows.columns.items()}
    return Rows(rows.timestamps[keep], labels, stored, rows.keys[keep])


def _commit(
    state: State,
    now: Snapshot,
    keys: Int64s,
    prepared: list[tuple[Shard, Replacement | None]],
    linked: set[str],
) -> Receipt:
    tables: dict[str, int] = {}
    caches = state.workspace.caches / state.name
    starts, ends = runs(keys)
    receipt = Receipt(
        dataset=state.name,
        at=time.time_ns() // 1000,
        version=now.version,
        num_keys=len(keys),
        key_ranges=tuple(zip(starts.tolist(), ends.tolist(), strict=True)),
        keys_sha256=hashlib.sha256(keys.astype("<i8").tobytes()).hexdigest(),
        shards=tuple(_rewritten(shard, new) for shard, new in prepared),
        tables=tables,
        caches_removed=caches.exists(),
        linked_files=tuple(sorted(linked)),
    )

    def also(connection: sa.Connection) -> None:
        deletions.drop_until(connection, state.dataset_id, now.version)
        tables.update(_clean_tables(connection, state.dataset_id, keys))
        if now.late.labels is not None and now.head.schema is not None and now.head.schema.label is not None:
            num = late.forget(connection, state.dataset_id, now.head.schema.label, keys)
            tables.update({LABELS.name: num} if num else {})
        connection.execute(
            sa.insert(PURGES).values(
                dataset_id=state.dataset_id, at=receipt.at, receipt=json.dumps(receipt.to_document())
            )
        )

    shutil.rmtree(caches, ignore_errors=True)
    replacing.swap(state, [s for s, _ in prepared], [r for _, r in prepared if r is not None], also)
    shutil.rmtree(caches, ignore_errors=True)  # what was cached meanwhile from the old shards
    return receipt


def _rewritten(shard: Shard, new: Replacement | None) -> Rewritten:
    return Rewritten(
        old_file=shard.file,
        old_sha256=shard.sha256,
        new_file=None if new is None else new.written.path.name,
        new_sha256=None if new is None else new.written.sha256,
        num_removed=shard.num_rows - (0 if new is None else new.entry["num_rows"]),
        bytes_removed=shard.num_bytes - (0 if new is None else new.written.num_bytes),
    )


def _clean_tables(connection: sa.Connection, dataset_id: int, keys: Int64s) -> dict[str, int]:
    """Remove what other stations' tables keep of purged samples: see the module's convention."""
    cleaned = {}
    inspector = sa.inspect(connection)
    for name in sorted(inspector.get_table_names()):
        known = {column["name"] for column in inspector.get_columns(name)}
        if "dataset_id" not in known:
            continue
        table = sa.table(name, sa.column("dataset_id"), sa.column("sample_key"), sa.column("content"))
        mine = table.c.dataset_id == dataset_id
        if "sample_key" in known:
            cleaned[name] = sum(
                connection.execute(sa.delete(table).where(mine, table.c.sample_key.in_(some))).rowcount
                for some in np.array_split(keys, len(keys) // 500 + 1)
                for some in [some.tolist()]
                if some
            )
        elif "content" in known:
            query = sa.update(table).where(mine, table.c.content.is_not(None)).values(content=None)
            cleaned[name] = connection.execute(query).rowcount
    return {name: num for name, num in cleaned.items() if num}


def receipts(state: State) -> list[Receipt]:
    """The receipts of all purges, oldest first."""
    query = sa.select(PURGES.c.receipt).where(PURGES.c.dataset_id == state.dataset_id).order_by(PURGES.c.id)
    with catalog.reading(state.workspace) as connection:
        documents = [json.loads(text) for text in connection.execute(query).scalars()]
    return [_from_document(document) for document in documents]


def _from_document(document: dict[str, Any]) -> Receipt:
    tuples = {
        "key_ranges": tuple((start, end) for start, end in document["key_ranges"]),
        "shards": tuple(Rewritten(**shard) for shard in document["shards"]),
        "linked_files": tuple(document["linked_files"]),
    }
    return Receipt(**{**document, **tuples})
