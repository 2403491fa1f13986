"""Compaction: neighbouring small shards become one of up to about 1 GB. What the dataset holds does not change, nor its version.

Readers are never blocked: who has an old shard mapped goes on reading it; who finds its file gone looks into the catalog again.
Every version is served by the newest layout, so an old shard's file is removed at once.
"""

import itertools
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from modyn.datasets import columns, locks, replacing, shards
from modyn.datasets.catalog import Shard
from modyn.datasets.replacing import MAINTENANCE_LOCK, stored_rows
from modyn.datasets.shards import OpenShard, Rows
from modyn.datasets.snapshot import Snapshot
from modyn.datasets.state import State
from modyn.errors import DataError, NotFound
from modyn.types import Int64s

TARGET_BYTES = 1 << 30
FAN_IN = 64
"""So many neighbours of one size class are merged in the background; each sample is rewritten about twice on its way to 1 GB."""
PAUSE_S = 0.1
"""A burst of appends is over when so many seconds pass without one: compaction in the middle of it would slow it down."""
MOST_WAITING = 512
"""So many appends end the wait for a pause."""


def plan(sizes: Int64s, *, target: int) -> list[tuple[int, int]]:
    """Neighbours to merge: half-open stretches of at least two, of at most ``target`` bytes together.

    >>> plan(np.array([3, 3, 3, 9, 1, 1]), target=6)
    [(0, 2), (4, 6)]
    """
    stretches, start, total = [], 0, 0
    for i, size in enumerate([*sizes.tolist(), target + 1]):
        if total + size > target:
            if i - start > 1:
                stretches.append((start, i))
            start, total = i, 0
        total += size
    return stretches


def plan_cheap(sizes: Int64s, *, target: int, fan_in: int = FAN_IN) -> list[tuple[int, int]]:
    """Neighbours worth merging now: stretches of at least ``fan_in`` shards whose sizes are of one class (a factor of 8) or less.

    >>> plan_cheap(np.array([1000, 1, 2, 1, 5]), target=10**9, fan_in=4)
    [(1, 5)]
    """
    classes = np.log2(np.maximum(sizes, 1)) // 3
    for largest in np.unique(classes).tolist():
        small = np.concatenate(([0], (classes <= largest).view(np.int8), [0]))
        edges = np.flatnonzero(np.diff(small))
        starts, ends = edges[::2].tolist(), edges[1::2].tolist()
        found = [
            (start + low, start + high)
            for start, end in zip(starts, ends, strict=True)
            if end - start >= fan_in
            for low, high in plan(sizes[start:end], target=target)
        ]
        if found:
            return found
    return []


def groups(layout: Sequence[Shard], *, target: int, cheap: bool) -> list[list[Shard]]:
    """The shards to merge, each group to one. Linked records stay: there is nothing of them to merge."""
    sizes = np.array([shard.num_bytes for shard in layout], np.int64)
    kinds = np.array(["arrow" if shard.kind == "inline" else shard.kind for shard in layout], object)
    borders = [0, *(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), len(layout)]
    chosen = plan_cheap if cheap else plan
    return [
        list(layout[low + start : low + end])
        for low, high in itertools.pairwise(borders)
        if low < high and kinds[low] != "records"
        for start, end in chosen(sizes[low:high], target=target)
    ]


def compact(state: State, *, target: int = TARGET_BYTES, cheap: bool = False) -> int:
    """Merge shards; returns how many were merged. Waits for another compaction or purge of the dataset to end."""
    with locks.exclusive(state.folder / MAINTENANCE_LOCK, purpose="a compaction"):
        return _compact(state, target, cheap)


def _compact(state: State, target: int, cheap: bool) -> int:
    merged = 0
    for group in groups(state.renew().shards, target=target, cheap=cheap):
        replacing.replace(state, group, partial(_merge, group=group))
        merged += len(group)
    return merged


def _merge(snapshot: Snapshot, group: list[Shard]) -> list[Rows]:
    return [merge(snapshot.open_all(group))]


def merge(opened: Sequence[OpenShard]) -> Rows:
    """The rows of neighbouring shards as one, with the order by time where they are not in time order."""
    parts = [stored_rows(shard) for shard in opened]
    timestamps = np.concatenate([part.timestamps for part in parts])
    keys = np.concatenate([part.keys for part in parts if part.keys is not None])
    labels = None if parts[0].labels is None else np.concatenate([p.labels for p in parts if p.labels is not None])
    stored = {name: columns.join([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Rows(timestamps, labels, stored, keys, shards.order_by_time(timestamps))


@dataclass
class _Aside:
    """A dataset's background compaction: whether it goes on, and what this process appended meanwhile."""

    appended_at: float = 0.0
    num_appends: int = 0
    is_running: bool = False


_aside: dict[tuple[int, Path], _Aside] = {}
"""By process, as a fork copies this but no thread, and the dataset's folder."""


def compact_aside(state: State) -> None:
    """Merge in a background thread if many small shards have gathered, unless that is going on already.

    It begins once this process pauses appending, and waits no longer when very many have gathered or the process is about to
    end. A process that is killed in between leaves nothing but a file for the next sweep.
    """
    mine = _aside.setdefault((os.getpid(), state.folder), _Aside())
    mine.appended_at = time.monotonic()
    mine.num_appends += 1
    if mine.is_running or not groups(state.snapshot().shards, target=TARGET_BYTES, cheap=True):
        return
    mine.is_running = True
    own = State(state.workspace, state.dataset_id, state.name)
    threading.Thread(target=_run_aside, args=(own, mine), name=f"compact {state.name}").start()


def _run_aside(state: State, mine: _Aside) -> None:
    try:
        # What fails here fails again, and is told, when somebody reads, compacts or verifies; the append itself was fine.
        with suppress(DataError, NotFound, FileNotFoundError):
            _await_pause(mine)
            with locks.exclusive_or_none(state.folder / MAINTENANCE_LOCK) as is_mine:
                if is_mine:
                    _compact(state, TARGET_BYTES, cheap=True)
    finally:
        mine.is_running = False


def _await_pause(mine: _Aside) -> None:
    last = mine.num_appends + MOST_WAITING
    while time.monotonic() < mine.appended_at + PAUSE_S and mine.num_appends < last:
        if not threading.main_thread().is_alive():
            return
        time.sleep(PAUSE_S / 4)
