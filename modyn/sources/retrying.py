"""Trying samples again that were set aside: after a fix of the source's options, of a label file, or of the data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from modyn.errors import DataError, counted
from modyn.sources import FileSource, Source, ledger
from modyn.sources.added import Added, Dataset, Writer
from modyn.sources.gathering import Gathering, Overtaken, Piece, nothing
from modyn.sources.ledger import Quarantined, Taken
from modyn.sources.paths import fingerprint, look_at
from modyn.sources.rows import START, UNREADABLE, Bad, Cursor, File, Rows, as_arrow
from modyn.sources.times import now_us
from modyn.types import Int64s


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What trying again came to: now samples or labels, still unusable, and those that could not be tried, with the reasons."""

    samples: int = 0
    labels: int = 0
    still_bad: int = 0
    untried: int = 0
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        labels = f"{counted(self.labels, 'label')} delivered, " if self.labels else ""
        samples = f"{counted(self.samples, 'sample')} added, " if self.samples or not labels else ""
        return f"{samples}{labels}{self.still_bad:,} still unusable, {self.untried:,} could not be tried"


def retry(dataset: Dataset, *, source: Source | None = None, clock: Callable[[], int] = now_us) -> Retried:
    """Try every sample of a dataset that was set aside again; usable ones are appended and leave the quarantine.

    ``source`` gives other options to the dataset's one source, which are remembered. Raises DataError if it has several.
    """
    ledger.prepare(dataset.workspace)
    with dataset.workspace.transaction() as connection:
        sources = ledger.sources_of(connection, dataset.name)
        if source is not None:
            if len(sources) != 1:
                raise DataError(
                    f"dataset '{dataset.name}' has {counted(len(sources), 'source')}: other options could be meant for any"
                )
            ledger.redefine(connection, sources[0][0], source)
            sources = [(sources[0][0], source)]
        waiting = ledger.quarantined(connection, dataset.name)
    found = Retried()
    for number, known in sources:
        mine = [q for q in waiting if q.source_id == number]
        if mine:
            again = _Again(dataset, known, number, clock).run(mine)
            found = Retried(
                samples=found.samples + again.samples,
                labels=found.labels + again.labels,
                still_bad=found.still_bad + again.still_bad,
                untried=found.untried + again.untried,
                reasons=found.reasons + again.reasons,
            )
    return found


