"""The options that several commands share, and what is read from options."""

from typing import Annotated

import typer

from modyn.config import parse_duration
from modyn.errors import ConfigError

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override an option, such as training.epochs=3.")
]
Name = Annotated[str, typer.Argument(help="The dataset's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def duration_of(option: str, text: str) -> int:
    """A duration given on the command line, such as 2s, in microseconds. Raises ConfigError, naming the option or argument."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
