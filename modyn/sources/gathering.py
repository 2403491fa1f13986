"""Gathering samples until there are enough for a transaction, and committing them with their rows of the ledger."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.errors import BadSample, DataError
from modyn.sources import FileSource, Source, ledger
from modyn.sources.added import Added, Dataset, Progress, Writer, in_words
from modyn.sources.delivering import deliver
from modyn.sources.hashing import Hashes, column_hashes, content_hashes
from modyn.sources.ledger import Extent, Known, Taken
from modyn.sources.paths import is_local
from modyn.sources.rows import Bad, File, Labels, Rows, Shaped
from modyn.sources.shape import NOT_A_TIME, shape
from modyn.sources.times import time_in_name
from modyn.types import Int64s

BATCH = 256 << 20
"""Bytes of samples that one transaction appends."""
STRETCH = 16 << 20
"""So many bytes of local files are handed to the writer at a time, which writes them while the next are read."""
SMALL = 4 << 20
"""Stretches of fewer bytes are joined before they are appended."""


class Overtaken(Exception):
    """Another process has taken from the source meanwhile; what was read is read again by what it left."""


class Abandoned(Exception):
    """What was handed to the writer is not to be committed."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Samples of one file, and the file's row in the ledger once they are in."""

    path: str
    shaped: Shaped
    taken: Taken | None = None
    each: Sequence[Taken] = ()
    """With one file a sample: the files; a row's number is its file's place here."""
    records: Mapping[str, Any] | None = None
    """Where the samples lie, if they stay in the file."""

    def __len__(self) -> int:
        return len(self.shaped) if self.records is None else int(self.records["num_records"])

    def files(self) -> Sequence[Taken]:
        """The rows of the ledger to be written with this piece."""
        return self.each or ([] if self.taken is None else [self.taken])

    def bad(self) -> list[tuple[str, Bad]]:
        """The unusable samples, each with its file."""
        if not self.each:
            return [(self.path, bad) for bad in self.shaped.bad]
        return [(self.each[bad.row].path, replace(bad, row=0)) for bad in self.shaped.bad]


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A piece that the writer has: all of it but the samples themselves, and what is to be known of them."""

    piece: Piece
    keys: range
    contents: Hashes | None
    subjects: Hashes | None


class Gathering:
    """What one look at a source has read and not yet committed, and the ledger as this look knows it.

    What has been handed to the writer is given up where the ``with`` block ends without a commit.
    """

    def __init__(
        self,
        dataset: Dataset,
        source: Source,
        source_id: int,
        *,
        clock: Callable[[], int],
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.dataset = dataset
        self.source = source
        self.source_id = source_id
        self.clock = clock
        self.progress = progress
        self.known: Known
        self.reload()
        self.layout = self.known.layout
        self.is_first = self.layout is None
        self.pieces: list[Piece] = []
        """Read, and not handed to the writer yet."""
        self.num_bytes = self._num_entered_bytes = 0
        self._entered: list[Entered] = []
        self._num_labels = 0
        self._open = ExitStack()
        self._writer: Writer | None = None
        # The writer keeps other appenders waiting, so it is open while reading only where reading cannot stall.
        self._streams = isinstance(source, FileSource) and is_local(source.path)
        looked_for = "samples" if source.labels_of is None else "labels"
        self.added = Added(looked_for=frozenset({looked_for}))
        self.bytes_done = self.bytes_total = 0

    def __enter__(self) -> "Gathering":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def reload(self) -> None:
        """Read the ledger as it stands."""
        with self.dataset.workspace.engine.connect() as connection:
            self.known = ledger.known(connection.execution_options(read_only=True), self.source_id, self.source)

    def shaped(self, rows: Rows, where: str, times: Int64s | int | None) -> Shaped:
        """Samples from rows. Raises BadSample if one is unusable and the source says ``on_bad_sample: fail``."""
        if times is None and self.source.timestamp is None:
            times = self.clock()
        if rows.bad and not rows.table.num_columns:  # not one row could be parsed, so nothing is known of columns
            shaped, layout = replace(nothing(), bad=rows.bad), self.layout
        else:
            shaped, layout = shape(rows, self.source, self.layout, where=where, times=times)
        if shaped.bad and self.source.on_bad_sample == "fail":
            raise BadSample(in_words(where, shaped.bad[0]))
        self.layout = layout
        return shaped

    def time_of(self, file: File) -> int | None:
        """The time of all samples of a file, if it does not stand in their columns. Raises BadSample if the path tells none."""
        source = self.source
        assert isinstance(source, FileSource)
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
        return self.clock() if source.time_from == "arrival" or source.timestamp is None else None

    def times_of(self, files: Sequence[File], numbers: Int64s) -> Int64s | int | None:
        """The time of each of the rows ``numbers``, if it does not stand in their columns; NOT_A_TIME where the path tells none."""
        source = self.source
        assert isinstance(source, FileSource)
        if source.time_from not in ("mtime", "file-name"):
            return self.time_of(files[0])
        return np.array([self._time_or_none(files[number]) for number in numbers.tolist()], np.int64)

    def _time_or_none(self, file: File) -> int:
        try:
            return self.time_of(file) or 0
        except BadSample:
            return NOT_A_TIME

    def add(self, piece: Piece) -> None:
        """Take in a piece; commit what has been gathered if that is enough for a transaction."""
        self.pieces.append(piece)
        self.num_bytes += piece.shaped.table.nbytes
        if self.num_bytes >= BATCH:
            self.commit()
        elif self._streams and self.num_bytes - self._num_entered_bytes >= STRETCH:
            self._enter()

    def abandon(self) -> None:
        """Give up what has not been committed."""
        self.pieces, self._entered, self.num_bytes, self._num_entered_bytes, self._writer = [], [], 0, 0, None
        self._num_labels = 0
        error = Abandoned()
        with suppress(Abandoned):
            self._open.__exit__(Abandoned, error, None)

    def _enter(self) -> Writer:
        """Hand what has been read to the writer."""
        if self._writer is None:
            self._writer = self._open.enter_context(self.dataset.write())
        pieces, self.pieces = self.pieces, []
        self._num_entered_bytes = self.num_bytes
        if self.source.labels_of is not None:
            self._entered += [self._delivered(self._writer, piece) for piece in pieces]
            return self._writer
        good = [piece for piece in pieces if len(piece)]
        start = self._append(self._writer, good).start if good else 0
        for piece in pieces:
            contents, subjects = self._hashes(piece.shaped) if len(piece) and piece.files() else (None, None)
            light = replace(piece, shaped=replace(piece.shaped, table=_NO_COLUMNS, labels=None))
            keys = range(start, start + len(piece)) if len(piece) else range(0)
            self._entered.append(Entered(piece=light, keys=keys, contents=contents, subjects=subjects))
            start += len(piece)
        return self._writer

    def _delivered(self, writer: Writer, piece: Piece) -> Entered:
        """Give samples that are there the labels of a piece. Raises BadSample for a label of none, if the source says so."""
        num, bad = deliver(writer, self.dataset, self.source, piece.shaped) if len(piece) else (0, [])
        if bad and self.source.on_bad_sample == "fail":
            raise BadSample(in_words(piece.path, bad[0]))
        light = replace(nothing(), bad=[*piece.shaped.bad, *bad])
        self._num_labels += num
        return Entered(piece=replace(piece, shaped=light), keys=range(0), contents=None, subjects=None)

    def commit(self, *, finish: Callable[[Writer], int] | None = None) -> None:
        """Append what has been gathered, with its rows of the ledger and the quarantine, in one transaction.

        ``finish`` may do more in it, and says how many samples it deleted.
        """
        if not self.pieces and not self._entered and finish is None:
            return
        pieces = [*(entered.piece for entered in self._entered), *self.pieces]
        taken = sum(len(piece) for piece in pieces) + self._num_labels
        if not taken and self.is_first and not self.added.samples and not self.added.labels:
            bad = [found for piece in pieces for found in piece.bad()]
            self.abandon()
            if bad:
                raise DataError(_none_usable(bad))
            return
        try:
            writer = self._enter()
            samples = sum(len(entered.piece) for entered in self._entered)
            bad = [found for entered in self._entered for found in entered.piece.bad()]
            with self.dataset.workspace.clear_errors():
                known = self._write(writer, bad)
                deleted = finish(self._writer) if finish is not None and self._writer is not None else 0
            opened, self._open, self._writer = self._open, ExitStack(), None
            opened.close()
        except BaseException:
            self.abandon()
            raise
        self._entered, self.num_bytes, self._num_entered_bytes = [], 0, 0
        self.known = known
        self._count(samples, bad, deleted)
        self._num_labels = 0

    def _write(self, writer: Writer, bad: Sequence[tuple[str, Bad]]) -> Known:
        """The rows of the ledger and the quarantine for what has been entered."""
        connection = writer.connection  # locks the catalog, so it comes after the append
        known = ledger.advance(connection, self.known, self.layout)
        if known is None:
            raise Overtaken
        latest = {taken.path: taken for entered in self._entered for taken in entered.piece.files()}
        known = ledger.record(connection, known, list(latest.values()), at=self.clock())
        extents = [extent for entered in self._entered if len(entered.piece) for extent in _extents_of(entered, known)]
        ledger.add_extents(connection, extents)
        ledger.quarantine(connection, known, bad, at=self.clock())
        return known

    def _append(self, writer: Writer, good: Sequence[Piece]) -> range:
        """Append pieces in their order, or note where they lie; their keys."""
        if self.dataset.storage != "link":
            return append(writer, [p.shaped for p in good])
        keys = [_link(writer, piece) for piece in good]
        return range(keys[0].start, keys[-1].stop)

    def _hashes(self, shaped: Shaped) -> tuple[Hashes | None, Hashes | None]:
        """What tells a row and its subject again; kept only if changed files may be taken."""
        if not isinstance(self.source, FileSource) or self.source.changed == "refuse" or self.dataset.storage == "link":
            return None, None
        return self.hashes(shaped)

    def hashes(self, shaped: Shaped) -> tuple[Hashes, Hashes | None]:
        """``contents[n]`` and, if there is an id column, ``subjects[n]``. A time of arrival is no part of a row."""
        with_time = self.source.timestamp is not None and getattr(self.source, "time_from", None) in (None, "column")
        salt = self.layout.salt if self.layout is not None else ""
        subjects = None if self.source.id is None else column_hashes(shaped, self.source.id, salt=salt)
        return content_hashes(shaped, with_time=with_time, salt=salt), subjects

    def _count(self, samples: int, bad: Sequence[tuple[str, Bad]], deleted: int) -> None:
        first = self.added.first_bad or (in_words(*bad[0]) if bad else None)
        self.added = replace(
            self.added,
            samples=self.added.samples + samples,
            labels=self.added.labels + self._num_labels,
            quarantined=self.added.quarantined + len(bad),
            deleted=self.added.deleted + deleted,
            first_bad=first,
        )
        if self.progress is not None:
            added, done, total = self.added, self.bytes_done, self.bytes_total
            self.progress(
                Progress(samples=added.samples, quarantined=added.quarantined, bytes_done=done, bytes_total=total)
            )


def _extents_of(entered: Entered, known: Known) -> Iterator[tuple[int, Extent]]:
    """Which keys a piece's files became."""
    piece, contents, subjects, start = entered.piece, entered.contents, entered.subjects, entered.keys.start
    if not piece.files():
        return
    if not piece.each:
        extent = Extent(start, entered.keys.stop, contents=contents, subjects=subjects)
        yield known.files[piece.path].id, extent
        return
    for row, number in enumerate(piece.shaped.numbers.tolist()):
        one = slice(row, row + 1)
        extent = Extent(
            start + row,
            start + row + 1,
            contents=None if contents is None else contents[one],
            subjects=None if subjects is None else subjects[one],
        )
        yield known.files[piece.each[number].path].id, extent


