"""A dataset in memory, for tests of what reads datasets: it answers as ``Dataset`` does, needs no workspace and touches no disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.datasets import columns as kinds
from modyn.datasets import labels as coding
from modyn.datasets import windows
from modyn.datasets.columns import Column, Values
from modyn.datasets.late import unknown
from modyn.datasets.ranks import as_keys
from modyn.errors import DataError, NotFound, did_you_mean
from modyn.types import Array, Columns, Int64s, Samples, Window

_NEVER = np.iinfo(np.int64).max


@dataclass
class _Content:
    """Everything that was ever appended; ``ends[v]`` is the key that version v ends before, ``deleted[n]`` the version without n."""

    ends: list[int]
    timestamps: Int64s
    deleted: Int64s
    label: Column | None
    labels: Array | None
    columns: dict[str, tuple[Column, Values]]
    late: list[tuple[int, Int64s, Array]] = field(default_factory=list)
    """Labels that came after their samples: the version that delivered them, keys, labels."""
    may_miss: bool = False


class MemoryDataset:
    """The appending, deleting and reading side of ``Dataset``, in memory.

    >>> dataset = MemoryDataset(label_classes=["cat", "dog"])
    >>> dataset.append({"x": np.arange(3.0)}, timestamps=[10, 20, 30], labels=["dog", "cat", "dog"])
    range(0, 3)
    >>> dataset.delete([1])
    1
    >>> dataset.samples(Window(0, 30, by="time")).labels.tolist()
    [1]
    >>> dataset.at(1).reader().read(np.array([1, 0]))["x"].tolist()
    [1.0, 0.0]
    """

    def __init__(self, name: str = "memory", *, label_classes: Sequence[str] | None = None) -> None:
        self.name = name
        self.label_classes = None if label_classes is None else tuple(label_classes)
        self._classes_fixed = label_classes is not None
        none = np.empty(0, np.int64)
        self._content = _Content([0], none, none, None, None, {})
        self._pinned: int | None = None

    @property
    def version(self) -> int:
        """The number of commits so far: each append and each delete makes a new version."""
        return len(self._content.ends) - 1 if self._pinned is None else self._pinned

    @property
    def end_key(self) -> int:
        """The key that the next sample will get."""
        return self._content.ends[self.version]

    @property
    def num_samples(self) -> int:
        """How many live samples there are."""
        return len(self.keys())

    @property
    def column_types(self) -> Mapping[str, str]:
        """The payload columns: a NumPy type with the shape of one sample, ``text`` or ``bytes``."""
        return {name: str(column) for name, (column, _) in self._content.columns.items()}

    @property
    def label_type(self) -> str | None:
        """``int64``, ``float32``, ``float64[3]``, ...; None while unlabelled."""
        return None if self._content.label is None else str(self._content.label)

    def at(self, version: int) -> "MemoryDataset":
        """The dataset as it was at a version, to read only. Raises NotFound if it never had that version."""
        if not 0 <= version < len(self._content.ends):
            newest = len(self._content.ends) - 1
            raise NotFound(f"dataset '{self.name}' has no version {version}; it has 0 to {newest}")
        pinned = MemoryDataset(self.name)
        pinned.label_classes, pinned._content, pinned._pinned = self.label_classes, self._content, version
        return pinned

    def since(self, version: int) -> Window:
        """The keys that were added after a version, as a window."""
        return Window(self.at(version).end_key, self.end_key)

    def label(self, keys: Any, labels: Any) -> int:
        """Give samples labels that became known later; returns how many got one. Raises NotFound for a key never given."""
        self._refuse_pinned()
        asked, content = as_keys(keys), self._content
        if len(asked) and (asked.min() < 0 or asked.max() >= self.end_key):
            raise NotFound(f"dataset '{self.name}' has no sample {asked.max() if asked.min() >= 0 else asked.min()}")
        live = content.deleted[asked] == _NEVER
        if not live.any():
            return 0
        label, coded = self._coded(labels)
        if label is None or coded is None or len(coded) != len(asked):
            raise DataError("labels are missing, or are not as many as keys")
        if content.label is None:
            content.label, content.labels = label, np.array(unknown(label, len(content.timestamps)))
        known = content.label
        content.may_miss = content.may_miss or known.dtype == "int64" or known.dtype.startswith("float")
        content.ends.append(self.end_key)
        content.late.append((self.version, asked[live], kinds.conform(known, label, coded)[live]))
        return len(np.unique(asked[live]))

    def _labels(self) -> Array | None:
        """The labels of all samples, as this version knows them."""
        content = self._content
        if content.labels is None or not content.late:
            return content.labels
        found = content.labels.copy()
        for version, keys, labels in content.late:
            if version <= self.version:
                found[keys] = labels  # of a key that is named twice the last counts
        return found

    def append(self, columns: Mapping[str, Any] | pa.Table, *, timestamps: Any, labels: Any = None) -> range:
        """Add samples; returns their keys. Raises DataError if they do not fit those before."""
        self._refuse_pinned()
        if isinstance(columns, pa.Table):
            columns = {name: columns.column(name) for name in columns.column_names}
        found = {name: kinds.normalise(name, values) for name, values in columns.items()}
        _, moments = kinds.normalise("timestamp", timestamps)
        moments = moments.astype("M8[us]").view(np.int64) if moments.dtype.kind == "M" else moments.astype(np.int64)
        label, coded = self._coded(labels)
        lengths = {
            len(moments),
            *(len(values) for _, values in found.values()),
            *([] if coded is None else [len(coded)]),
        }
        if len(lengths) > 1:
            raise DataError(f"columns, timestamps and labels differ in length: {sorted(lengths)}")
        start, old = self.end_key, self._content
        if not len(moments):
            return range(start, start)
        fits = (label is None) == (old.label is None) or (label is None and old.may_miss)
        if start and (set(found) != set(old.columns) or not fits):
            raise DataError(f"dataset '{self.name}': what is appended has other columns or labels")
        self._content.columns = {name: self._joined(name, *part) for name, part in found.items()}
        if label is not None and coded is not None:
            old.label = old.label or label
            fitting = kinds.conform(old.label, label, coded)
            old.labels = fitting if old.labels is None else np.concatenate((old.labels, fitting))
        elif old.label is not None and old.labels is not None:
            old.labels = np.concatenate((old.labels, unknown(old.label, len(moments))))
        old.timestamps = np.concatenate((old.timestamps, moments))
        old.deleted = np.concatenate((old.deleted, np.full(len(moments), _NEVER)))
        old.ends.append(start + len(moments))
        return range(start, self.end_key)

    def _joined(self, name: str, given: Column, values: Values) -> tuple[Column, Values]:
        if name not in self._content.columns:
            return given, values
        known, before = self._content.columns[name]
        return known, kinds.join([before, kinds.conform(known, given, values)])

    def _coded(self, given: Any) -> tuple[Column | None, Array | None]:
        if given is None:
            return None, None
        prepared = coding.prepare(given)
        if not isinstance(prepared, pa.Array):
            if self.label_classes is not None:
                coding.check_codes(prepared[1], self.label_classes)
            return prepared
        known = self.label_classes or ()
        if not self._classes_fixed:
            known = (*known, *coding.new_classes(prepared, known))
        codes = coding.encode(prepared, known)
        self.label_classes = known
        return Column("label", "array", "int64"), codes

    def delete(self, keys: Any) -> int:
        """Delete samples by key; returns how many were live. Raises NotFound for a key that was never given."""
        self._refuse_pinned()
        asked = np.unique(as_keys(keys))
        if len(asked) and (asked[0] < 0 or asked[-1] >= self.end_key):
            raise NotFound(f"dataset '{self.name}' has no sample {asked[-1] if asked[0] >= 0 else asked[0]}")
        doomed = asked[self._content.deleted[asked] == _NEVER]
        if len(doomed):
            self._content.ends.append(self.end_key)
            deleted = self._content.deleted.copy()
            deleted[doomed] = self.version
            self._content.deleted = deleted
        return len(doomed)

    def _refuse_pinned(self) -> None:
        if self._pinned is not None:
            raise DataError(f"dataset '{self.name}' at version {self._pinned} can be read only")

    def keys(self, window: Window | None = None) -> Int64s:
        """Keys of the live samples of a key or time window (None = all), ascending."""
        windows.check(window)
        live = self._content.deleted[: self.end_key] > self.version
        if window is not None:
            place = np.arange(self.end_key) if window.by == "key" else self._content.timestamps[: self.end_key]
            live = live & (place >= window.start) & (place < window.end)
        return np.flatnonzero(live)

    def samples(self, window: Window | None = None) -> Samples:
        """Live samples of a key or time window (None = all) in key order, without their payloads."""
        keys = self.keys(window)
        found = self._labels()
        return Samples(keys, self._content.timestamps[keys], None if found is None else found[keys])

    def reader(self, columns: Sequence[str] | None = None) -> "MemoryReader":
        """Reads payloads by key (``columns``: only these). Raises DataError for an unknown column."""
        known = self._content.columns
        for name in columns or ():
            if name not in known:
                raise DataError(f"dataset '{self.name}' has no column '{name}'. {did_you_mean(name, known)}")
        return MemoryReader(self, columns)


class MemoryReader:
    """Reads a ``MemoryDataset``'s payloads by key, as ``Reader`` does; what is appended can be read, what is deleted cannot."""

    def __init__(self, dataset: MemoryDataset, names: Sequence[str] | None) -> None:
        self._dataset = dataset
        self._names = names

    def read(self, keys: Int64s) -> Columns:
        """The payload columns of ``keys`` in that order. Raises NotFound if a key was never given or is deleted."""
        asked, known = self._present(keys), self._dataset._content.columns
        return {name: _taken(*known[name], asked) for name in (known if self._names is None else self._names)}

    def labels(self, keys: Int64s) -> Array | None:
        """The labels of ``keys`` in that order; None if unlabelled."""
        found = self._dataset._labels()
        return None if found is None else found[self._present(keys)]

    def timestamps(self, keys: Int64s) -> Int64s:
        """The timestamps of ``keys`` in that order."""
        return self._dataset._content.timestamps[self._present(keys)]

    def only(self, keys: Int64s) -> "MemoryReader":
        """This reader, whatever the keys."""
        return self

    def announce(self, keys: Int64s) -> None:
        """Do nothing: everything is in memory."""

    def _present(self, keys: Int64s) -> Int64s:
        asked = as_keys(keys)
        gone = asked[~np.isin(asked, self._dataset.keys())]
        if len(gone):
            raise NotFound(f"dataset '{self._dataset.name}' has no sample {gone[0]}, or it is deleted")
        return asked


def _taken(column: Column, values: Values, keys: Int64s) -> Array:
    if isinstance(values, np.ndarray):
        return values[keys].astype(column.storage_dtype, copy=False)
    found = values.take(pa.array(keys)).to_pylist()
    out = np.empty(len(found), object)
    out[:] = found if column.kind == "text" else [None] * len(found)
    if column.kind == "bytes":
        for place, one in enumerate(found):
            out[place] = memoryview(one)
    return out
