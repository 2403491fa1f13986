"""``modyn policies`` and ``modyn schema``: what can stand in a pipeline file."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modyn import policy
from modyn.cli.console import make_console
from modyn.errors import NotFound, did_you_mean
from modyn.problems import a


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("policies")(show_policies)
    app.command("schema")(schema)


def show_policies(
    role: Annotated[
        str | None, typer.Argument(help="trigger, selector, metric, windows, ...; all if left out.")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="One policy, with its options and an example.")] = None,
) -> None:
    """List the policies that a pipeline can name, or explain one."""
    console = make_console()
    known = policy.roles()
    if role is not None and role not in known:
        raise NotFound(f"there are no policies of the kind '{role}'. {did_you_mean(role, known)}")
    if role is not None and name is not None:
        _explain(console, policy.find(known[role], name), name)
        return
    for kind in known if role is None else [role]:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for found, cls in policy.policies(known[kind]).items():
            table.add_row(f"  [bold]{found}[/]", escape(policy.summary_of(cls)))
        console.print(f"[bold underline]{kind}[/]  {escape(policy.summary_of(known[kind]))}")
        console.print(table)
        console.print()
    console.print(f"One of them in full: modyn policies {role or 'trigger'} NAME", style="dim")


def _explain(console: Console, cls: type[policy.Policy], name: str) -> None:
    console.print(f"[bold]{name}[/]  {a(cls.role)}\n")
    text = policy.prose_of(cls)
    console.print(escape(text), highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), title="Options", title_justify="left", title_style="bold")
    for column in ("option", "type", "default", "meaning"):
        table.add_column(column, header_style="dim", overflow="fold")
    options = policy.option_docs(cls)
    for option in options:
        table.add_row(option.name, escape(option.type), escape(option.default), escape(option.description))
    if options:
        console.print()
        console.print(table)
    example = policy.example_of(cls)
    if example:
        console.print("\n[bold]Example[/] (Python)\n")
        console.print(escape(example), highlight=False)


def schema() -> None:
    """Print the JSON schema of pipeline files, for editors."""
    from modyn.pipeline import Pipeline

    print(json.dumps(Pipeline.file_schema(), indent=2))