def _link(writer: Writer, piece: Piece) -> range:
    if piece.records is not None:
        return writer.link_records(piece.records)
    paths = [piece.each[number].path for number in piece.shaped.numbers.tolist()]
    return writer.link_files(paths, timestamps=piece.shaped.timestamps, labels=piece.shaped.labels)


def append(writer: Writer, samples: Sequence[Shaped]) -> range:
    """Append several stretches of samples; small ones are joined first, as each append has a cost of its own."""
    first: int | None = None
    keys = range(0)
    for some in _in_groups(samples):
        table = pa.concat_tables([s.table for s in some]) if len(some) > 1 else some[0].table
        times = np.concatenate([s.timestamps for s in some]) if len(some) > 1 else some[0].timestamps
        keys = writer.append(table, timestamps=times, labels=_joined([s.labels for s in some]))
        first = keys.start if first is None else first
    return range(first or 0, keys.stop)


def _in_groups(samples: Sequence[Shaped]) -> Iterator[list[Shaped]]:
    group: list[Shaped] = []
    for some in samples:
        group.append(some)
        if some.table.nbytes >= SMALL or len(group) >= 1000:
            yield group
            group = []
    if group:
        yield group


def _joined(labels: Sequence[Labels]) -> Labels:
    if labels[0] is None or len(labels) == 1:
        return labels[0]
    return pa.concat_arrays(labels) if isinstance(labels[0], pa.Array) else np.concatenate(labels)  # type: ignore[arg-type]


_NO_COLUMNS = pa.table({})


def nothing() -> Shaped:
    """No samples."""
    none = np.empty(0, np.int64)
    return Shaped(_NO_COLUMNS, none, None, none)


def _none_usable(bad: Sequence[tuple[str, Bad]]) -> str:
    path, first = bad[0]
    if first.row < 0:
        return first.reason
    if len(bad) == 1:
        return in_words(path, first)
    return f"none of the {len(bad):,} rows can be used; the first: {in_words(path, first)}"
