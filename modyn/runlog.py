"""The journal of a run: append-only events, one schema, one JSON object a line.

Every event has ``seq`` (0, 1, 2, ...), ``at`` (wall clock, microseconds UTC), ``kind``, ``round`` (null outside rounds) and its fields. The
kinds and their fields are listed in ``KINDS``; reports, the dashboard and resume read nothing else. A line is durable once
``append`` returns for kinds in ``DURABLE``; a torn last line, left by a crash, is ignored and cut off when the run goes on.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from modyn.errors import Damaged, NotFound, RunError, did_you_mean
from modyn.workspace import check_name, naming, sync_folder, write_durably

if TYPE_CHECKING:
    import pandas as pd

KINDS: Mapping[str, str] = {
    "run-started": "run, pipeline (resolved document), source (text of the file), versions {package: version}, git (commit | null), "
    "seed, user_files [{path, kept_as, sha256}], dataset, dataset_version, dataset_identity (of no other dataset of that name), num_samples, stream [first key, end key), stream_time [start, end) | null, trigger (name), "
    "selector (name), metrics [{name, higher_is_better, description}], resumed (bool), following (bool: in production, so that the stream goes on for ever)",
    "windows": "windows [{start, end, num_samples}] (microseconds, half-open), first (the number of the first of them, which with all later ones takes "
    "the place of what was known; absent = 0)",
    "trigger-checked": "key (last sample seen), timestamp, and the numbers the trigger gives (distance, threshold, fired, ...)",
    "round-started": "trigger, start_key, end_key, start_time, end_time, num_samples",
    "selected": "selector, num_candidates, num_selected, oldest (timestamp), newest (timestamp), labels {label: count}, "
    "candidate_labels {label: count}, arrived {round: count}, candidates_arrived {round: count}, new_share, overlap (share that the "
    "round before selected too | null), never_used (candidates never trained on so far), weights {min, q25, median, q75, max, mean} | null, "
    "batch_share (the share of each large batch that is trained on, chosen while training | null); comes again after training with what was "
    "trained on, if that was chosen while training: the last counts",
    "epoch": "epoch, loss, num_samples, samples_per_s, seconds {wait, move, forward, backward, step}, and what the trainer adds",
    "trained": "parent, num_samples (each once), num_seen (in all steps), num_steps, loss (null = not told), device, peak_memory_bytes, first_step_s (from trigger to first step)",
    "stored": "checkpoint, size_bytes",
    "evaluated": "checkpoint (null for a baseline), baseline (null | majority-class | no-change), num_samples, "
    "scores [{window, metric, value (null = undefined), reason}]",
    "composite": "active [checkpoint | null for each window], trained [the same]; the last such event counts; absent in a run that follows, where it is plain "
    "from what each round's data_until is",
    "cost": "station (trigger, select, load, train, evaluate, store), seconds, num_samples",
    "round-finished": "checkpoint, end_key, data_until, trigger_state, costs {station: seconds}, scores {metric: value}",
    "warning": "message",
    "run-stopped": "reason",
    "run-failed": "error",
    "run-finished": "num_rounds, seconds",
}
"""Each kind of event, with its fields beyond ``seq``, ``at``, ``kind`` and ``round``."""
DURABLE = frozenset({"run-started", "round-finished", "run-stopped", "run-failed", "run-finished"})
REMOVED = ".removed"
"""The file beside the runs' folders that holds the ids of removed runs, one a line."""
_OPENING = frozenset({"run-started", "windows", "evaluated"})
"""What is written before the first round."""


@dataclass(frozen=True)
class Event:
    """One line of the journal."""

    seq: int
    at: int
    kind: str
    round: int | None
    fields: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


Observer = Callable[[Event], None]


