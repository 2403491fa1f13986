"""Taking samples from one source into a dataset: what is new, and nothing twice."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from modyn.errors import DataError, counted
from modyn.sources import FileSource, Source, ledger
from modyn.sources.added import Added, Dataset, Progress, Writer
from modyn.sources.changes import differences, past_of
from modyn.sources.gathering import Gathering, Overtaken, Piece, nothing
from modyn.sources.hashing import Hashes
from modyn.sources.ledger import Extent, Taken
from modyn.sources.paths import find_files, is_local, is_there
from modyn.sources.plan import UNFINISHED, Plan, Settling, Task, compare
from modyn.sources.rows import START, UNREADABLE, Bad, Cursor, File, Rows, Shaped, Unreachable
from modyn.sources.times import now_us
from modyn.types import Array

TOGETHER = 4096
"""Files of one sample each that are read at a time."""


@dataclass(kw_only=True)
class Intake:
    """Takes samples from one source; ``look`` takes what is new since the last one took."""

    dataset: Dataset
    source: Source
    source_id: int
    clock: Callable[[], int] = now_us
    progress: Callable[[Progress], None] | None = None
    settling: Settling = field(init=False)
    """What has been seen of files that may still be written."""

    def __post_init__(self) -> None:
        self.settling = Settling(self.source.settle if isinstance(self.source, FileSource) else 0)

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
        raise DataError(f"dataset '{self.dataset.name}': others take from {self.source.describe()} all the time")


class _Look:
    """One look at a source, from the ledger as it stands to the last commit."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.source = intake.source
        self.began = time.monotonic()
        self.links = intake.dataset.storage == "link" and intake.source.labels_of is None
        self.gathering = Gathering(
            intake.dataset, intake.source, intake.source_id, clock=intake.clock, progress=intake.progress
        )

    def take(self) -> Added:
        with self.gathering:
            if isinstance(self.source, FileSource):
                self._take_files(self.source)
            else:
                self._take_stream()
            self.gathering.commit()
        added = self.gathering.added
        if self.gathering.is_first and not (added.samples or added.labels or added.quarantined or added.waiting):
            raise DataError(f"{self.source.describe()} holds no samples")
        return replace(added, seconds=time.monotonic() - self.began)

    def _take_stream(self) -> None:
        name = self.source.describe()
        before = self.gathering.known.files.get(name) if self.source.remembers else None
        for rows in self.source.rows_after(before.cursor if before else START, self.gathering.layout):
            taken = None
            if self.source.remembers:
                taken = Taken(path=name, size=0, mtime_us=0, head="", tail="", cursor=rows.end)
            self.gathering.add(Piece(path=name, shaped=self.gathering.shaped(rows, name, None), taken=taken))

    def _take_files(self, source: FileSource) -> None:
        found = self._find(source)
        if not found and self.gathering.is_first:
            wanted = f"that matches {source.include}" if source.include else f"ending in {', '.join(source.suffixes)}"
            raise DataError(f"{source.path} holds no file {wanted}")
        if self.links and not (source.links and is_local(source.path)):
            raise DataError(
                f"{source.path} cannot be linked: only local files of fixed-size records and of one sample each can; "
                "make the dataset without linking to copy it"
            )
        known = self.gathering.known.files
        plan = compare(source, found, known, settling=self.intake.settling, now_us=self.intake.clock())
        self._report(plan)
        self._write_notes(plan.notes)
        self.gathering.bytes_total = sum(
            task.file.size - (task.before.size if task.before and task.kind == "grown" else 0) for task in plan.tasks
        )
        self._do(source, plan.tasks)
        for taken in plan.vanished:
            self._vanish(source, taken)

    def _find(self, source: FileSource) -> Sequence[File]:
        """The files that are there: none if the source is one file, taken before and gone now, of a folder that is there."""
        try:
            return find_files(source.path, suffixes=source.suffixes, include=source.include)
        except Unreachable:
            folder = source.path.rpartition("/")[0]
            if source.path in self.gathering.known.files and is_there(folder) and not is_there(source.path):
                return []
            raise

    def _report(self, plan: Plan) -> None:
        for message in plan.refused:
            self._refuse(message)
        self.gathering.added = replace(self.gathering.added, waiting=tuple(file.path for file in plan.waiting))
        if self.gathering.is_first and plan.refused and not plan.tasks and not plan.waiting:
            raise DataError(self.gathering.added.refused[0])

    def _do(self, source: FileSource, tasks: Sequence[Task]) -> None:
        if source.one_each:
            self._take_many(source, [task for task in tasks if task.kind != "changed"])
            tasks = [task for task in tasks if task.kind == "changed"]
        for task in tasks:
            if task.kind == "changed":
                self._take_changed(source, task)
            else:
                self._take_file(source, task)
            self._count_files(1)

    def _count_files(self, number: int) -> None:
        self.gathering.added = replace(self.gathering.added, files=self.gathering.added.files + number)

    def _take_file(self, source: FileSource, task: Task) -> None:
        """A new file, or the new end of one that has grown."""
        path = task.file.path
        cursor = task.before.cursor if task.before else START
        part = replace(task.taken, mtime_us=UNFINISHED)
        bad: list[Bad] = []
        if self.links:
            self._link_file(source, task, cursor)
            return
        try:
            for rows, shaped in self._read(source, task.file, cursor):
                cursor = rows.end
                self.gathering.add(Piece(path=path, shaped=shaped, taken=replace(part, cursor=cursor)))
        except FileNotFoundError:
            return
        except DataError as error:
            if source.on_bad_sample == "fail" or isinstance(error, Unreachable):
                raise
            bad = [Bad(row=-1, reason=str(error))]
        taken = replace(task.taken, cursor=cursor)
        self.gathering.add(Piece(path=path, shaped=replace(nothing(), bad=bad), taken=taken))

    def _link_file(self, source: FileSource, task: Task, cursor: Cursor) -> None:
        """Note where the rows of a file lie, from a cursor on."""
        times = self.gathering.time_of(task.file)
        records = source.link_of(task.file, cursor, times)
        if records is None:
            return
        for rows in source.rows(task.file, cursor, self.gathering.layout):
            self.gathering.shaped(rows, task.file.path, times)  # for the types, and to see that the columns are there
            break
        num, size = records["num_records"], records["record_size"]
        end = Cursor(records["start"] + num * size, cursor.row + num)
        piece = Piece(path=task.file.path, shaped=nothing(), taken=replace(task.taken, cursor=end), records=records)
        self.gathering.bytes_done += num * size
        self.gathering.add(piece)

    def _take_many(self, source: FileSource, tasks: Sequence[Task]) -> None:
        """Files of one sample each, many at a time."""
        for start in range(0, len(tasks), TOGETHER):
            some = tasks[start : start + TOGETHER]
            files = [task.file for task in some]
            rows = source.together(files, link=self.links)
            shaped = self.gathering.shaped(rows, source.path, self.gathering.times_of(files, rows.numbers))
            self.gathering.bytes_done += sum(file.size for file in files)
            self._count_files(len(files))
            each = [replace(task.taken, cursor=Cursor(1, 1)) for task in some]
            self.gathering.add(Piece(path=source.path, shaped=shaped, each=each))

    def _read(self, source: FileSource, file: File, cursor: Cursor) -> Iterator[tuple[Rows, Shaped]]:
        """The samples of a file from a cursor on. Raises DataError if it cannot be read."""
        times = self.gathering.time_of(file)
        start = cursor.offset
        try:
            for rows in source.rows(file, cursor, self.gathering.layout):
                yield rows, self.gathering.shaped(rows, file.path, times)
                self.gathering.bytes_done += max(0, min(rows.end.offset - start, file.size))
                start = rows.end.offset
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            raise DataError(f"{file.path} cannot be read: {error}") from error
        except OSError as error:
            raise Unreachable(f"{file.path} cannot be read: {error.strerror or error}") from error

    def _write_notes(self, notes: Sequence[Taken]) -> None:
        """Write rows of the ledger by themselves: of files that were touched or moved, or are gone."""
        if not notes:
            return
        with self.intake.dataset.workspace.transaction() as connection:
            known = ledger.advance(connection, self.gathering.known, None)
            if known is None:
                raise Overtaken
            ledger.record(connection, known, notes, at=self.intake.clock())
        self.gathering.reload()

    def _take_changed(self, source: FileSource, task: Task) -> None:
        """A file that is another one now: take the rows not seen before, and take back those that are gone if so told."""
        assert task.before is not None
        path = task.file.path
        if self.links:
            self._refuse(f"{path} has changed since it was linked")
            return
        if source.changed == "refuse":
            self._refuse(f"{path} has changed since it was taken (changed: append-new or replace would take it)")
            return
        self.gathering.commit()
        past = past_of(self.intake.dataset, self._extents(task.before))
        if past.contents is None and (source.changed == "append-new" or not past.live.all()):
            why = "its rows were taken without hashes, so those seen before cannot be told"
            self._refuse(f"{path} has changed since it was taken, and {why}")
            return
        survey = self._survey(source, task.file)
        take, gone = differences(past, survey.contents, survey.subjects)
        if self._append_chosen(source, task, take) != len(take):
            self.gathering.abandon()
            added = self.gathering.added
            self.gathering.added = replace(added, waiting=(*added.waiting, path))
            return
        done = Piece(path=path, shaped=replace(nothing(), bad=survey.bad), taken=replace(task.taken, cursor=survey.end))
        self.gathering.pieces.append(done)
        drop = gone & (source.changed == "replace")

        def finish(writer: Writer) -> int:
            ledger.rewrite_hashes(writer.connection, past.without(drop))
            return int(writer.delete(past.keys[drop & past.live]))

        self.gathering.commit(finish=finish)

    def _extents(self, taken: Taken) -> list[Extent]:
        with self.intake.dataset.workspace.engine.connect() as connection:
            return ledger.extents_of(connection.execution_options(read_only=True), taken.id)

    def _survey(self, source: FileSource, file: File) -> "Survey":
        """The hashes of all rows of a file, without keeping the rows."""
        contents: list[Hashes] = [np.empty(0, np.uint64)]
        subjects: list[Hashes] = [np.empty(0, np.uint64)]
        bad: list[Bad] = []
        end = START
        for rows, shaped in self._read(source, file, START):
            content, subject = self.gathering.hashes(shaped)
            contents.append(content)
            if subject is not None:
                subjects.append(subject)
            bad.extend(shaped.bad)
            end = rows.end
        whose = np.concatenate(subjects) if source.id is not None else None
        return Survey(contents=np.concatenate(contents), subjects=whose, bad=bad, end=end)

    def _append_chosen(self, source: FileSource, task: Task, take: Array) -> int:
        """Gather the rows of a changed file that are to be taken; how many rows were read for it."""
        row = 0
        for _, shaped in self._read(source, task.file, START):
            chosen = shaped.keep(take[row : row + len(shaped)])
            row += len(shaped)
            if row > len(take):
                return row
            self.gathering.add(Piece(path=task.file.path, shaped=replace(chosen, bad=()), taken=task.before))
        return row

    def _refuse(self, message: str) -> None:
        added = self.gathering.added
        self.gathering.added = replace(added, refused=(*added.refused, message))

    def _vanish(self, source: FileSource, taken: Taken) -> None:
        """A file that is gone: note it, and delete its samples if so told."""
        self.gathering.commit()
        past = past_of(self.intake.dataset, self._extents(taken))
        if source.vanished == "keep":
            self._refuse(f"{taken.path} is gone; {counted(int(past.live.sum()), 'sample')} of it kept")
            self._write_notes([replace(taken, gone=True)])
            return

        def finish(writer: Writer) -> int:
            if past.live.all():
                ledger.forget(writer.connection, taken.id)
            else:  # rows deleted by hand must not come back with the file
                ledger.rewrite_hashes(writer.connection, past.without(past.live))
                ledger.record(
                    writer.connection,
                    self.gathering.known,
                    [replace(taken, gone=True, head="")],
                    at=self.intake.clock(),
                )
            return int(writer.delete(past.keys[past.live]))

        self.gathering.commit(finish=finish)
        self.gathering.reload()


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a changed file holds now: a hash for each usable row, and the bad ones."""

    contents: Hashes
    subjects: Hashes | None
    bad: Sequence[Bad]
    end: Cursor
