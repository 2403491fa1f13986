"""Where the commands print: as wide as the terminal, and wide enough for a table where there is none."""

import sys

from rich.console import Console


def make_console() -> Console:
    """A console on standard output."""
    return Console(width=None if sys.stdout.isatty() else 160)
