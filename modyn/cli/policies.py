"""``modyn policies`` and ``modyn schema``: what can stand in a pipeline file."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, get_args

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
        str | None,
        typer.Argument(
            help="trigger, selector, metric, windows, ..., or a section: training, evaluation; all if left out."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="One policy, with its options and an example; or one option of a section.")
    ] = None,
) -> None:
    """List or explain what can stand in a pipeline file: policies, and the options of its sections."""
    console = make_console()
    known, sections = policy.roles(), _sections()
    if role in sections:
        _show_section(console, role, sections[role], name)
        return
    if role is not None and role not in known:
        raise NotFound(f"there are no policies of the kind '{role}'. {did_you_mean(role, [*known, *sections])}")
    if role is not None and name is not None:
        _explain(console, policy.find(known[role], name), name)
        return
    for kind in known if role is None else [role]:
        rows = {found: policy.summary_of(cls) for found, cls in policy.policies(known[kind]).items()}
        _list(console, kind, policy.summary_of(known[kind]), rows)
    if role is None:
        rows = {found: policy.summary_of(cls) for found, cls in sections.items()}
        _list(console, "section", "A part of the pipeline file that has options and is no policy.", rows)
    section = "" if role is not None else "; the options of a section: modyn policies training"
    console.print(f"One of them in full: modyn policies {role or 'trigger'} NAME{section}", style="dim")


def _list(console: Console, kind: str, summary: str, rows: Mapping[str, str]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for found, text in rows.items():
        table.add_row(f"  [bold]{found}[/]", escape(text))
    console.print(f"[bold underline]{kind}[/]  {escape(summary)}")
    console.print(table)
    console.print()


def _sections() -> dict[str, type[policy.Options]]:
    """The pipeline file itself, and those of its parts that have options and are no policies."""
    from modyn.pipeline import Pipeline

    parts = {name: _options_in(field.annotation) for name, field in Pipeline.model_fields.items()}
    return {"pipeline": Pipeline, **{name: cls for name, cls in parts.items() if cls is not None}}


def _options_in(annotation: Any) -> type[policy.Options] | None:
    """The set of options among the types that an option may be of; None if there is none, or if it is a policy."""
    for kind in get_args(annotation) or (annotation,):
        if inspect.isclass(kind) and issubclass(kind, policy.Options) and not issubclass(kind, policy.Policy):
            return kind
    return None


def _show_section(console: Console, section: str, cls: type[policy.Options], name: str | None) -> None:
    options = _whole(cls) if section == "pipeline" else _with_parts(cls)
    if name is not None:
        found = [option for option in options if option.name == name or option.name.startswith(f"{name}.")]
        if not found:
            raise NotFound(f"{section} has no option '{name}'. {did_you_mean(name, [o.name for o in options])}")
        options = found
    console.print(f"[bold]{section}[/]  {escape(policy.summary_of(cls))}\n")
    console.print(_table_of(options))


def _whole(cls: type[policy.Options]) -> list[policy.OptionDoc]:
    """The options of the pipeline file; its sections have pages of their own."""
    docs = []
    for option in policy.option_docs(cls):
        if _options_in(cls.model_fields[option.name].annotation) is not None:
            needed = "required; " if option.default == "required" else ""
            option = replace(option, type="options", default=f"{needed}see modyn policies {option.name}")
        docs.append(option)
    return docs


def _with_parts(cls: type[policy.Options]) -> list[policy.OptionDoc]:
    """The options of a section, each followed by those within it."""
    docs = []
    for option in policy.option_docs(cls):
        docs.append(option)
        within = _options_in(cls.model_fields[option.name].annotation)
        if within is not None:
            docs += [replace(part, name=f"{option.name}.{part.name}") for part in policy.option_docs(within)]
    return docs


def _explain(console: Console, cls: type[policy.Policy], name: str) -> None:
    console.print(f"[bold]{name}[/]  {a(cls.role)}\n")
    console.print(escape(_reflowed(policy.prose_of(cls))), highlight=False)
    options = policy.option_docs(cls)
    if options:
        console.print()
        console.print(_table_of(options, title="Options"))
    example = policy.example_of(cls)
    if example:
        console.print("\n[bold]Example[/] (Python)\n")
        console.print(escape(example), highlight=False)


def _reflowed(text: str) -> str:
    """The paragraphs each in one line, for the console to break where it is as wide; lists and indented text stay."""
    paragraphs = [part.split("\n") for part in text.split("\n\n")]
    return "\n\n".join(
        ("\n" if any(line.startswith((" ", "- ")) for line in lines) else " ").join(lines) for lines in paragraphs
    )


def _table_of(options: Sequence[policy.OptionDoc], *, title: str | None = None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left", title_style="bold")
    for column in ("option", "type", "default", "meaning"):
        table.add_column(column, header_style="dim", overflow="fold")
    for option in options:
        table.add_row(option.name, escape(option.type), escape(option.default), escape(option.description))
    return table


def schema() -> None:
    """Print the JSON schema of pipeline files, for editors."""
    from modyn.pipeline import Pipeline

    print(json.dumps(Pipeline.file_schema(), indent=2))
