"""A dataset as one version shows it: shards in key order, less what is deleted, up to the version's last key."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from modyn.datasets import catalog, deletions, late, links, timeindex, windows
from modyn.datasets.catalog import COMMITS, LABELS, Head, Shard
from modyn.datasets.deletions import Deleted
from modyn.datasets.late import NONE, Late
from modyn.datasets.links import Contents
from modyn.datasets.ranks import group
from modyn.datasets.shards import OpenShard
from modyn.errors import Damaged, NotFound
from modyn.types import Array, Int64s, Samples, Window

Rows = slice | Int64s
_MOST_OPEN = 512
"""Shards kept mapped at once: each costs a file descriptor, of which a process has 1,024 by default."""
_AT_ONCE = 256
"""Shards mapped ahead of their turn, with one question to the catalog for the contents of all."""


class Files:
    """The shards that are mapped, oldest first. Shared by the snapshots of one dataset, so that a shard is mapped once."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self.folder = folder
        self._contents = contents
        self._open: OrderedDict[str, OpenShard] = OrderedDict()
        self._late = NONE

    def open(self, shard: Shard, head: Head) -> OpenShard:
        """The shard, mapped. Raises FileNotFoundError if its file is gone, Damaged if it is not what was written."""
        found = self._open.get(shard.file)
        return self.open_all([shard], head)[0] if found is None else found

    def open_all(self, shards: Sequence[Shard], head: Head) -> list[OpenShard]:
        """Shards, mapped; those that the catalog keeps are asked for together."""
        contents = self.contents_of([shard for shard in shards if shard.file not in self._open])
        return [self._open.get(shard.file) or self._map(shard, head, contents.get(shard.file)) for shard in shards]

    def contents_of(self, shards: Sequence[Shard]) -> Mapping[str, bytes]:
        """The bytes of those shards that are inline, by file. Raises FileNotFoundError if one is gone."""
        inline = [shard.file for shard in shards if shard.kind == "inline"]
        return self._contents(inline) if inline else {}

    def _map(self, shard: Shard, head: Head, content: bytes | None) -> OpenShard:
        if head.schema is None:
            raise Damaged(f"the catalog has shard {shard.file} of dataset '{head.name}', but no schema for it")
        found = self._open[shard.file] = links.open_shard(self.folder, shard, head.schema, content)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return found

    def forget(self, current: set[str], head: Head) -> None:
        """Unmap what is not current any more, and all if there was no label when it was mapped and there is one now."""
        label = None if head.schema is None else head.schema.label
        for name, opened in list(self._open.items()):
            if name not in current or opened.schema.label != label:
                self._open.pop(name, None)

    def late_labels(self, connection: sa.Connection, head: Head, version: int) -> Late:
        """The labels that came late, up to a version; what is known of them is not read again."""
        if head.schema is not None and head.schema.label is not None and head.schema.late:
            self._late = late.load(connection, head.id, head.schema.label, known=self._late, version=version)
        return self._late

    def __getstate__(self) -> tuple[Path, Contents]:
        return self.folder, self._contents

    def __setstate__(self, state: tuple[Path, Contents]) -> None:
        self.__init__(*state)  # type: ignore[misc]


