"""Filling a dataset from a source once, and following the sources that it remembers."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Self

from modyn.errors import DataError
from modyn.sources import FileSource, Source, ledger
from modyn.sources.added import Added, Dataset, Progress
from modyn.sources.intake import Intake
from modyn.sources.paths import anchored, find_files, is_local, open_file_system
from modyn.sources.rows import START, UNREADABLE, Unreachable
from modyn.sources.times import now_us

__all__ = ["Added", "Feed", "add", "watch"]


def add(
    dataset: Dataset,
    source: Source,
    *,
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], int] = now_us,
    sleep: Callable[[float], None] = time.sleep,
) -> Added:
    """Take a source's samples into a dataset, and remember the source, so that ``Feed(dataset)`` can follow it.

    A file that has just been written is waited for until it has settled; one that goes on changing is left for ``Feed``.
    Raises DataError if the source cannot be read or holds no usable row, BadSample if a row is unusable and the source
    says ``on_bad_sample: fail``.
    """
    if isinstance(source, FileSource):
        source = source.model_copy(update={"path": anchored(source.path)})
    ledger.prepare(dataset.workspace)
    with dataset.workspace.transaction() as connection:
        try:
            source_id = ledger.register(connection, dataset.name, source, at=clock())
        except DataError:
            check_names(source)  # a wrong name of a column is the likelier reason for other options
            raise
    intake = Intake(dataset=dataset, source=source, source_id=source_id, clock=clock, progress=progress)
    try:
        added = intake.look()
    except DataError:
        with dataset.workspace.transaction() as connection:
            ledger.forget_unused(connection, source_id)
        raise
    settle_us = source.settle if isinstance(source, FileSource) else 0
    for _ in range(3):
        if not added.waiting or (isinstance(source, FileSource) and source.done_suffix):
            break
        sleep(settle_us / 1e6)
        added = replace(added, waiting=()) + intake.look()
    if added.waiting and not added.samples and not added.labels:
        raise DataError(f"{added.waiting[0]} is still being written; modyn data watch takes it once it is done")
    return added


def check_names(source: Source) -> None:
    """Raise DataError, with the nearest name, if the first file of a source lacks a column that its options name.

    A file that is not there or cannot be read says nothing of names.
    """
    if not isinstance(source, FileSource):
        return
    with suppress(Unreachable, OSError, *UNREADABLE):
        for file in find_files(source.path, suffixes=source.suffixes, include=source.include)[:1]:
            for rows in source.rows(file, START, None):
                source.check_columns(rows.table.column_names, where=file.path)
                break


class Feed:
    """Follows the sources that a dataset remembers: ``poll`` takes what has come since the last time, in any process."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        clock: Callable[[], int] = now_us,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        ledger.prepare(dataset.workspace)
        self.dataset = dataset
        self._clock, self._progress = clock, progress
        self.intakes: list[Intake] = []
        self._find_sources()
        if not self.intakes:
            raise DataError(f"dataset '{dataset.name}' has no source to follow: it was not filled from files")

    def _find_sources(self) -> None:
        """Follow what the dataset remembers by now as well."""
        with self.dataset.workspace.engine.connect() as connection:
            sources = ledger.sources_of(connection.execution_options(read_only=True), self.dataset.name)
        known = {intake.source_id: intake for intake in self.intakes}
        self.intakes = [
            known[number]
            if number in known and known[number].source == source
            else Intake(
                dataset=self.dataset, source=source, source_id=number, clock=self._clock, progress=self._progress
            )
            for number, source in sources
            if source.remembers
        ]

    def poll(self) -> Added:
        """Take everything that is new in every source. Raises what the first one that cannot be reached raises, after the others."""
        added, unreachable = self._poll()
        for error in unreachable:
            raise error
        return added

    def look(self) -> Added:
        """As ``poll``; what cannot be reached just now (a disk that is not mounted, a store that does not answer) is reported as refused."""
        added, unreachable = self._poll()
        return added + Added(refused=tuple(str(error) for error in unreachable))

    def _poll(self) -> tuple[Added, list[Unreachable]]:
        self._find_sources()
        added, unreachable = Added(), []
        for intake in self.intakes:
            try:
                added += intake.look()
            except Unreachable as error:
                unreachable.append(error)
        return added, unreachable

    @property
    def local_folders(self) -> list[str]:
        """The folders of this machine that changes can be heard of from."""
        folders = []
        for intake in self.intakes:
            if isinstance(intake.source, FileSource) and is_local(intake.source.path):
                fs, path = open_file_system(intake.source.path)
                while path and (any(mark in path for mark in "*?[") or not fs.isdir(path)):
                    path = path.rpartition("/")[0]
                folders.append(path or "/")
        return folders

    def __iter__(self) -> Iterator[Added]:
        """What each poll brought, for ever; see ``watch``."""
        return self.follow()

    def follow(self, *, interval_s: float = 2.0, stop: threading.Event | None = None) -> Iterator[Added]:
        """``look`` whenever a local file changes, and at least each ``interval_s``, until ``stop`` is set; yield what came of each."""
        stop = stop or threading.Event()
        wake = self._wake(interval_s, stop)
        while not stop.is_set():
            yield self.look()
            next(wake, None)

    def _wake(self, interval_s: float, stop: threading.Event) -> Iterator[None]:
        """Come back at each change of a local folder, and after ``interval_s`` at the latest."""
        folders = self.local_folders
        if not folders:
            while not stop.wait(interval_s):
                yield
            return
        import watchfiles

        milliseconds = max(1, int(interval_s * 1000))
        changes = watchfiles.watch(
            *folders, stop_event=stop, rust_timeout=milliseconds, yield_on_timeout=True, debounce=min(milliseconds, 200)
        )
        for _ in changes:
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def watch(dataset: Dataset, *, interval_s: float = 2.0, stop: threading.Event | None = None) -> Iterator[Added]:
    """Follow a dataset's sources until ``stop`` is set; yield what each poll brought."""
    return Feed(dataset).follow(interval_s=interval_s, stop=stop)
