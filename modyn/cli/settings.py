"""The option that several commands share."""

from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override an option, such as training.epochs=3.")
]
