"""Gathering samples until there are enough for a transaction, and committing them with their rows of the ledger."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from modyn.errors import BadSample, DataError
from modyn.sources import FileSource, Source, ledger
from modyn.sources.added import Added, Dataset, Progress, Writer, in_words
from modyn.sources.hashing import Hashes, column_hashes, content_hashes
from modyn.sources.ledger import Extent, Known, Taken
from modyn.sources.rows import Bad, File, Labels, Rows, Shaped
from modyn.sources.shape import NOT_A_TIME, shape
from modyn.sources.times import time_in_name
from modyn.types import Int64s

BATCH = 64 << 20
"""Bytes of samples that one transaction appends."""


SMALL = 4 << 20
"""Stretches of fewer bytes are joined before they are appended."""


class Overtaken(Exception):
    """Another process has taken from the source meanwhile; what was read is read again by what it left."""


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


class Gathering:
    """What one look at a source has read and not yet committed, and the ledger as this look knows it."""

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
        self.num_bytes = 0
        self.added = Added()
        self.bytes_done = self.bytes_total = 0

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

    def commit(self, *, finish: Callable[[Writer], int] | None = None) -> None:
        """Append what has been gathered, with its rows of the ledger and the quarantine, in one transaction.

        ``finish`` may do more in it, and says how many samples it deleted.
        """
        pieces, self.pieces, self.num_bytes = self.pieces, [], 0
        good = [p for p in pieces if len(p)]
        bad = [found for p in pieces for found in p.bad()]
        if not good and self.is_first and not self.added.samples:
            if bad:
                raise DataError(_none_usable(bad))
            return
        if not pieces and finish is None:
            return
        with self.dataset.write() as writer:
            known = self._write(writer, pieces, good, bad)
            deleted = finish(writer) if finish is not None else 0
        self.known = known
        self._count(sum(len(p) for p in good), bad, deleted)

    def _write(
        self, writer: Writer, pieces: Sequence[Piece], good: Sequence[Piece], bad: Sequence[tuple[str, Bad]]
    ) -> Known:
        keys = self._append(writer, good) if good else range(0)
        connection = writer.connection  # locks the catalog, so it comes after the append
        known = ledger.advance(connection, self.known, self.layout)
        if known is None:
            raise Overtaken
        latest = {taken.path: taken for p in pieces for taken in p.files()}
        known = ledger.record(connection, known, list(latest.values()), at=self.clock())
        start = keys.start
        extents: list[tuple[int, Extent]] = []
        for piece in good:
            extents.extend(self._extents_of(piece, start, known))
            start += len(piece)
        ledger.add_extents(connection, extents)
        ledger.quarantine(connection, known, bad, at=self.clock())
        return known

    def _append(self, writer: Writer, good: Sequence[Piece]) -> range:
        """Append pieces in their order, or note where they lie; their keys."""
        if self.dataset.storage != "link":
            return append(writer, [p.shaped for p in good])
        keys = [_link(writer, piece) for piece in good]
        return range(keys[0].start, keys[-1].stop)

    def _extents_of(self, piece: Piece, start: int, known: Known) -> Iterator[tuple[int, Extent]]:
        """Which keys, from ``start`` on, a piece's files became."""
        if not piece.files():
            return
        contents, subjects = self._hashes(piece.shaped)
        if not piece.each:
            end = start + len(piece)
            yield known.files[piece.path].id, Extent(start, end, contents=contents, subjects=subjects)
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
            quarantined=self.added.quarantined + len(bad),
            deleted=self.added.deleted + deleted,
            first_bad=first,
        )
        if self.progress is not None:
            added, done, total = self.added, self.bytes_done, self.bytes_total
            self.progress(
                Progress(samples=added.samples, quarantined=added.quarantined, bytes_done=done, bytes_total=total)
            )


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


def nothing() -> Shaped:
    """No samples."""
    none = np.empty(0, np.int64)
    return Shaped(pa.table({}), none, None, none)


def _none_usable(bad: Sequence[tuple[str, Bad]]) -> str:
    path, first = bad[0]
    if first.row < 0:
        return first.reason
    if len(bad) == 1:
        return in_words(path, first)
    return f"none of the {len(bad):,} rows can be used; the first: {in_words(path, first)}"
