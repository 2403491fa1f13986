"""Which keys are deleted: a compressed bitmap for each delete, and one byte a key where they are asked for in batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap64

from modyn.datasets import catalog
from modyn.datasets.catalog import DELETIONS
from modyn.datasets.ranks import Mask
from modyn.types import Int64s
from modyn.workspace import Workspace


def pack(keys: Int64s) -> bytes:
    """Keys as a serialised bitmap."""
    return bytes(BitMap64(keys.astype(np.uint64)).serialize())


@dataclass(frozen=True, eq=False)
class Deleted:
    """The keys that are deleted at some version."""

    keys: BitMap64

    @classmethod
    def of(cls, packed: Sequence[bytes]) -> "Deleted":
        """The union of serialised bitmaps."""
        return cls(BitMap64().union(*(BitMap64.deserialize(part) for part in packed)) if packed else BitMap64())

    def __len__(self) -> int:
        return len(self.keys)

    def __bool__(self) -> bool:
        return bool(self.keys)

    @cached_property
    def _mask(self) -> Mask:
        """Whether each key from 0 on is deleted, up to one after the last that is."""
        keys = self.array()
        mask = np.zeros(int(keys[-1]) + 2, np.bool_)
        mask[keys] = True
        return mask

    def array(self) -> Int64s:
        """All deleted keys, ascending."""
        return np.asarray(self.keys.to_array()).astype(np.int64)

    def among(self, keys: Int64s) -> Mask:
        """Which of the keys are deleted; ``keys`` in any order. A negative key is taken for key 0."""
        if not self.keys:
            return np.zeros(len(keys), np.bool_)
        return self._mask.take(keys, mode="clip")

    def any_among(self, keys: Int64s) -> bool:
        """Whether any of the keys, none negative, is deleted; one look-up of a byte each."""
        if not self.keys:
            return False
        return self._mask.take(keys, mode="clip").tobytes().find(1) >= 0  # half the time of any()

    def count(self, start: int, end: int) -> int:
        """How many keys of ``[start, end)`` are deleted."""
        return int(self.keys.range_cardinality(max(start, 0), max(end, 0))) if self.keys and end > start else 0

    def within(self, start: int, end: int) -> Int64s:
        """The deleted keys of ``[start, end)``, ascending."""
        if not self.count(start, end):
            return np.empty(0, np.int64)
        part = self.keys & BitMap64(range(start, end)) if end - start < 64 else self.keys & _range(start, end)
        return np.asarray(part.to_array()).astype(np.int64)


def _range(start: int, end: int) -> BitMap64:
    found = BitMap64()
    found.add_range(start, end)
    return found


def load(connection: sa.Connection, dataset_id: int, version: int) -> Deleted:
    """What is deleted at a version and not yet purged."""
    query = sa.select(DELETIONS.c.bitmap).where(DELETIONS.c.dataset_id == dataset_id, DELETIONS.c.version <= version)
    return Deleted.of([bytes(part) for part in connection.execute(query).scalars()])


def insert(connection: sa.Connection, dataset_id: int, version: int, keys: Int64s) -> int:
    """Record that a version deletes the keys that are not deleted yet; returns how many those are.

    Within the transaction that made the version: what another process deleted since the keys were found counts once.
    """
    if not len(keys):
        return 0
    fresh = keys[~load(connection, dataset_id, version).among(keys)]
    if len(fresh):
        connection.execute(sa.insert(DELETIONS).values(dataset_id=dataset_id, version=version, bitmap=pack(fresh)))
    return len(fresh)


def delete(workspace: Workspace, dataset_id: int, keys: Int64s, tell: Callable[[int], None]) -> int:
    """Commit a new version without the keys, which must have been given; returns how many were live until now.

    ``tell`` is given the generation just before it is committed.
    """
    with catalog.changing(workspace) as connection:
        head = catalog.advance(connection, dataset_id)
        num = insert(connection, dataset_id, head.version, keys)
        catalog.add_commit(connection, head, start_key=head.end_key, num_deleted=num)
        tell(head.generation)
    return num


def drop_until(connection: sa.Connection, dataset_id: int, version: int) -> None:
    """Forget the deleted keys up to a version: no shard holds them any more."""
    connection.execute(sa.delete(DELETIONS).where(DELETIONS.c.dataset_id == dataset_id, DELETIONS.c.version <= version))
