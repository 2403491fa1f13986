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


def training(seq: int, kind: str, **fields: object) -> Event:
    seconds = {"wait": 3.0, "move": 0.0, "forward": 1.0, "backward": 1.0, "step": 1.0}
    return Event(seq, 0, kind, 0, {"epoch": 1, "loss": 0.4567, "samples_per_s": 12345.0, "seconds": seconds, **fields})


def started() -> Event:
    return Event(0, 0, "run-started", None, {"run": "flights-1", "stream": [0, 100], "metrics": []})


def test_the_table_shows_loss_speed_and_what_training_is_bound_by() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with Progress(console, ["flights"]) as progress:
        progress.observe(0)(started())
        progress.observe(0)(training(1, "training"))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for text in ("training, epoch 2", "12,345", "0.457", "loss"):
        assert text in shown
    bound = "flights-1 is input-bound (waiting for data 50%, moving it 0%, forward 17%, backward 17%, step 17%)"
    assert bound in shown


def test_without_a_terminal_a_round_is_a_line_with_its_loss_and_what_training_was_bound_by() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Progress(console, ["flights"]) as progress:
        progress.observe(0)(started())
        progress.observe(0)(training(1, "epoch"))
        progress.observe(0)(Event(2, 0, "round-finished", 0, {"costs": {"train": 1.25}, "scores": {}}))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().strip() == "flights-1  round 0  1.2 s training (input-bound)  loss 0.457"
