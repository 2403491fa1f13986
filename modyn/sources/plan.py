"""Comparing the files that are there with those already taken: what to read, and what to report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modyn.sources import FileSource
from modyn.sources.ledger import Taken
from modyn.sources.paths import fingerprint
from modyn.sources.rows import File

UNFINISHED = -1
"""The time noted for a file that has been read in part: no file has it, so the file is looked at again."""
QUIET_US = 2_000_000
"""With ``settle: 0s``, a last line without a line end is still left to its writer for so long."""
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")


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
    empty: list[File] = field(default_factory=list)


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
    here = {file.path: file for file in found}
    new: list[tuple[File, Taken]] = []
    for file in found:
        before = known.get(file.path)
        if before and not before.gone and (before.size, before.mtime_us) == (file.size, file.mtime_us):
            continue
        if source.done_suffix and not _is_done(source.done_suffix, file):
            if not file.path.endswith(source.done_suffix):
                plan.waiting.append(file)
            continue
        if not settling.has_settled(file, now_us):
            plan.waiting.append(file)
            continue
        file = replace(file, final=source.settle > 0 or now_us - file.mtime_us > QUIET_US)
        if file.size == 0 and before is None:
            plan.empty.append(file)
            continue
        head, tail = fingerprint(file)
        taken = Taken(
            path=file.path, size=file.size, mtime_us=file.mtime_us, head=head, tail=tail, id=before.id if before else 0
        )
        if before is None:
            new.append((file, taken))
        else:
            _known_before(source, plan, file, before, taken)
    moved = _take_moves(plan, new, known, here)
    plan.vanished = [t for path, t in known.items() if path not in here and path not in moved and not t.gone]
    plan.tasks.sort(key=lambda task: task.file.path)
    return plan


def _is_done(suffix: str, file: File) -> bool:
    return not file.path.endswith(suffix) and bool(file.fs.exists(file.path + suffix))


def _known_before(source: FileSource, plan: Plan, file: File, before: Taken, taken: Taken) -> None:
    same = (before.size, before.head, before.tail) == (taken.size, taken.head, taken.tail)
    if same and before.mtime_us != UNFINISHED:
        plan.notes.append(replace(taken, cursor=before.cursor))
    elif same or _has_grown(source, file, before):
        plan.tasks.append(Task(file=file, kind="grown", taken=taken, before=before))
    else:
        plan.tasks.append(Task(file=file, kind="changed", taken=taken, before=before))


def _has_grown(source: FileSource, file: File, before: Taken) -> bool:
    return (
        source.grows
        and file.size > before.size
        and not file.path.endswith(_COMPRESSED)
        and fingerprint(file, before.size) == (before.head, before.tail)
        and source.continues(file, before.cursor)
    )


def _take_moves(
    plan: Plan, new: Sequence[tuple[File, Taken]], known: Mapping[str, Taken], here: Mapping[str, File]
) -> set[str]:
    """Tell files under a new name (a log that was rotated, a folder renamed) from new ones; the names they had.

    A file has moved if one of its fingerprint was taken under a name where that file is no longer.
    """
    changed = {task.file.path: task for task in plan.tasks if task.kind == "changed"}
    left = {
        (t.size, t.head, t.tail): t
        for path, t in known.items()
        if (path not in here or path in changed) and not t.gone and t.mtime_us != UNFINISHED and t.size
    }
    moved: set[str] = set()
    for file, taken in new:
        before = left.pop((taken.size, taken.head, taken.tail), None)
        if before is None:
            plan.tasks.append(Task(file=file, kind="new", taken=taken))
            continue
        plan.notes.append(replace(taken, id=before.id, cursor=before.cursor))
        moved.add(before.path)
        if before.path in changed:  # its old name has another file now, which is new
            task = changed[before.path]
            plan.tasks.remove(task)
            plan.tasks.append(Task(file=task.file, kind="new", taken=replace(task.taken, id=0)))
    return moved
