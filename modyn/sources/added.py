"""What taking samples needs of a dataset, and what it says of how it went."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from modyn.errors import counted
from modyn.sources.rows import Bad
from modyn.types import Int64s, Window
from modyn.workspace import Workspace


class Writer(Protocol):
    """A transaction on a dataset."""

    @property
    def connection(self) -> sa.Connection: ...

    def append(self, columns: Any, *, timestamps: Int64s, labels: Any) -> range: ...

    def delete(self, keys: Int64s) -> Any: ...

    def label(self, keys: Int64s, labels: Any) -> int: ...

    def link_files(self, paths: Any, *, timestamps: Int64s, labels: Any) -> range: ...

    def link_records(self, records: Any) -> range: ...


class Dataset(Protocol):
    """What taking samples needs of a dataset."""

    @property
    def name(self) -> str: ...

    @property
    def workspace(self) -> Workspace: ...

    @property
    def storage(self) -> str: ...

    @property
    def end_key(self) -> int: ...

    def find_ids(self, column: str, ids: Any) -> Int64s: ...

    def reader(self, columns: Any = None) -> Any: ...

    def write(self) -> AbstractContextManager[Any]: ...

    def keys(self, window: Window | None = None) -> Int64s: ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an import is: samples and bad ones so far, bytes read of those to be read."""

    samples: int
    quarantined: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, kw_only=True)
class Added:
    """What one look at a source brought."""

    samples: int = 0
    labels: int = 0
    """Labels given to samples that were there already."""
    looked_for: frozenset[str] = frozenset()
    """What the sources looked at give: ``samples``, ``labels`` or both."""
    quarantined: int = 0
    deleted: int = 0
    files: int = 0
    seconds: float = 0.0
    waiting: tuple[str, ...] = ()
    """Files still being written."""
    refused: tuple[str, ...] = ()
    """What was reported instead of taken: changed files, vanished ones, empty ones."""
    first_bad: str | None = None

    def __add__(self, other: "Added") -> "Added":
        return Added(
            samples=self.samples + other.samples,
            labels=self.labels + other.labels,
            quarantined=self.quarantined + other.quarantined,
            deleted=self.deleted + other.deleted,
            files=self.files + other.files,
            seconds=self.seconds + other.seconds,
            waiting=self.waiting + other.waiting,
            refused=self.refused + other.refused,
            looked_for=self.looked_for | other.looked_for,
            first_bad=self.first_bad or other.first_bad,
        )

    def __str__(self) -> str:
        parts = []
        if self.samples or self.looked_for != {"labels"}:
            parts.append(f"{counted(self.samples, 'sample')} added")
        if self.labels or "labels" in self.looked_for:
            parts.append(f"{counted(self.labels, 'label')} delivered")
        parts.append(f"{self.quarantined:,} quarantined")
        if self.deleted:
            parts.append(f"{self.deleted:,} deleted")
        return ", ".join(parts) + f", {self.seconds:.1f} s"


def in_words(path: str, bad: Bad) -> str:
    """A bad sample in one line: where it stands (rows count from 1) and what is wrong."""
    return str(bad) if bad.row < 0 else f"{path}, row {bad.row + 1}: {bad}"
