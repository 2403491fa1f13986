"""Labels that came after their samples: kept by key beside the shards, each from the version on that delivered it.

They are read whole, 16 bytes a label, and lie over what the shards hold: the newest counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from modyn.datasets.catalog import LABELS
from modyn.datasets.columns import Column
from modyn.types import UNKNOWN_LABEL, Array, Int64s

CHUNK = 100_000
"""Labels in a row of the catalog."""


def unknown(column: Column, num: int) -> Array:
    """``[num, ...]`` labels that are not known, without their memory; to read only."""
    value = np.nan if np.dtype(column.dtype).kind == "f" else UNKNOWN_LABEL
    return np.broadcast_to(np.array(value, column.storage_dtype), (num, *column.shape))


@dataclass(frozen=True, eq=False)
class Late:
    """The labels delivered up to a version: ``keys[n]`` ascending, ``labels[n, ...]``."""

    version: int
    keys: Int64s
    labels: Array | None

    def extended(self, parts: Sequence[tuple[Int64s, Array]], version: int) -> "Late":
        """With later deliveries, oldest first. Costs in terms of all late labels only where there are new ones."""
        if not parts:
            return Late(version, self.keys, self.labels)
        keys = np.concatenate([self.keys, *(keys for keys, _ in parts)])
        labels = np.concatenate(
            [*([] if self.labels is None else [self.labels]), *(labels for _, labels in parts)], axis=0
        )
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        last = np.append(keys[1:] != keys[:-1], True)  # of equal keys the newest
        return Late(version, keys[last], labels[order[last]])

    def over(self, keys: Int64s, labels: Array) -> Array:
        """``labels`` of ``keys`` (any order), with the late ones put in; the array given stays as it is."""
        if self.labels is None or not len(keys):
            return labels
        places = np.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        found = self.keys[places] == keys
        if not found.any():
            return labels
        out = np.array(labels)
        out[found] = self.labels[places[found]]
        return out


NONE = Late(0, np.empty(0, np.int64), None)


def load(connection: sa.Connection, dataset_id: int, column: Column, *, known: Late, version: int) -> Late:
    """The labels delivered up to a version, going on from those that are ``known``."""
    if known.version > version:
        known = NONE
    query = (
        sa.select(LABELS.c.sample_keys, LABELS.c.labels)
        .where(LABELS.c.dataset_id == dataset_id, LABELS.c.version > known.version, LABELS.c.version <= version)
        .order_by(LABELS.c.version, LABELS.c.part)
    )
    parts = [_unpack(row.sample_keys, row.labels, column) for row in connection.execute(query)]
    return known.extended(parts, version)


def insert(connection: sa.Connection, dataset_id: int, version: int, keys: Int64s, labels: Array) -> None:
    """Keep the labels that a version delivers."""
    rows = [
        {
            "dataset_id": dataset_id,
            "version": version,
            "part": part,
            "sample_keys": keys[start : start + CHUNK].astype("<i8").tobytes(),
            "labels": np.ascontiguousarray(labels[start : start + CHUNK]).tobytes(),
        }
        for part, start in enumerate(range(0, len(keys), CHUNK))
    ]
    connection.execute(sa.insert(LABELS), rows)


def forget(connection: sa.Connection, dataset_id: int, column: Column, gone: Int64s) -> int:
    """Remove the labels of keys (ascending) whose samples are purged; returns how many there were."""
    removed = 0
    mine = LABELS.c.dataset_id == dataset_id
    query = sa.select(LABELS.c.version, LABELS.c.part, LABELS.c.sample_keys, LABELS.c.labels).where(mine)
    for row in connection.execute(query).all():
        keys, labels = _unpack(row.sample_keys, row.labels, column)
        keep = ~np.isin(keys, gone)
        if keep.all():
            continue
        removed += int((~keep).sum())
        this = (mine, LABELS.c.version == row.version, LABELS.c.part == row.part)
        if keep.any():
            left = {"sample_keys": keys[keep].tobytes(), "labels": labels[keep].tobytes()}
            connection.execute(sa.update(LABELS).where(*this).values(left))
        else:
            connection.execute(sa.delete(LABELS).where(*this))
    return removed


def _unpack(keys: bytes, labels: bytes, column: Column) -> tuple[Int64s, Array]:
    found = np.frombuffer(bytes(keys), "<i8").astype(np.int64, copy=False)
    return found, np.frombuffer(bytes(labels), column.storage_dtype).reshape(len(found), *column.shape)
