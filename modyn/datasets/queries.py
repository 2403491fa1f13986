"""Questions to a dataset that need no payload, or one column of it: which samples, how many of each label, when."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from modyn.datasets import conditions
from modyn.datasets.catalog import COMMITS
from modyn.datasets.columns import Column
from modyn.datasets.conditions import Condition
from modyn.datasets.links import OpenRecords
from modyn.datasets.shards import OpenShard
from modyn.datasets.snapshot import Rows, Snapshot, keys_of
from modyn.errors import DataError, counted, did_you_mean
from modyn.types import Array, Int64s, Window, to_datetime, unlabelled

_DAY_US = 86_400 * 1_000_000
_MOST_BINS = 1_000_000


def find(snapshot: Snapshot, wanted: Sequence[Condition], window: Window | None) -> Int64s:
    """Keys of the live samples for which every condition holds, ascending."""
    found = []
    for opened, rows in snapshot.stretches(window):
        labels = partial(snapshot.labels_of, opened, slice(0, len(opened)))
        found.append(keys_of(opened, _chosen(rows, conditions.all_hold(wanted, opened, labels))))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _chosen(rows: Rows, mask: Array) -> Int64s:
    return np.flatnonzero(mask[rows]) + rows.start if isinstance(rows, slice) else rows[mask[rows]]


def find_ids(snapshot: Snapshot, column: str, ids: Sequence[Any]) -> Int64s:
    """Keys of the live samples whose value in a column of integers or text is one of the ids, ascending."""
    known = {} if snapshot.head.schema is None else snapshot.head.schema.columns
    if column not in known:
        raise DataError(f"dataset '{snapshot.head.name}' has no column '{column}'. {did_you_mean(column, known)}")
    spec = known[column]
    if not (spec.kind == "text" or (spec.kind == "array" and not spec.shape and np.dtype(spec.dtype).kind in "iu")):
        raise DataError(f"column '{column}' holds {spec}: ids are integers or text")
    if isinstance(ids, str | bytes):
        raise DataError(f"ids are a list, also of one; got {ids!r:.60}")
    wanted = [str(i) for i in ids] if spec.kind == "text" else _integers(ids, column, spec)
    found = [
        keys_of(opened, _chosen(rows, _is_one_of(opened, column, wanted))) for opened, rows in snapshot.stretches()
    ]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _integers(ids: Sequence[Any], column: str, spec: Column) -> Int64s:
    """Ids as integers; those that no sample can have, as they take more than 64 bits, are left out."""
    try:
        wanted = [int(str(i)) for i in ids]
    except ValueError as error:
        raise DataError(f"column '{column}' holds {spec}, but not every id is an integer: {error}") from None
    return np.array([i for i in wanted if -(2**63) <= i < 2**63], np.int64)


def _is_one_of(opened: OpenShard, column: str, wanted: Any) -> Array:
    values = opened.column(column)
    if isinstance(values, np.ndarray):
        return np.isin(values, wanted)
    mask: Array = pc.is_in(values, pa.array(wanted, pa.large_string())).to_numpy(zero_copy_only=False)
    return mask


def label_counts(snapshot: Snapshot, window: Window | None, *, without: Collection[str] = ()) -> dict[Any, int]:
    """How many live samples have each label (the class's text where labels are classes), by label; None: not known yet.

    ``without``: files of shards that are left out. Raises DataError if labels are not single integers.
    """
    label = None if snapshot.head.schema is None else snapshot.head.schema.label
    if label is None:
        return {}
    if label.dtype != "int64" or label.shape:
        raise DataError(f"labels of type {label} have no counts: only single integers and classes do")
    counts: Counter[int] = Counter()
    num_unknown = 0
    for opened, rows in snapshot.stretches(window):
        if opened.shard.file in without:
            continue
        labels = snapshot.labels_of(opened, rows)
        assert labels is not None
        missing = unlabelled(labels)
        num_unknown += int(missing.sum())
        if missing.all():
            continue
        values, nums = count_integers(labels[~missing] if missing.any() else labels)
        counts.update(dict(zip(values.tolist(), nums.tolist(), strict=True)))
    names = snapshot.head.label_classes
    found = {value if names is None else names[value]: counts[value] for value in sorted(counts)}
    return found | ({None: num_unknown} if num_unknown else {})


def count_integers(values: Array) -> tuple[Array, Array]:
    """Distinct integers, ascending, and how often each is there; one pass where their range is small."""
    lowest, highest = int(values.min()), int(values.max())
    if highest - lowest > max(1 << 16, len(values)):
        return np.unique(values, return_counts=True)
    counts = np.bincount(values - lowest)
    there = np.flatnonzero(counts)
    return there + lowest, counts[there]


def time_histogram(snapshot: Snapshot, every_us: int, window: Window | None) -> tuple[Int64s, Int64s]:
    """``(starts[b], counts[b])``: live samples in each stretch of ``every_us`` microseconds, from the first to the last sample.

    Starts are multiples of ``every_us`` since 1970. Raises DataError for more than a million stretches.
    """
    if not isinstance(every_us, int | np.integer) or every_us <= 0:
        raise DataError(f"a histogram's step must be a whole number of microseconds above 0; got {every_us!r:.60}")
    parts = [opened.timestamps[rows] for opened, rows in snapshot.stretches(window)]
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first = min(int(part.min()) for part in parts) // every_us
    num = max(int(part.max()) for part in parts) // every_us - first + 1
    if num > _MOST_BINS:
        raise DataError(f"a step of {every_us} microseconds gives {num} stretches; at most {_MOST_BINS} are counted")
    counts = np.zeros(num, np.int64)
    for part in parts:
        counts += np.bincount(part // every_us - first, minlength=num)
    return (np.arange(num) + first) * every_us, counts


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What one day (UTC, the wall clock of the commits) added and deleted."""

    day: str
    num_added: int
    num_deleted: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A dataset at a glance. Times are microseconds, the last one inclusive; None where there is no sample."""

    name: str
    version: int
    num_samples: int
    num_deleted: int
    deleted_share: float
    num_shards: int
    num_bytes: int
    storage: str
    first_time: int | None
    last_time: int | None
    columns: Mapping[str, str]
    label_type: str | None
    label_counts: Mapping[Any, int] | None
    growth: tuple[Growth, ...]
    retention_us: int | None
    lost: tuple[str, ...] = ()
    """What is wrong with files of linked records. Their samples are counted, and their times are in the span; their labels are not counted."""

    @property
    def lost_text(self) -> str:
        """What is lost, in one line."""
        others = f", and {counted(len(self.lost) - 1, 'other file')}" if len(self.lost) > 1 else ""
        return f"{self.lost[0]}{others}: no labels are known of what lies there" if self.lost else ""

    def __str__(self) -> str:
        span = (
            "-" if self.first_time is None else f"{to_datetime(self.first_time)} to {to_datetime(self.last_time or 0)}"
        )
        lines = {
            "dataset": f"{self.name}, version {self.version}",
            "samples": f"{self.num_samples:,} (and {self.num_deleted:,} deleted, {self.deleted_share:.1%}, not yet purged)",
            "time": span,
            "size": f"{self.num_bytes:,} bytes in {counted(self.num_shards, 'shard')} ({self.storage})",
            "columns": ", ".join(f"{name}: {kind}" for name, kind in self.columns.items()) or "-",
            "label": self.label_type or "-",
        }
        if self.label_counts:
            shown = list(self.label_counts.items())
            lines["labels"] = ", ".join(f"{k}: {n:,}" for k, n in shown[:20]) + (", ..." if len(shown) > 20 else "")
        if self.lost:
            lines["lost"] = self.lost_text
        lines["growth"] = ", ".join(f"{g.day}: +{g.num_added:,} -{g.num_deleted:,}" for g in self.growth[-7:]) or "-"
        return "\n".join(f"{name:8} {text}" for name, text in lines.items())


def summary(connection: sa.Connection, snapshot: Snapshot) -> Summary:
    """A dataset at a glance, without reading a payload."""
    head, schema = snapshot.head, snapshot.head.schema
    lost: dict[str, str] = {}
    spans = [_span(opened, rows, lost) for opened, rows in snapshot.stretches()]
    countable = schema is not None and schema.label is not None and str(schema.label) == "int64"
    num_deleted = snapshot.deleted.count(0, snapshot.end_key)
    return Summary(
        name=head.name,
        version=snapshot.version,
        num_samples=snapshot.num_samples,
        num_deleted=num_deleted,
        deleted_share=num_deleted / max(1, snapshot.num_samples + num_deleted),
        num_shards=len(snapshot.shards),
        num_bytes=sum(shard.num_bytes for shard in snapshot.shards),
        storage=head.storage,
        first_time=min((first for first, _ in spans), default=None),
        last_time=max((last for _, last in spans), default=None),
        columns={} if schema is None else {name: str(column) for name, column in schema.columns.items()},
        label_type=None if schema is None or schema.label is None else str(schema.label),
        label_counts=label_counts(snapshot, None, without=lost) if countable else None,
        growth=growth(connection, head.id, snapshot.version),
        retention_us=head.retention_us,
        lost=tuple(dict.fromkeys(lost.values())),
    )


def _span(opened: OpenShard, rows: Rows, lost: dict[str, str]) -> tuple[int, int]:
    """The first and the last time of rows; of records whose file is lost, which is noted, those that the catalog has of all."""
    faults = opened.link_faults() if isinstance(opened, OpenRecords) else []
    if faults:
        lost[opened.shard.file] = faults[0]
        return opened.shard.min_time, opened.shard.max_time
    times = opened.timestamps[rows]
    return int(times.min()), int(times.max())


def growth(connection: sa.Connection, dataset_id: int, version: int) -> tuple[Growth, ...]:
    """What each day's commits added and deleted, up to a version, oldest first."""
    day = (COMMITS.c.at - COMMITS.c.at % _DAY_US).label("day")
    added = sa.func.sum(COMMITS.c.end_key - COMMITS.c.start_key)
    query = (
        sa.select(day, added.label("added"), sa.func.sum(COMMITS.c.num_deleted).label("deleted"))
        .where(COMMITS.c.dataset_id == dataset_id, COMMITS.c.version <= version)
        .group_by(day)
        .order_by(day)
    )
    return tuple(
        Growth(day=f"{to_datetime(int(row.day)):%Y-%m-%d}", num_added=int(row.added), num_deleted=int(row.deleted))
        for row in connection.execute(query)
    )
