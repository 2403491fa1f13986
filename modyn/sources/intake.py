"""Taking samples from one source into a dataset: what is new, in transactions that also write the ledger."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from modyn.errors import BadSample, DataError
from modyn.sources import FileSource, Source, ledger
from modyn.sources.hashing import Hashes, column_hashes, content_hashes
from modyn.sources.ledger import Extent, Known, Taken
from modyn.sources.paths import find_files
from modyn.sources.plan import UNFINISHED, Plan, Settling, Task, compare
from modyn.sources.rows import START, Bad, Cursor, File, Labels, Rows, Shaped
from modyn.sources.shape import Layout, shape
from modyn.sources.times import now_us, time_in_name
from modyn.types import Int64s
from modyn.workspace import Workspace

BATCH = 64 << 20
"""Bytes of samples that one transaction appends."""


class Writer(Protocol):
    """A transaction on a dataset."""

    @property
    def connection(self) -> sa.Connection: ...

    def append(self, columns: Any, *, timestamps: Int64s, labels: Any) -> range: ...

    def delete(self, keys: Int64s) -> Any: ...


class Dataset(Protocol):
    """What taking samples needs of a dataset."""

    @property
    def name(self) -> str: ...

    @property
    def workspace(self) -> Workspace: ...

    def write(self) -> AbstractContextManager[Any]: ...


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
            quarantined=self.quarantined + other.quarantined,
            deleted=self.deleted + other.deleted,
            files=self.files + other.files,
            seconds=self.seconds + other.seconds,
            waiting=self.waiting + other.waiting,
            refused=self.refused + other.refused,
            first_bad=self.first_bad or other.first_bad,
        )

    def __str__(self) -> str:
        parts = [f"{self.samples:,} samples added", f"{self.quarantined:,} quarantined"]
        if self.deleted:
            parts.append(f"{self.deleted:,} deleted")
        return ", ".join(parts) + f", {self.seconds:.1f} s"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Samples of one file, and the file's row in the ledger once they are in."""

    path: str
    shaped: Shaped
    taken: Taken | None


class Overtaken(Exception):
    """Another process has taken from the source meanwhile; what was read is read again by what it left."""


@dataclass(kw_only=True)
class Intake:
    """Takes samples from one source; ``look`` takes what is new since the last one took."""

    dataset: Dataset
    source: Source
    source_id: int
    clock: Callable[[], int] = now_us
    progress: Callable[[Progress], None] | None = None
    _settling: Settling | None = None
    _reported: set[tuple[str, int]] = field(default_factory=set)

    def look(self) -> Added:
        """Take everything that is new.

        Raises BadSample at the first unusable sample if the source says ``on_bad_sample: fail``, with nothing of its batch
        committed; DataError if the source cannot be read, or if none of a new dataset's rows is usable.
        """
        for _ in range(20):
            try:
                return _Look(self).take()
            except Overtaken:
                continue
        raise DataError(
            f"dataset '{self.dataset.name}': other processes take from {self.source.describe()} all the time"
        )

    @property
    def settling(self) -> Settling:
        """What has been seen of files that may still be written."""
        if self._settling is None:
            self._settling = Settling(self.source.settle if isinstance(self.source, FileSource) else 0)
        return self._settling