class _Again:
    """One source's samples that were set aside, tried again in one transaction."""

    def __init__(self, dataset: Dataset, source: Source, source_id: int, clock: Callable[[], int]) -> None:
        self.source = source.model_copy(update={"on_bad_sample": "quarantine"})
        self.gathering = Gathering(dataset, self.source, source_id, clock=clock)
        self.released: list[int] = []
        self.reasons: list[str] = []

    def run(self, waiting: Sequence[Quarantined]) -> Retried:
        if isinstance(self.source, FileSource):
            if self.source.one_each:
                self._files(self.source, waiting)
            else:
                for path, some in groupby(sorted(waiting, key=lambda q: (q.path, q.bad.row)), key=lambda q: q.path):
                    self._file(self.source, path, list(some))
        else:
            self.reasons.append(f"what came from {self.source.describe()} cannot be read again: add it once more")

        def finish(writer: Writer) -> int:
            ledger.release(writer.connection, self.released)
            return 0

        if self.released:
            try:
                self.gathering.commit(finish=finish)
            except Overtaken:
                raise DataError("another process is taking from the source just now; try again") from None
        added: Added = self.gathering.added
        untried = len(waiting) - len(self.released)
        return Retried(
            samples=added.samples,
            labels=added.labels,
            still_bad=added.quarantined,
            untried=untried,
            reasons=tuple(self.reasons),
        )

    def _gather(self, piece: Piece, tried: Sequence[Quarantined]) -> None:
        self.gathering.pieces.append(piece)
        self.released.extend(q.id for q in tried)

    def _files(self, source: FileSource, waiting: Sequence[Quarantined]) -> None:
        pairs = [(q, look_at(q.path)) for q in waiting]
        there = [(q, file) for q, file in pairs if file is not None and q.path in self.gathering.known.files]
        self.reasons.extend(f"{q.path} is gone" for q, file in pairs if file is None)
        if there:
            files = [file for _, file in there]
            rows = source.together(files)
            shaped = self.gathering.shaped(rows, source.path, self.gathering.times_of(files, rows.numbers))
            each = [self.gathering.known.files[q.path] for q, _ in there]
            self._gather(Piece(path=source.path, shaped=shaped, each=each), [q for q, _ in there])

    def _file(self, source: FileSource, path: str, waiting: Sequence[Quarantined]) -> None:
        file, taken = look_at(path), self.gathering.known.files.get(path)
        if taken is None:
            self.reasons.append(f"{path} is not known any more")
            return
        try:
            whole = [q for q in waiting if q.bad.row < 0]
            rows = [q for q in waiting if q.bad.row >= 0]
            if whole:
                self._rest_of(source, file, taken, whole)
            if rows:
                self._rows_of(source, path, file, taken, rows)
        except (DataError, OSError) as error:
            self.reasons.append(str(error))

    def _rest_of(self, source: FileSource, file: File | None, taken: Taken, waiting: Sequence[Quarantined]) -> None:
        """The rows of a file that could not be read, from where reading stopped."""
        if file is None:
            raise DataError(f"{taken.path} is gone")
        head, tail = fingerprint(file)
        times = self.gathering.time_of(file)
        cursor, pieces = taken.cursor, []
        for rows in _careful(source, file, cursor, self.gathering):
            cursor = rows.end
            pieces.append(self.gathering.shaped(rows, file.path, times))
        done = replace(taken, size=file.size, mtime_us=file.mtime_us, head=head, tail=tail, cursor=cursor)
        for shaped in pieces or [nothing()]:
            self.gathering.pieces.append(Piece(path=file.path, shaped=shaped, taken=done))
        self.released.extend(q.id for q in waiting)

    def _rows_of(
        self, source: FileSource, path: str, file: File | None, taken: Taken, waiting: Sequence[Quarantined]
    ) -> None:
        numbers = np.array([q.bad.row for q in waiting], np.int64)
        times = None if file is None else self.gathering.time_of(file)
        raws = [q.bad.raw for q in waiting]
        kept = [raw for raw in raws if raw is not None]
        rows = source.again(kept, file, self.gathering.layout) if len(kept) == len(raws) else None
        found = [] if rows is None else [_renumbered(rows, numbers)]
        if rows is None:
            if file is None or fingerprint(file, taken.size) != (taken.head, taken.tail):
                raise DataError(f"{path} is gone, or has changed since")
            found = [_chosen(rows, numbers) for rows in _careful(source, file, START, self.gathering)]
        tried: set[int] = set()
        for part in found:
            tried |= {*part.numbers.tolist(), *(bad.row for bad in part.bad)}
            shaped = self.gathering.shaped(part, path, times)
            self.gathering.pieces.append(Piece(path=path, shaped=shaped, taken=taken))
        self.released.extend(q.id for q in waiting if q.bad.row in tried)


def _careful(source: FileSource, file: File, start: Cursor, gathering: Gathering) -> Sequence[Rows]:
    try:
        return list(source.rows(file, start, gathering.layout))
    except (*UNREADABLE, OSError) as error:
        raise DataError(f"{file.path} cannot be read: {error}") from error


def _renumbered(rows: Rows, numbers: Int64s) -> Rows:
    """Rows read from bytes that were kept, under the numbers that they had in their file."""
    bad = [replace(b, row=int(numbers[b.row])) for b in rows.bad]
    return Rows(rows.table, numbers[rows.numbers], rows.end, bad, rows.raw)


def _chosen(rows: Rows, numbers: Int64s) -> Rows:
    """Only the rows of these numbers."""
    where = np.flatnonzero(np.isin(rows.numbers, numbers))
    wanted = set(numbers.tolist())
    bad: list[Bad] = [b for b in rows.bad if b.row in wanted]
    return Rows(rows.table.take(as_arrow(where)), rows.numbers[where], rows.end, bad, lambda i: rows.raw(where[i]))
