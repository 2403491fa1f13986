"""What is printed while runs go on."""

import io

from rich.console import Console

from modyn.cli.progress import Progress
from modyn.runlog import Event


def warn(seq: int, message: str) -> Event:
    return Event(seq, 0, "warning", None, {"message": message})


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if "warning" in line]


def test_a_warning_is_printed_once_with_the_run_it_is_of() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Progress(console, ["flights"]) as progress:
        for seq in range(3):
            progress.observe(0)(warn(seq, "the disk is full"))
    assert printed(console) == ["flights  warning: the disk is full"]


def test_a_warning_is_printed_above_the_live_table() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with Progress(console, ["flights"]) as progress:
        progress.observe(0)(warn(0, "the disk is full"))
    assert len([line for line in printed(console) if "flights  warning: the disk is full" in line]) == 1


def test_after_many_warnings_the_report_is_named_for_the_others() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Progress(console, ["flights"]) as progress:
        for seq in range(50):
            progress.observe(0)(warn(seq, f"number {seq}"))
    assert len(printed(console)) == 21
    assert printed(console)[-1] == "flights  more warnings are in the run's report"