class Superseded(Exception):
    """A shard's file is gone: the layout has changed since the snapshot was taken, or the file is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(str(path))


@dataclass(frozen=True, eq=False)
class Places:
    """Where keys lie: for each shard that holds some, the rows to read there.

    What is read piece after piece belongs at the places ``order`` of the result; None if it is in the order asked for.
    """

    pieces: list[tuple[OpenShard, Int64s]]
    order: Array | None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What one version of a dataset holds, and where. Immutable; ``files`` is only a cache of what is mapped."""

    head: Head
    version: int
    end_key: int
    shards: tuple[Shard, ...]
    deleted: Deleted
    files: Files = field(repr=False)
    late: Late = NONE

    def extended(self, head: Head, added: Sequence[Shard]) -> "Snapshot":
        """The snapshot after an append of these shards."""
        shards = (*self.shards, *added)
        return Snapshot(head, head.version, head.end_key, shards, self.deleted, self.files, self.late)

    @cached_property
    def first_keys(self) -> Int64s:
        """The key at which each shard begins."""
        return np.array([shard.first_key for shard in self.shards], np.int64)

    @cached_property
    def _firsts(self) -> list[int]:
        return [shard.first_key for shard in self.shards]

    @cached_property
    def num_samples(self) -> int:
        """How many live samples the version has; opens at most the one shard that its end cuts."""
        whole = sum(shard.num_rows for shard in self.shards if shard.end_key <= self.end_key)
        cut = [shard for shard in self.shards if shard.end_key > self.end_key]
        part = sum(len(range(*self._rows_by_key(self.open(s), 0, self.end_key).indices(s.num_rows))) for s in cut)
        return whole + part - self.deleted.count(0, self.end_key)

    def open(self, shard: Shard) -> OpenShard:
        """The shard, mapped. Raises Superseded if its file is gone."""
        try:
            return self.files.open(shard, self.head)
        except FileNotFoundError:
            raise Superseded(self.files.folder / shard.file) from None

    def open_all(self, shards: Sequence[Shard]) -> list[OpenShard]:
        """The shards, mapped, at the cost of one look into the catalog. Raises Superseded if the file of one is gone."""
        try:
            return self.files.open_all(shards, self.head)
        except FileNotFoundError as gone:
            raise Superseded(self.files.folder / str(gone.filename or gone)) from None

    def samples(self, window: Window | None = None) -> Samples:
        """Live samples of a window in key order, without their payloads."""
        parts = [
            Samples(keys_of(opened, rows), opened.timestamps[rows], self.labels_of(opened, rows))
            for opened, rows in self.stretches(window)
        ]
        if len(parts) == 1:
            return parts[0]
        return self._join(parts)

    def labels_of(self, opened: OpenShard, rows: Rows) -> Array | None:
        """The labels of rows of a shard, those that came late among them; None if unlabelled."""
        if opened.labels is None:
            return None
        labels = opened.labels[rows]
        return labels if self.late.labels is None else self.late.over(keys_of(opened, rows), labels)

    def keys(self, window: Window | None = None) -> Int64s:
        """Keys of the live samples of a window, ascending."""
        parts = [keys_of(opened, rows) for opened, rows in self.stretches(window)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])

    def _join(self, parts: list[Samples]) -> Samples:
        label = None if self.head.schema is None else self.head.schema.label
        if not parts:
            none = np.empty(0, np.int64)
            labels = None if label is None else np.empty((0, *label.shape), label.dtype)
            return Samples(none, none, labels)
        labels = None if label is None else np.concatenate([part.labels for part in parts])
        keys = np.concatenate([part.keys for part in parts])
        return Samples(keys, np.concatenate([part.timestamps for part in parts]), labels)

    def stretches(self, window: Window | None = None) -> Iterator[tuple[OpenShard, Rows]]:
        """The shards that hold live samples of a window, in key order, each with the rows of those samples.

        Raises DataError for what is no window.
        """
        windows.check(window)
        chosen = [s for s in self.shards if s.first_key < self.end_key and _may_hold(s, window)]
        for opened in self.in_turn(chosen):
            rows = self._live(opened, self._rows(opened, window))
            if (rows.start < rows.stop) if isinstance(rows, slice) else len(rows):
                yield opened, rows

    def in_turn(self, shards: Sequence[Shard]) -> Iterator[OpenShard]:
        """Any number of shards, mapped one after the other. Raises Superseded if the file of one is gone."""
        for start in range(0, len(shards), _AT_ONCE):
            yield from self.open_all(shards[start : start + _AT_ONCE])

    def _rows(self, opened: OpenShard, window: Window | None) -> Rows:
        if window is None:
            return self._rows_by_key(opened, 0, self.end_key)
        if window.by == "key":
            return self._rows_by_key(opened, window.start, min(window.end, self.end_key))
        rows = timeindex.rows_between(opened, window.start, window.end)
        if opened.shard.end_key <= self.end_key:
            return rows
        end = self._rows_by_key(opened, 0, self.end_key).stop
        return slice(rows.start, min(rows.stop, end)) if isinstance(rows, slice) else rows[rows < end]

    @staticmethod
    def _rows_by_key(opened: OpenShard, start: int, end: int) -> slice:
        keys = opened.keys
        if keys is None:
            first, num = opened.shard.first_key, opened.shard.num_rows
            return slice(min(max(start - first, 0), num), min(max(end - first, 0), num))
        low, high = np.searchsorted(keys, (start, end))
        return slice(int(low), int(high))

    def _live(self, opened: OpenShard, rows: Rows) -> Rows:
        """The rows without those that are deleted."""
        shard = opened.shard
        gone = self.deleted.within(shard.first_key, shard.end_key)
        if not len(gone):
            return rows
        dead = np.zeros(shard.num_rows, np.bool_)
        places = opened.rows_of(gone)
        dead[places[places >= 0]] = True
        left: Int64s = np.flatnonzero(~dead[rows]) + rows.start if isinstance(rows, slice) else rows[~dead[rows]]
        return left

    def locate(self, keys: Int64s, *, known_live: bool = False) -> Places:
        """Where keys lie; ``known_live``: none of them is deleted. Raises NotFound for a key that was never given or is deleted."""
        if not len(keys):
            return Places([], None)
        highest = int(keys.view(np.uint64).max())  # a negative key is a very large one
        if highest >= self.end_key or (not known_live and self.deleted.any_among(keys)):
            raise self._not_found(keys)
        last = bisect_right(self._firsts, highest) - 1
        first = 0 if self._firsts == [0] else bisect_right(self._firsts, int(keys.min())) - 1
        if first < 0 or highest >= self.shards[last].end_key:
            raise self._not_found(keys)
        if first == last:
            opened = self.open(self.shards[first])
            return Places([(opened, self._rows_in(opened, keys))], None)
        order, bounds = group(keys, self.first_keys)
        grouped = keys if order is None else keys.take(order)
        cuts = bounds.tolist()
        held = [i for i, (low, high) in enumerate(pairwise(cuts)) if low < high]
        shards = self.open_all([self.shards[i] for i in held])
        if self._is_gapless:  # every offset is a row
            offsets = grouped - np.repeat(self.first_keys, bounds[1:] - bounds[:-1])
            return Places([(o, offsets[cuts[i] : cuts[i + 1]]) for o, i in zip(shards, held, strict=True)], order)
        pieces = [self._piece(o, grouped[cuts[i] : cuts[i + 1]]) for o, i in zip(shards, held, strict=True)]
        return Places(pieces, order)

    @cached_property
    def _is_gapless(self) -> bool:
        """Whether every key up to the last is in a shard."""
        return all(s.is_dense for s in self.shards) and all(s.end_key == t.first_key for s, t in pairwise(self.shards))

    def _piece(self, opened: OpenShard, keys: Int64s) -> tuple[OpenShard, Int64s]:
        """Keys between a shard's first and the next one's as its rows. Raises NotFound for one that the shard does not hold."""
        if int(keys.max()) >= opened.shard.end_key:
            raise self._not_found(keys)
        return opened, self._rows_in(opened, keys)

    def _rows_in(self, opened: OpenShard, keys: Int64s) -> Int64s:
        """The rows of keys in the range of a shard. Raises NotFound for one that it does not hold."""
        rows = opened.rows_of(keys)
        if opened.rank is not None and (rows < 0).any():
            raise self._not_found(keys)
        return rows

    def present(self, keys: Int64s) -> Array:
        """Which of the keys are live samples of this version."""
        live = (keys >= 0) & (keys < self.end_key) & ~self.deleted.among(keys)
        index = np.searchsorted(self.first_keys, keys, side="right") - 1
        live &= index >= 0
        for i in np.unique(index[live]).tolist():
            shard = self.shards[i]
            mine = live & (index == i)
            live[mine & (keys >= shard.end_key)] = False
            if not shard.is_dense:
                mine &= keys < shard.end_key
                live[mine] = self.open(shard).rows_of(keys[mine]) >= 0
        return live

    def live_of(self, keys: Int64s) -> Int64s:
        """Those of the keys that are live samples. Raises NotFound for a key that was never given."""
        if len(keys) and (int(keys.min()) < 0 or int(keys.max()) >= self.end_key):
            raise self._not_found(keys[(keys < 0) | (keys >= self.end_key)])
        return keys[self.present(keys)]

    def _not_found(self, keys: Int64s) -> NotFound:
        gone = keys[~self.present(keys)]
        first = int(gone[0]) if len(gone) else int(keys[0])
        more = f" (nor are {len(gone) - 1} others of the keys asked for)" if len(gone) > 1 else ""
        if 0 <= first < self.end_key:
            return NotFound(f"sample {first} of dataset '{self.head.name}' is deleted{more}")
        return NotFound(
            f"dataset '{self.head.name}' has no sample {first}; version {self.version} ends before {self.end_key}{more}"
        )


