"""Where the commands print and ask: as wide as the terminal, and wide enough for a table where there is none."""

import sys
from typing import Any

import typer
from rich.console import Console

from modyn.errors import ConfigError


class _Console(Console):
    """One that leaves it to ``main`` what happens once nobody reads on: rich would end the program, as user code may not."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console(**options: Any) -> Console:
    """A console on standard output, with options of rich's."""
    return _Console(width=None if sys.stdout.isatty() else 160, **options)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone, unless told ``yes``. Raises ConfigError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} There is no terminal to ask on: say --yes")
    typer.confirm(question, abort=True, err=True)
