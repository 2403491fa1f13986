"""A dataset: a named, versioned log of samples. Append, delete, read any keys back, ask by time or by key range."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from modyn.datasets import catalog, compaction, conditions, deletions, purging, queries, snapshot, verifying
from modyn.datasets.catalog import DATASETS
from modyn.datasets.purging import Receipt
from modyn.datasets.queries import Summary
from modyn.datasets.ranks import as_keys
from modyn.datasets.reader import Reader
from modyn.datasets.snapshot import Snapshot
from modyn.datasets.state import State, tell
from modyn.datasets.writer import Writer
from modyn.errors import AlreadyExists, DataError, counted
from modyn.types import Array, Int64s, Samples, Window, to_microseconds
from modyn.workspace import Workspace, check_name

_REMOVED = 2**62
"""The generation that a removed dataset is at, so that whoever has it open asks the catalog and finds it gone."""


class Dataset:
    """A dataset in a workspace, at its newest version, or pinned to one by ``at``.

    It follows what other processes do: every question is answered from the newest version.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.compacts_in_background = True

    @classmethod
    def create(
        cls,
        workspace: Workspace,
        name: str,
        *,
        label_classes: Sequence[str] | None = None,
        storage: str = "copy",
        retention_us: int | None = None,
    ) -> "Dataset":
        """Make an empty dataset. Its columns and labels are those of the first samples appended.

        ``label_classes`` fixes the text classes and their codes; otherwise text labels are classes as they come. ``storage``
        (``copy`` or ``link``) is what sources do with files; ``retention_us`` is what ``expire`` goes by. Raises AlreadyExists.
        """
        check_name(name, "dataset")
        if storage not in ("copy", "link"):
            raise DataError(f"storage must be copy or link; got '{storage}'")
        _check_classes(label_classes)
        _check_retention(retention_us)
        row = {
            "name": name,
            "created_at": time.time_ns() // 1000,
            "storage": storage,
            "retention_us": retention_us,
            "label_classes": None if label_classes is None else json.dumps(list(label_classes)),
            "classes_fixed": label_classes is not None,
            "version": 0,
            "end_key": 0,
            "generation": 0,
        }
        with catalog.changing(workspace) as connection:
            if name in catalog.names(connection):
                raise AlreadyExists(f"there is a dataset '{name}' already")
            shutil.rmtree(workspace.datasets / name, ignore_errors=True)  # of one whose removal was cut short
            (workspace.datasets / name).mkdir()
            dataset_id = connection.execute(sa.insert(DATASETS).returning(DATASETS.c.id), row).scalar_one()
        tell(workspace.datasets / name, 0)
        return cls(State(workspace, dataset_id, name))

    @classmethod
    def open(cls, workspace: Workspace, name: str) -> "Dataset":
        """The dataset of that name. Raises NotFound, naming the nearest one."""
        with catalog.reading(workspace) as connection:
            found = catalog.head(connection, name)
        return cls(State(workspace, found.id, found.name))

    @staticmethod
    def names(workspace: Workspace) -> list[str]:
        """The names of all datasets, sorted."""
        with catalog.reading(workspace) as connection:
            return catalog.names(connection)

    @staticmethod
    def remove(workspace: Workspace, name: str) -> None:
        """Remove a dataset and every byte of it that the workspace holds; linked files stay. Raises NotFound."""
        with catalog.changing(workspace) as connection:
            found = catalog.head(connection, name)
            connection.execute(sa.delete(DATASETS).where(DATASETS.c.id == found.id))
            tell(workspace.datasets / name, _REMOVED)
            shutil.rmtree(workspace.datasets / name, ignore_errors=True)
            shutil.rmtree(workspace.caches / name, ignore_errors=True)
        catalog.empty_log(workspace)

    def at(self, version: int) -> "Dataset":
        """The dataset as it was at a version, to read only. Raises NotFound if it never had that version."""
        pinned = Dataset(State(self._state.workspace, self._state.dataset_id, self.name, version))
        pinned._state.snapshot()
        return pinned

    def at_time(self, moment: datetime) -> "Dataset":
        """The dataset as it was known at a moment, to read only. Raises NotFound if it did not exist then."""
        with catalog.reading(self._state.workspace) as connection:
            head = catalog.head(connection, self.name)
            return self.at(snapshot.version_at(connection, head, to_microseconds(moment)))

    @property
    def name(self) -> str:
        return self._state.name

    @property
    def id(self) -> int:
        """The dataset's number in the catalog, for other stations' tables."""
        return self._state.dataset_id

    @property
    def workspace(self) -> Workspace:
        return self._state.workspace

    @property
    def folder(self) -> Path:
        """Where its shards lie."""
        return self._state.folder

    @property
    def version(self) -> int:
        """The number of commits so far: each append and each delete makes a new version."""
        return self._state.snapshot().version

    @property
    def num_samples(self) -> int:
        """How many live samples there are."""
        return self._state.retrying(lambda s: s.num_samples)

    @property
    def num_deleted(self) -> int:
        """How many samples are deleted and not yet purged."""
        now = self._state.snapshot()
        return now.deleted.count(0, now.end_key)

    @property
    def end_key(self) -> int:
        """The key that the next sample will get; every sample so far has a smaller one."""
        return self._state.snapshot().end_key

    @property
    def storage(self) -> str:
        """``copy`` or ``link``: what sources do with files."""
        return self._state.snapshot().head.storage

    @property
    def label_classes(self) -> tuple[str, ...] | None:
        """The text of each label code; None if labels are not text classes."""
        return self._state.snapshot().head.label_classes

    @property
    def label_type(self) -> str | None:
        """``int64``, ``float32``, ``float64[3]``, ...; None while unlabelled."""
        schema = self._state.snapshot().head.schema
        return None if schema is None or schema.label is None else str(schema.label)

    @property
    def column_types(self) -> Mapping[str, str]:
        """The payload columns: a NumPy type with the shape of one sample (``float32[20]``), ``text`` or ``bytes``."""
        schema = self._state.snapshot().head.schema
        return {} if schema is None else {name: str(column) for name, column in schema.columns.items()}

    def append(self, columns: Mapping[str, Any] | pa.Table, *, timestamps: Any, labels: Any = None) -> range:
        """Add samples in one durable transaction; returns their keys. See ``Writer.append``."""
        with self.write() as writer:
            return writer.append(columns, timestamps=timestamps, labels=labels)

    def label(self, keys: Any, labels: Any) -> int:
        """Give samples labels that became known later, in one durable transaction; returns how many got one. See ``Writer.label``."""
        with self.write() as writer:
            return writer.label(keys, labels)

    def write(self, *, shard_bytes: int | None = None) -> Writer:
        """Several appends, and rows of one's own in the catalog, in one transaction: ``with dataset.write() as writer``.

        ``shard_bytes``: about how much goes into each shard; None = 64 MB gathered from many appends, up to 1 GB of a single one.
        """
        return Writer(self._state, shard_bytes=shard_bytes, compact=self.compacts_in_background)

    def delete(self, keys: Any) -> int:
        """Delete samples by key: a new version without them, in force at once; returns how many were live.

        Earlier versions keep them until ``purge``. Raises NotFound for a key that was never given.
        """
        self._refuse_pinned()
        asked = np.unique(as_keys(keys))
        doomed = self._state.retrying(lambda now: now.live_of(asked))
        if not len(doomed):
            return 0
        return deletions.delete(self.workspace, self.id, doomed, lambda generation: tell(self.folder, generation))

    def find(self, wanted: str | Sequence[str], window: Window | None = None) -> Int64s:
        """Keys of the live samples for which every condition (or the one given) holds, ascending.

        A condition is ``NAME OP VALUE``: a payload column, ``label``, ``time`` or ``key``; one of == != < <= > >= in, not in.
        Raises DataError for what is no condition, naming the nearest column.
        """

        def use(now: Snapshot) -> Int64s:
            texts = [wanted] if isinstance(wanted, str) else wanted
            return queries.find(now, [conditions.parse(text, now.head) for text in texts], window)

        return self._state.retrying(use)

    def find_ids(self, column: str, ids: Sequence[Any]) -> Int64s:
        """Keys of the live samples whose value in a column (integers or text) is one of the ids, ascending."""
        return self._state.retrying(lambda now: queries.find_ids(now, column, ids))

    def set_retention(self, retention_us: int | None) -> None:
        """Keep samples for so many microseconds of their own time (None = for ever); ``expire`` goes by it."""
        _check_retention(retention_us)
        with catalog.changing(self.workspace) as connection:
            head = catalog.advance(connection, self.id, by=0)
            query = sa.update(DATASETS).where(DATASETS.c.id == self.id).values(retention_us=retention_us)
            connection.execute(query)
            tell(self.folder, head.generation)

    def expire(self, now_us: int) -> int:
        """Delete the samples whose timestamp is older than the retention before ``now_us``; returns how many."""
        retention_us = self._state.snapshot().head.retention_us
        if retention_us is None:
            return 0
        old = self.older_than(now_us - retention_us)
        return self.delete(old) if len(old) else 0

    def older_than(self, moment_us: int) -> Int64s:
        """Keys of the live samples whose timestamp is before a moment, ascending."""
        return self.keys(Window(-(2**62), max(moment_us, -(2**62)), by="time"))

    def purge(self) -> Receipt:
        """Remove the bytes of all deleted samples from the workspace, for earlier versions too; returns the receipt."""
        self._refuse_pinned()
        return purging.purge(self._state)

    def receipts(self) -> list[Receipt]:
        """The receipts of all purges, oldest first."""
        return purging.receipts(self._state)

    def compact(self, *, target_bytes: int = compaction.TARGET_BYTES) -> int:
        """Merge neighbouring shards into ones of up to ``target_bytes``; returns how many shards were merged."""
        self._refuse_pinned()
        self._state.sweep()
        return compaction.compact(self._state, target=target_bytes)

    def verify(self) -> list[str]:
        """Read every shard and compare its checksum, and every linked file's stamp: what is wrong, naming the file."""
        return verifying.verify(self._state)

    def only_grew_since(self, version: int) -> bool:
        """Whether nothing but appending has happened since a version: what it held is as it was. Raises NotFound."""
        with catalog.reading(self.workspace) as connection:
            return self.version == version or snapshot.only_grew(connection, self.id, version, self.version)

    def deleted_among(self, keys: Int64s) -> Array:
        """Which of the keys are deleted: a look-up of a byte each, in any order of theirs."""
        asked = as_keys(keys)
        return self._state.retrying(lambda now: now.deleted.among(asked))

    def label_counts(self, window: Window | None = None) -> dict[Any, int]:
        """How many live samples have each label. Raises DataError if labels are not single integers or classes."""
        return self._state.retrying(lambda now: queries.label_counts(now, window))

    def time_histogram(self, every_us: int, window: Window | None = None) -> tuple[Int64s, Int64s]:
        """``(starts[b], counts[b])``: live samples in each stretch of ``every_us`` microseconds; see ``queries``."""
        return self._state.retrying(lambda now: queries.time_histogram(now, every_us, window))

    def since(self, version: int) -> Window:
        """The keys that were added after a version, as a window. Raises NotFound if there was no such version."""
        return Window(self.at(version).end_key, self.end_key)

    def summary(self) -> Summary:
        """Size, time span, growth, labels, deleted share and shards, without reading a payload."""
        with catalog.reading(self.workspace) as connection:
            return self._state.retrying(lambda now: queries.summary(connection, now))

    def _refuse_pinned(self) -> None:
        if self._state.version is not None:
            raise DataError(f"dataset '{self.name}' at version {self._state.version} can be read only")

    def samples(self, window: Window | None = None) -> Samples:
        """Live samples of a key or time window (None = all) in key order, without their payloads."""
        return self._state.retrying(lambda s: s.samples(window))

    def keys(self, window: Window | None = None) -> Int64s:
        """Keys of the live samples of a key or time window (None = all), ascending."""
        return self._state.retrying(lambda now: now.keys(window))

    def reader(self, columns: Sequence[str] | None = None) -> Reader:
        """Reads payloads by key (``columns``: only these). Raises DataError, naming the nearest, for an unknown column."""
        return Reader(self._state, columns)

    def __repr__(self) -> str:
        pinned = "" if self._state.version is None else f" at version {self._state.version}"
        return f"<Dataset '{self.name}'{pinned}: {counted(self.num_samples, 'sample')}>"


def _check_classes(names: Any) -> None:
    if names is None:
        return
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise DataError(f"label classes are a list of texts; got {names!r:.60}")
    if len(set(names)) != len(names):
        raise DataError("label classes must differ from each other")


def _check_retention(retention_us: Any) -> None:
    if retention_us is not None and (not isinstance(retention_us, int | np.integer) or retention_us <= 0):
        raise DataError(f"a retention must be a whole number of microseconds above 0; got {retention_us!r:.60}")
