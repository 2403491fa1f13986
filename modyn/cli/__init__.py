"""The commands. Each one calls one public function; an error is one line and exit code 2, ctrl-C exits 130."""

import os
import signal
import sys
from collections import namedtuple
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from modyn.cli import data, pipelines, policies, runs, selection, triggers
from modyn.errors import ModynError
from modyn.usercode import exit_error, told_of
from modyn.version import __version__

app = typer.Typer(
    add_completion=False,
    name="modyn",
    help="Train machine-learning models on dynamic datasets: when to retrain, on what, and how well it holds.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")
app.add_typer(triggers.app, name="triggers")
app.add_typer(selection.app, name="selection")
pipelines.add_to(app)
policies.add_to(app)
runs.add_to(app)
triggers.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"modyn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    workspace: Annotated[
        Path | None,
        typer.Option(help="The folder that holds everything (default: $MODYN_WORKSPACE or ./modyn-workspace)."),
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error was raised.")] = False,  # noqa: ARG001
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """``--traceback`` is read in ``main``, where errors end."""
    if workspace is not None:
        os.environ["MODYN_WORKSPACE"] = str(workspace)


def main() -> None:
    """Run the command line; exit with 0, 2 after an error of the user's, 130 after ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.argv[1:] = _common_options_first(sys.argv[1:])
    try:
        code: Any = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        _stop()
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)
    except ModynError as error:
        if "--traceback" in sys.argv:
            raise
        _fail(str(error), 2)
    except SystemExit as error:  # not of a command's: those end with typer.Exit
        if "--traceback" in sys.argv:
            raise exit_error(error) from error
        _fail(str(exit_error(error)), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        _unexpected(error)
    if code == 130:  # typer's word for a KeyboardInterrupt in a command
        _stop()
    sys.exit(code if isinstance(code, int) else 0)


def _common_options_first(arguments: list[str]) -> list[str]:
    """``--workspace`` and ``--traceback`` belong to every command; let them stand after its name as well."""
    first: list[str] = []
    rest = list(arguments)
    for place in reversed(range(len(rest))):
        if rest[place] == "--traceback" or rest[place].startswith("--workspace="):
            first.insert(0, rest.pop(place))
        elif rest[place] == "--workspace" and place + 1 < len(rest):
            first = [rest.pop(place), rest.pop(place), *first]
    return [*first, *rest]


def _unexpected(error: Exception) -> None:
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # click's usage errors, wherever typer keeps its click
        error.show()
        sys.exit(error.exit_code)
    if "--traceback" in sys.argv:
        raise error
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}", 2)
    if (told := told_of(error)) is not None:
        _fail(f"{told} (--traceback shows the rest)", 2)
    _fail(
        f"this is a fault in Modyn, please report it: {type(error).__name__}: {error} (--traceback shows the rest)", 1
    )


def _stop() -> NoReturn:
    """Exit with 130. A second signal, for what is being done already, would end Python at once, and is not heard.

    Python ends by the signal as well if the first came while it ran source text, as it does to define a named tuple: it makes a note of that.
    Defining one clears the note.
    """
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, signal.SIG_IGN)
    namedtuple("Cleared", ())
    _fail("stopped", 130)


def _fail(message: str, code: int) -> NoReturn:
    print("\n".join(f"modyn: {line}" if line else line for line in message.splitlines()), file=sys.stderr)
    sys.exit(code)
