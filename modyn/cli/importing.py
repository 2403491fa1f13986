"""A live bar of an import, on a terminal only."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from modyn.errors import counted
from modyn.sources.added import Progress


class ImportBar:
    """Shows samples so far and time left; ``with ImportBar() as progress`` gives what an import reports to."""

    def __init__(self) -> None:
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
        ]
        self.bar = Bar(
            *columns, console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal
        )
        self.task: TaskID | None = None

    def __enter__(self) -> Callable[[Progress], None]:
        self.bar.start()
        self.task = self.bar.add_task("reading", total=None)
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, progress: Progress) -> None:
        assert self.task is not None
        words = counted(progress.samples, "sample") + (
            f", {progress.quarantined:,} bad" if progress.quarantined else ""
        )
        self.bar.update(self.task, description=words, completed=progress.bytes_done, total=progress.bytes_total or None)