def _may_hold(shard: Shard, window: Window | None) -> bool:
    if window is None:
        return True
    if window.by == "key":
        return shard.first_key < window.end and window.start < shard.end_key
    return shard.min_time < window.end and window.start <= shard.max_time


def keys_of(opened: OpenShard, rows: Rows) -> Int64s:
    """The keys of rows of a shard."""
    if opened.keys is not None:
        return opened.keys[rows]
    first = opened.shard.first_key
    return np.arange(first + rows.start, first + rows.stop) if isinstance(rows, slice) else rows + first


def take(connection: sa.Connection, dataset_id: int, files: Files, *, version: int | None = None) -> Snapshot:
    """The dataset at a version (None = the newest), as the catalog has it now.

    Raises NotFound if the dataset has been removed or never had that version.
    """
    head = catalog.head_by_id(connection, dataset_id)
    if head is None:
        raise NotFound("the dataset has been removed")
    end_key = head.end_key if version is None else _end_key(connection, head, version)
    shards = tuple(catalog.shards(connection, dataset_id))
    chosen = head.version if version is None else version
    deleted = deletions.load(connection, dataset_id, chosen)
    files.forget({shard.file for shard in shards}, head)
    return Snapshot(head, chosen, end_key, shards, deleted, files, files.late_labels(connection, head, chosen))


