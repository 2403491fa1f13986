"""What is happening now, in a live table: a row a pipeline. Where there is no terminal, a line a round."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modyn.errors import counted
from modyn.phases import bound_by, in_words
from modyn.runlog import Event, Observer

_DOING = {
    "stream": "reading the stream",
    "select": "selecting",
    "load": "loading",
    "training": "training",
    "store": "storing",
    "evaluate": "evaluating",
    "waiting": "waiting for samples",
}
_ENDED = {"run-finished": "finished", "run-stopped": "stopped", "run-failed": "failed"}


_MOST_WARNINGS = 20


class _Row:
    """What is known of one pipeline's run so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.doing = "waiting"
        self.rounds = 0
        self.samples_per_s: float | None = None
        self.loss: float | None = None
        self.seconds: Mapping[str, float] = {}
        self.score = ""
        self.started: float | None = None
        self.ended: float | None = None
        self.share = 0.0
        self.follows = False
        self._span = (0, 1)
        self._metric: dict[str, Any] | None = None

    def take(self, event: Event) -> None:
        """Take in an event of the run."""
        if event.kind == "run-started":
            self.name, self.started = event["run"], time.monotonic()
            self._span, self.follows = tuple(event["stream"]), bool(event.fields.get("following"))
            self._metric = event["metrics"][0] if event["metrics"] else None
            self.doing = "reading the stream"
        elif event.kind in _ENDED:
            self.doing, self.ended = _ENDED[event.kind], time.monotonic()
            self.share = 1.0 if event.kind == "run-finished" else self.share
        elif event.kind == "round-started" and not self.follows:
            self.share = (event["end_key"] - self._span[0]) / max(1, self._span[1] - self._span[0])
        elif event.kind == "round-finished":
            self.rounds += 1
            self._take_score(event["scores"])
        elif event.kind == "scored":
            self._take_score(event["scores"])
        elif event.kind in _DOING:
            self.doing = _DOING[event.kind]
            if event.kind == "training":
                self.doing = f"training, epoch {event.fields.get('epoch', 0) + 1}"
                self._take_training(event)
        elif event.kind == "epoch":
            self._take_training(event)

    def _take_training(self, event: Event) -> None:
        """Take in how training goes: of the steps since the last time, or of an epoch."""
        self.samples_per_s, self.loss = event.fields.get("samples_per_s"), event.fields.get("loss")
        self.seconds = event.fields.get("seconds") or self.seconds

    def _take_score(self, scores: Mapping[str, float | None]) -> None:
        """Take in what a checkpoint scored on a window after its data."""
        value = None if self._metric is None else scores.get(self._metric["name"])
        if self._metric is not None and value is not None:
            self.score = f"{self._metric['name']} {value:.3f}"

    def cells(self) -> list[str]:
        """The row's cells."""
        speed = "" if self.samples_per_s is None else f"{self.samples_per_s:,.0f}"
        elapsed = "" if self.started is None else f"{(self.ended or time.monotonic()) - self.started:.0f} s"
        share = "" if self.follows else f"{self.share:.0%}"
        loss = "" if self.loss is None else f"{self.loss:.3g}"
        return [self.name, self.doing, str(self.rounds), speed, loss, self.score, share, elapsed, self._left()]

    @property
    def bound(self) -> str:
        """What limits training, and where its time goes; empty before there was any."""
        return f"{self.name} is {in_words(self.seconds)}" if any(self.seconds.values()) else ""

    def _left(self) -> str:
        if self.started is None or self.ended is not None or self.share < 0.05:
            return ""
        return f"~{(time.monotonic() - self.started) * (1 - self.share) / self.share:.0f} s"


class Progress:
    """A live table of several runs; a context manager. ``observe(i)`` is the observer of the i-th run."""

    def __init__(self, console: Console, names: list[str], *, hidden: bool = False) -> None:
        self._console, self._hidden = console, hidden
        self._rows = [_Row(name) for name in names]
        self._warned: set[str] = set()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal and not self._hidden:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @property
    def unfinished(self) -> str | None:
        """The run that was begun and has not finished, if there is one."""
        begun = self._begun()
        return begun.name if begun else None

    @property
    def has_rounds(self) -> bool:
        """Whether the run that has not finished has finished a round."""
        begun = self._begun()
        return begun is not None and begun.rounds > 0

    def _begun(self) -> _Row | None:
        begun = [row for row in self._rows if row.started is not None and row.doing != "finished"]
        return begun[-1] if begun else None

    def observe(self, number: int) -> Observer:
        """The observer that fills a row."""
        row = self._rows[number]

        def take(event: Event) -> None:
            row.take(event)
            if event.kind == "warning" and not self._hidden:
                self._tell_warning(row, event)
            if not self._console.is_terminal and not self._hidden:
                self._print_line(row, event)

        return take

    def _tell_warning(self, row: _Row, event: Event) -> None:
        """A line for a warning, above the table if there is one; the same words once, and after a few no more."""
        message = str(event["message"])
        if message in self._warned or len(self._warned) > _MOST_WARNINGS:
            return
        self._warned.add(message)
        words = (
            f"warning: {message}" if len(self._warned) <= _MOST_WARNINGS else "more warnings are in the run's report"
        )
        self._console.print(f"{row.name}  {words}", highlight=False, markup=False, soft_wrap=True)

    def _print_line(self, row: _Row, event: Event) -> None:
        if event.kind == "round-finished":
            bound = f" ({bound_by(row.seconds).partition(':')[0]})" if any(row.seconds.values()) else ""
            trained = f"{event['costs'].get('train', 0):.1f} s training{bound}"
            loss = "" if row.loss is None else f"loss {row.loss:.3g}  "
            self._console.print(f"{row.name}  round {event.round}  {trained}  {loss}{row.score}", highlight=False)
        elif event.kind in _ENDED:
            why = event.fields.get("error") or event.fields.get("reason") or counted(row.rounds, "round")
            self._console.print(f"{row.name}  {row.doing}: {why}", highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("run", "now", "rounds", "samples/s", "loss", "on the next window", "stream", "time", "left"):
            table.add_column(name, header_style="dim", justify="left" if name in ("run", "now") else "right")
        for row in self._rows:
            table.add_row(*row.cells())
        bounds = [row.bound for row in self._rows if row.bound and row.ended is None]
        return Group(table, *(Text(bound, style="dim") for bound in bounds))