class _Look:
    """One look at a source, from the ledger as it stands to the last commit."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.source = intake.source
        self.began = time.monotonic()
        with intake.dataset.workspace.engine.connect() as connection:
            self.known: Known = ledger.known(
                connection.execution_options(read_only=True), intake.source_id, intake.source
            )
        self.layout = self.known.layout
        self.is_first = self.layout is None
        self.pieces: list[Piece] = []
        self.num_bytes = 0
        self.added = Added()
        self.bytes_done = self.bytes_total = 0

    def take(self) -> Added:
        if isinstance(self.source, FileSource):
            self._take_files(self.source)
        else:
            self._take_stream()
        self._commit()
        if self.is_first and not self.added.samples and not self.added.waiting:
            raise DataError(f"{self.source.describe()} holds no samples")
        return replace(self.added, seconds=time.monotonic() - self.began)

    def _take_stream(self) -> None:
        name = self.source.describe()
        before = self.known.files.get(name) if self.source.remembers else None
        for rows in self.source.rows_after(before.cursor if before else START, self.layout):
            shaped = self._shaped(rows, name, None)
            taken = None
            if self.source.remembers:
                taken = Taken(
                    path=name, size=0, mtime_us=0, head="", tail="", cursor=rows.end, id=before.id if before else 0
                )
            self._add(Piece(path=name, shaped=shaped, taken=taken))

    def _take_files(self, source: FileSource) -> None:
        found = find_files(source.path, suffixes=source.suffixes, include=source.include)
        if not found and self.is_first:
            raise DataError(
                f"{source.path} holds no file ending in {', '.join(source.suffixes)}"
                if not source.include
                else f"{source.path} holds no file that matches {source.include}"
            )
        now = self.intake.clock()
        plan = compare(source, found, self.known.files, settling=self.intake.settling, now_us=now)
        self._report(source, plan)
        if plan.notes:
            self._write_notes(plan.notes)
        self.bytes_total = sum(
            t.file.size - (t.before.size if t.before and t.kind == "grown" else 0) for t in plan.tasks
        )
        for task in plan.tasks:
            if task.kind == "changed":
                self._take_changed(source, task)
            else:
                self._take_file(source, task)
            self.added = replace(self.added, files=self.added.files + 1)
        for taken in plan.vanished:
            self._vanish(source, taken)

    def _report(self, source: FileSource, plan: Plan) -> None:
        messages = [f"{file.path} is empty" for file in plan.empty]
        self.added = replace(self.added, waiting=tuple(f.path for f in plan.waiting), refused=tuple(messages))
        if self.is_first and not plan.tasks and not plan.waiting and messages:
            raise DataError(messages[0])

    def _take_file(self, source: FileSource, task: Task) -> None:
        """A new file, or the new end of one that has grown."""
        cursor = task.before.cursor if task.before else START
        part = replace(task.taken, mtime_us=UNFINISHED)
        try:
            for rows, shaped in self._read(source, task.file, cursor):
                cursor = rows.end
                self._add(Piece(path=task.file.path, shaped=shaped, taken=replace(part, cursor=cursor)))
                part = replace(part, id=self._id_of(task.file.path))
        except FileNotFoundError:
            return
        except BadSample:
            raise
        except DataError as error:
            self._add(_whole_file_bad(task.file.path, cursor, part, str(error)))
        self._add(Piece(path=task.file.path, shaped=_nothing(), taken=replace(task.taken, cursor=cursor)))

    def _id_of(self, path: str) -> int:
        known = self.known.files.get(path)
        return known.id if known else 0

    def _read(self, source: FileSource, file: File, cursor: Cursor) -> Iterator[tuple[Rows, Shaped]]:
        """The samples of a file from a cursor on. Raises DataError if it cannot be read."""
        fixed = self._fixed_time(source, file)
        start = cursor.offset
        try:
            for rows in source.rows(file, cursor, self.layout):
                yield rows, self._shaped(rows, file.path, fixed)
                if self.bytes_total:
                    self.bytes_done += max(0, min(rows.end.offset - start, file.size))
                    start = rows.end.offset
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, EOFError, UnicodeError, ValueError) as error:
            raise DataError(f"{file.path} cannot be read: {error}") from error

    def _fixed_time(self, source: FileSource, file: File) -> int | None:
        if source.time_from == "mtime":
            return file.mtime_us
        if source.time_from == "file-name":
            return time_in_name(
                file.path,
                pattern=source.time_pattern or "",
                layout=source.time_format,
                unit=source.time_unit,
                timezone=source.timezone,
            )
        return self.intake.clock() if source.time_from == "arrival" or source.timestamp is None else None

    def _shaped(self, rows: Rows, where: str, fixed_time: int | None) -> Shaped:
        if fixed_time is None and self.source.timestamp is None:
            fixed_time = self.intake.clock()
        shaped, self.layout = shape(rows, self.source, self.layout, where=where, fixed_time=fixed_time)
        if shaped.bad and self.source.on_bad_sample == "fail":
            raise BadSample(in_words(where, shaped.bad[0]))
        return shaped

    def _add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.num_bytes += piece.shaped.table.nbytes
        if self.num_bytes >= BATCH:
            self._commit()

    def _commit(self, *, delete: Int64s | None = None, forget: Mapping[int, Extent] | None = None) -> None:
        """Append what has been gathered, with its rows of the ledger and the quarantine, in one transaction."""
        pieces, self.pieces, self.num_bytes = self.pieces, [], 0
        if not pieces and delete is None:
            return
        good = [p for p in pieces if len(p.shaped)]
        bad = [(p.path, b) for p in pieces for b in p.shaped.bad]
        now = self.intake.clock()
        if not good and self.is_first and not self.added.samples:
            if bad:
                raise DataError(self._none_usable(bad))
            return
        with self.intake.dataset.write() as writer:
            self.known = self._record(writer, pieces, good, bad, now)
            if delete is not None and len(delete):
                writer.delete(delete)
            if forget:
                ledger.forget_rows(writer.connection, forget)
        self._count(sum(len(p.shaped) for p in good), bad, 0 if delete is None else len(delete))

    def _record(
        self, writer: Writer, pieces: Sequence[Piece], good: Sequence[Piece], bad: Sequence[tuple[str, Bad]], now: int
    ) -> Known:
        keys = append(writer, [p.shaped for p in good]) if good else range(0)
        connection = (
            writer.connection
        )  # from here on the catalog is locked: the rows are already on their way to the disk
        known = ledger.advance(connection, self.known, self.layout)
        if known is None:
            raise Overtaken
        latest = {p.path: p.taken for p in pieces if p.taken is not None}
        known = ledger.record(connection, known, list(latest.values()), at=now)
        start, extents = keys.start, []
        for piece in good:
            end = start + len(piece.shaped)
            if piece.taken is not None:
                identities, contents = self._hashes(piece.shaped)
                extent = Extent(first_key=start, end_key=end, identities=identities, contents=contents)
                extents.append((known.files[piece.path].id, extent))
            start = end
        ledger.add_extents(connection, extents)
        ledger.quarantine(connection, known, bad, at=now)
        return known

    def _hashes(self, shaped: Shaped) -> tuple[Hashes | None, Hashes | None]:
        """What tells a row again, and its content if that is another thing; kept only if changed files may be taken."""
        if not isinstance(self.source, FileSource) or self.source.changed == "refuse":
            return None, None
        if self.source.id is None:
            return content_hashes(shaped), None
        return column_hashes(shaped, self.source.id), content_hashes(shaped)

    def _count(self, samples: int, bad: Sequence[tuple[str, Bad]], deleted: int) -> None:
        first = self.added.first_bad or (in_words(*bad[0]) if bad else None)
        self.added = self.added + Added(samples=samples, quarantined=len(bad), deleted=deleted, first_bad=first)
        if self.intake.progress is not None:
            self.intake.progress(
                Progress(
                    samples=self.added.samples,
                    quarantined=self.added.quarantined,
                    bytes_done=self.bytes_done,
                    bytes_total=self.bytes_total,
                )
            )

    def _none_usable(self, bad: Sequence[tuple[str, Bad]]) -> str:
        path, first = bad[0]
        if first.row < 0:
            return first.reason
        return f"none of the {len(bad)} rows can be used; the first: {in_words(path, first)}"

    def _write_notes(self, notes: Sequence[Taken]) -> None:
        with self.intake.dataset.workspace.transaction() as connection:
            known = ledger.advance(connection, self.known, None)
            if known is None:
                raise Overtaken
            ledger.record(connection, known, notes, at=self.intake.clock())
        with self.intake.dataset.workspace.engine.connect() as connection:
            self.known = ledger.known(connection.execution_options(read_only=True), self.intake.source_id, self.source)

    def _take_changed(self, source: FileSource, task: Task) -> None:
        if source.changed == "refuse":
            message = f"{task.file.path} has changed since it was taken; choose changed: append-new or changed: replace"
            self.added = replace(self.added, refused=(*self.added.refused, message))

    def _vanish(self, source: FileSource, taken: Taken) -> None:
        message = f"{taken.path} is gone"
        self.added = replace(self.added, refused=(*self.added.refused, message))


def append(writer: Writer, samples: Sequence[Shaped]) -> range:
    """Append several stretches of samples as one."""
    table = pa.concat_tables([s.table for s in samples]) if len(samples) > 1 else samples[0].table
    times = np.concatenate([s.timestamps for s in samples])
    return writer.append(table, timestamps=times, labels=_joined([s.labels for s in samples]))


def _joined(labels: Sequence[Labels]) -> Labels:
    if labels[0] is None:
        return None
    return pa.concat_arrays(labels) if isinstance(labels[0], pa.Array) else np.concatenate(labels)  # type: ignore[arg-type]


def in_words(path: str, bad: Bad) -> str:
    """A bad sample in one line: where it stands (rows count from 1) and what is wrong."""
    return str(bad) if bad.row < 0 else f"{path}, row {bad.row + 1}: {bad}"


def _nothing() -> Shaped:
    none = np.empty(0, np.int64)
    return Shaped(pa.table({}), none, None, none)


def _whole_file_bad(path: str, cursor: Cursor, taken: Taken, reason: str) -> Piece:
    shaped = replace(_nothing(), bad=[Bad(row=-1, reason=reason)])
    return Piece(path=path, shaped=shaped, taken=replace(taken, cursor=cursor))