def _end_key(connection: sa.Connection, head: Head, version: int) -> int:
    query = sa.select(COMMITS.c.end_key).where(COMMITS.c.dataset_id == head.id, COMMITS.c.version == version)
    found = connection.execute(query).scalar_one_or_none()
    if found is None and version != 0:
        raise NotFound(f"dataset '{head.name}' has no version {version}; it has 0 to {head.version}")
    return int(found or 0)


def version_at(connection: sa.Connection, head: Head, at: int) -> int:
    """The version that was the newest at a moment (microseconds). Raises NotFound if the dataset did not exist then."""
    if at < head.created_at:
        raise NotFound(f"dataset '{head.name}' did not exist then")
    query = sa.select(sa.func.max(COMMITS.c.version)).where(COMMITS.c.dataset_id == head.id, COMMITS.c.at <= at)
    return int(connection.execute(query).scalar_one() or 0)


def only_grew(connection: sa.Connection, dataset_id: int, first: int, last: int) -> bool:
    """Whether the versions after ``first``, up to ``last``, deleted nothing and labelled nothing that was there."""
    for table, also in ((COMMITS, COMMITS.c.num_deleted > 0), (LABELS, sa.true())):
        mine = (table.c.dataset_id == dataset_id, table.c.version > first, table.c.version <= last)
        if connection.execute(sa.select(sa.func.count()).select_from(table).where(*mine, also)).scalar_one():
            return False
    return True
