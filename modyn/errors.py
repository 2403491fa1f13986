"""The error tree.

::

    ModynError                  anything that Modyn reports in one clear line; the CLI exits with code 2
    ├── ConfigError             the pipeline file or an option is wrong (carries every problem found)
    ├── NotFound                a dataset, run, checkpoint or policy of that name does not exist
    ├── AlreadyExists           the name is taken
    ├── DataError               samples cannot be read, parsed or stored
    │   ├── BadSample           one sample is unusable; names its source position or key
    │   └── Damaged             bytes on disk are not what was written; names the file
    ├── TrainingError           a round's training failed (NaN loss, out of memory, wrong shapes)
    ├── EvaluationError         a checkpoint cannot be scored
    ├── RunError                a run cannot be started, resumed or read
    └── MissingExtra            an optional dependency is not installed; names the pip command
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class ModynError(Exception):
    """Anything that Modyn reports to its user in one clear line."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong in a document: where it stands and what is allowed there."""

    path: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


class ConfigError(ModynError):
    """The pipeline file or an option is wrong. ``problems`` holds all that were found, one line each."""

    def __init__(self, problems: str | Sequence[Problem]) -> None:
        self.problems = [Problem(path="", message=problems)] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NotFound(ModynError):
    """A dataset, run, checkpoint or policy of that name does not exist."""


class AlreadyExists(ModynError):
    """The name is taken."""


class DataError(ModynError):
    """Samples cannot be read, parsed or stored."""


class BadSample(DataError):
    """One sample is unusable; the message names its source position or key."""


class Damaged(DataError):
    """Bytes on disk are not what was written; the message names the file."""


class TrainingError(ModynError):
    """A round's training failed: NaN loss, out of memory, wrong shapes."""


class EvaluationError(ModynError):
    """A checkpoint cannot be scored."""


class RunError(ModynError):
    """A run cannot be started, resumed or read."""


class MissingExtra(ModynError):
    """An optional dependency is not installed.

    >>> str(MissingExtra("river", extra="stream"))
    "river is not installed; it comes with: pip install 'modyn[stream]'"
    """

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(f"{package} is not installed; it comes with: pip install 'modyn[{extra}]'")


MOST_NAMES = 50
"""An error message lists at most so many names."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or all of them; of very many, the first.

    >>> did_you_mean("evry", ["every", "once"])
    "Did you mean 'every'?"
    >>> did_you_mean("zzz", ["every", "once"])
    'Known: every, once.'
    """
    choices = sorted(known)
    by_lower = {choice.lower(): choice for choice in choices}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    if nearest:
        return f"Did you mean '{by_lower[nearest[0]]}'?"
    more = f", and {len(choices) - MOST_NAMES:,} more" if len(choices) > MOST_NAMES else ""
    return f"Known: {', '.join(choices[:MOST_NAMES])}{more}." if choices else "None is known."


def counted(number: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "sample"), counted(2000, "sample")
    ('1 sample', '2,000 samples')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")
