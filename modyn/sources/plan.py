"""Comparing the files that are there with those already taken: what to read, and what to report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from modyn.sources import FileSource
from modyn.sources.ledger import Taken
from modyn.sources.paths import fingerprint
from modyn.sources.rows import File

UNFINISHED = -1
"""The time noted for a file that has been read in part: no file has it, so the file is looked at again."""
QUIET_US = 2_000_000
"""With ``settle: 0s``, a last line without a line end is still left to its writer for so long."""
_MOST_COMPARED = 32
"""A new file is compared with the beginnings of so many lost ones; after a folder was renamed, whole files have been matched already."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One file to read: ``kind`` is new, grown (read on from ``before``'s cursor) or changed (read again and compare)."""

    file: File
    kind: str
    taken: Taken
    """The file's row in the ledger once all of it is read, but for its cursor."""
    before: Taken | None = None


@dataclass(kw_only=True)
class Plan:
    """What a look at the files came to."""

    tasks: list[Task] = field(default_factory=list)
    notes: list[Taken] = field(default_factory=list)
    """Rows of the ledger that are to be written though nothing is read: touched, moved, gone."""
    vanished: list[Taken] = field(default_factory=list)
    waiting: list[File] = field(default_factory=list)
    """Files still being written."""
    refused: list[str] = field(default_factory=list)
    """Why files are left out: empty, or of a name that cannot be written down."""


class Settling:
    """Which files have stopped changing, as far as this follower has seen."""

    def __init__(self, settle_us: int) -> None:
        self.settle_us = settle_us
        self._seen: dict[str, tuple[int, int, int]] = {}

    def has_settled(self, file: File, now_us: int) -> bool:
        """Whether the file has not changed for as long as is asked, by its own time or by what was seen of it."""
        if 0 <= file.mtime_us <= now_us - self.settle_us:
            return True
        size, mtime, since = self._seen.get(file.path, (-1, -1, now_us))
        if (size, mtime) != (file.size, file.mtime_us):
            self._seen[file.path] = (file.size, file.mtime_us, now_us)
            return self.settle_us == 0
        return now_us - since >= self.settle_us


def compare(
    source: FileSource, found: Sequence[File], known: Mapping[str, Taken], *, settling: Settling, now_us: int
) -> Plan:
    """What to do about each file. Files taken before and unchanged cost no more than their entry in the folder."""
    plan = Plan()
    plan.refused += [
        f"{file.path!a} has a name that is not UTF-8: rename it" for file in found if not _is_unicode(file)
    ]
    found = [file for file in found if _is_unicode(file)]
    here = {file.path: file for file in found}
    others: list[Task] = []
    staying: set[str] = {file.path for file in _moving(found)}
    for file in found:
        if file.path in staying:
            continue
        before = known.get(file.path)
        if before and not before.gone and (before.size, before.mtime_us) == (file.size, file.mtime_us):
            staying.add(file.path)
        elif source.done_suffix and not _is_done(source.done_suffix, file):
            if not file.path.endswith(source.done_suffix):
                plan.waiting.append(file)
        elif not settling.has_settled(file, now_us):
            plan.waiting.append(file)
            if before and _has_grown(source, file, before):
                staying.add(file.path)
        elif file.size == 0 and before is None:
            plan.refused.append(f"{file.path} is empty")
        else:
            final = source.settle > 0 or now_us - file.mtime_us > QUIET_US
            with suppress(FileNotFoundError):  # it has moved since it was listed
                others += _sort_out(source, plan, replace(file, final=final), before, staying)
    moved = _take_moves(source, plan, others, {path: t for path, t in known.items() if path not in staying})
    plan.vanished += [t for path, t in known.items() if path not in here and path not in moved and not t.gone]
    plan.tasks.sort(key=lambda task: task.file.path)
    return plan


def _moving(found: Sequence[File]) -> list[File]:
    """The files that were renamed while the folder was listed, and stand there under both names: left to the next look."""
    times = Counter(file.inode for file in found if file.inode is not None)
    return [file for file in found if file.inode is not None and times[file.inode] > 1]


def _is_unicode(file: File) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in file.path)


def _sort_out(source: FileSource, plan: Plan, file: File, before: Taken | None, staying: set[str]) -> list[Task]:
    """Plan what to do with a file that is what it was or has grown; otherwise a task that says that it is new or changed."""
    head, tail = fingerprint(file)
    taken = Taken(path=file.path, size=file.size, mtime_us=file.mtime_us, head=head, tail=tail)
    if before is None:
        return [Task(file=file, kind="new", taken=taken)]
    same = (before.size, before.head, before.tail) == (taken.size, taken.head, taken.tail)
    if same and before.mtime_us != UNFINISHED:
        plan.notes.append(replace(taken, cursor=before.cursor))
    elif same or _has_grown(source, file, before):
        plan.tasks.append(Task(file=file, kind="grown", taken=taken, before=before))
    else:
        return [Task(file=file, kind="changed", taken=taken, before=before)]
    staying.add(file.path)
    return []


def _is_done(suffix: str, file: File) -> bool:
    return not file.path.endswith(suffix) and bool(file.fs.exists(file.path + suffix))


def _has_grown(source: FileSource, file: File, before: Taken) -> bool:
    try:
        return (
            source.grows
            and file.size > before.size
            and not file.is_compressed
            and fingerprint(file, before.size) == (before.head, before.tail)
            and source.continues(file, before.cursor)
        )
    except FileNotFoundError:
        return False


def _take_moves(source: FileSource, plan: Plan, others: Sequence[Task], left: Mapping[str, Taken]) -> set[str]:
    """Tell files under another name (a log that was rotated, a folder renamed) from new and changed ones; the names they had.

    ``left`` are the files that are no longer under their name. A file has moved if it is one of them, or one of them that has grown.
    """
    free = {(t.size, t.head, t.tail): t for t in left.values() if t.size}
    moved: set[str] = set()
    remaining: list[Task] = []
    arrived: set[str] = set()
    for task in others:
        before = free.pop((task.taken.size, task.taken.head, task.taken.tail), None)
        if before is None:
            remaining.append(task)
        else:
            if before.mtime_us == UNFINISHED:  # moved before all of it was read
                _read_on(plan, task, before)
            else:
                plan.notes.append(replace(task.taken, id=before.id, cursor=before.cursor))
            moved.add(before.path)
            arrived.add(task.file.path)
    for task in remaining:
        before = _grown_from(source, task, free)
        if before is not None:
            _read_on(plan, task, before)
            moved.add(before.path)
            arrived.add(task.file.path)
    for task in remaining:
        if task.file.path not in arrived:  # a name whose file has moved away holds a new one
            plan.tasks.append(replace(task, kind="new", before=None) if task.file.path in moved else task)
    for path in arrived & (left.keys() - moved):  # a file moved over another, which is gone
        gone = replace(left[path], path=f"{path} (replaced, {left[path].id})")
        plan.notes.append(gone)
        plan.vanished.append(gone)
    return moved


def _read_on(plan: Plan, task: Task, before: Taken) -> None:
    """A file that has another name now, and rows that have not been read."""
    plan.notes.append(replace(before, path=task.file.path))
    plan.tasks.append(Task(file=task.file, kind="grown", taken=replace(task.taken, id=before.id), before=before))


def _grown_from(source: FileSource, task: Task, free: dict[tuple[int, str, str], Taken]) -> Taken | None:
    """The file under another name that this one is a longer form of; it is then no longer free."""
    if len(free) > _MOST_COMPARED:
        return None
    for key, before in list(free.items()):
        if before.path != task.file.path and _has_grown(source, task.file, before):
            return free.pop(key)
    return None