class RunLog:
    """The events of one run, in ``folder/events.jsonl``. One process writes, any number read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "events.jsonl"
        self.observers: list[Observer] = []
        self.last_kind: str | None = None
        """The kind of the last event that this process wrote."""
        self._file: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self._next = 0

    @property
    def run_id(self) -> str:
        return self.folder.name

    @classmethod
    def create(cls, runs: Path, name: str) -> "RunLog":
        """Start the journal of a new run ``name-1``, ``name-2``, ...; two processes never get the same one."""
        check_name(name, "run")
        runs.mkdir(parents=True, exist_ok=True)
        ids = [p.name for p in runs.glob(f"{name}-*")] + _removed(runs)
        taken = [identity.rpartition("-")[2] for identity in ids if identity.rpartition("-")[0] == name]
        number = max((int(n) for n in taken if n.isdigit()), default=0) + 1
        while True:
            try:
                (runs / f"{name}-{number}").mkdir()
                break
            except FileExistsError:
                number += 1
        log = cls(runs / f"{name}-{number}")
        log.open()
        return log

    @classmethod
    def find(cls, runs: Path, run_id: str) -> "RunLog":
        """The journal of a run. Raises NotFound, naming the nearest one."""
        if (runs / run_id / "events.jsonl").is_file() and "/" not in run_id:
            return cls(runs / run_id)
        known = [p.parent.name for p in runs.glob("*/events.jsonl")]
        for latest in sorted((k for k in known if k.rpartition("-")[0] == run_id), key=_number_of, reverse=True):
            log = cls(runs / latest)
            if log.began:
                return log
        raise NotFound(f"there is no run '{run_id}'. {did_you_mean(run_id, known)}")

    @property
    def began(self) -> bool:
        """Whether it has come as far as to say what it is a run of."""
        return next(self.events("run-started"), None) is not None

    def remove(self) -> None:
        """Remove the run's folder. Its id is never given again, since checkpoints of other runs may name it as their parent.

        Raises RunError if it is running.
        """
        if self._is_locked():
            raise RunError(f"run {self.run_id} is running; stop it first")
        for path in sorted(self.folder.iterdir(), key=lambda path: path != self.path):  # without its journal it is none
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        # Only now, as a full disk has room again; until it is written down, the folder keeps the id.
        with (self.folder.parent / REMOVED).open("a") as file, naming(self.folder.parent / REMOVED):
            file.write(f"{self.run_id}\n")
            file.flush()
            os.fsync(file.fileno())
        self.folder.rmdir()

    def discard(self) -> None:
        """Remove the folder of a run that never began, and give its number back."""
        with suppress(OSError):  # what did not fit on the disk is not wanted any more
            self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, *, keep_until: str | None = None, and_between: frozenset[str] = frozenset()) -> None:
        """Take the right to write, and cut off a torn last line. Raises RunError if another process is writing.

        With ``keep_until`` everything after the last event of that kind is cut off as well, but not what comes before round 0:
        work that was begun and not finished is done again, and must not be counted twice. Events of the kinds ``and_between`` that came
        after it and before another round began are written again behind it.
        """
        self._lock = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise RunError(f"run {self.run_id} is being written by another process") from None
        self._file = self.path.open("ab")
        whole, opening, between = 0, True, True
        again: list[Event] = []
        for event, end in self._lines():
            opening = opening and event.kind in _OPENING
            if opening or keep_until in (None, event.kind):
                self._next, whole, between, again = event.seq + 1, end, True, []
            between = between and event.kind != "round-started"
            if end > whole and between and event.kind in and_between:
                again.append(event)
        os.ftruncate(self._file.fileno(), whole)
        self._file.seek(0, os.SEEK_END)
        for event in again:
            self._write(Event(self._next, event.at, event.kind, event.round, event.fields))
        os.fsync(self._file.fileno())
        sync_folder(self.folder)

    def close(self) -> None:
        """Give up the right to write. Does nothing if it is not held."""
        file, lock = self._file, self._lock
        self._file = self._lock = None
        try:
            if file is not None:
                with naming(self.path):
                    file.close()
        finally:
            if lock is not None:
                lock.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, kind: str, *, round: int | None = None, **fields: Any) -> Event:  # noqa: A002
        """Write one event and show it to the observers."""
        if kind not in KINDS:
            raise ValueError(f"{kind} is not a kind of event")
        if self._file is None:
            raise RunError(f"the journal of run {self.run_id} is not open for writing")
        event = Event(self._next, time.time_ns() // 1000, kind, round, fields)
        self._write(event)
        self.last_kind = kind
        if kind in DURABLE:
            os.fsync(self._file.fileno())
        self.tell(event)
        return event

    def _write(self, event: Event) -> None:
        assert self._file is not None
        line = {"seq": event.seq, "at": event.at, "kind": event.kind, "round": event.round, **event.fields}
        text = json.dumps(line, default=_plain, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        with naming(self.path):
            self._file.write(text)
            self._next += 1
            self._file.flush()

    def tell(self, event: Event) -> None:
        """Show an event to the observers without writing it (live progress is shown, not kept)."""
        for observer in self.observers:
            observer(event)

    def progress(self, kind: str, *, round: int | None = None, **fields: Any) -> None:  # noqa: A002
        """Show the observers what is happening now; nothing is written."""
        if self.observers:
            self.tell(Event(-1, time.time_ns() // 1000, kind, round, fields))

    def write_file(self, name: str, content: bytes) -> None:
        """Keep a file beside the journal, durably."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)

    def events(self, *kinds: str) -> Iterator[Event]:
        """The events written so far, oldest first; only of these kinds if any are given."""
        for event, _ in self._lines():
            if not kinds or event.kind in kinds:
                yield event

    def _lines(self) -> Iterator[tuple[Event, int]]:
        if not self.path.exists():
            return
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                try:
                    fields = json.loads(line)
                    event = Event(fields.pop("seq"), fields.pop("at"), fields.pop("kind"), fields.pop("round"), fields)
                except (ValueError, KeyError, AttributeError, TypeError):
                    raise Damaged(f"{self.path}: byte {end - len(line)} does not begin an event") from None
                yield event, end

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``stopped``, ``failed``, or ``interrupted`` (its process died)."""
        if self._file is not None or self._is_locked():
            return "running"
        last = None
        for event in self.events("run-started", "run-finished", "run-stopped", "run-failed"):
            last = event.kind
        return last.removeprefix("run-") if last not in (None, "run-started") else "interrupted"

    def _is_locked(self) -> bool:
        try:
            with (self.folder / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False

    def table(self, *kinds: str) -> "pd.DataFrame":
        """The events of these kinds as a table, a column a field."""
        return frame(self.events(*kinds))


def frame(events: Iterable[Event]) -> "pd.DataFrame":
    """Events as a table: seq, at (UTC), kind, round, and a column for each field."""
    import pandas as pd

    rows = [{"seq": e.seq, "at": e.at, "kind": e.kind, "round": e.round, **e.fields} for e in events]
    table = pd.DataFrame(rows, columns=None if rows else ["seq", "at", "kind", "round"])
    table["at"] = pd.to_datetime(table["at"], unit="us", utc=True)
    return table


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, paths and sets as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset | tuple):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written to a run's journal")


def _removed(runs: Path) -> list[str]:
    file = runs / REMOVED
    return file.read_text().split() if file.exists() else []


def _number_of(run_id: str) -> int:
    number = run_id.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
