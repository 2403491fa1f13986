"""The pipeline file: load it, override it, check it against its options, and say what is wrong by file, line and path.

The YAML loader is the safe one, with YAML 1.2's numbers (``1e-3`` is a number), and refuses a key that is written twice.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, PlainSerializer, ValidationError, WithJsonSchema

from modyn.errors import ConfigError, Problem
from modyn.policy import describe_value, problems_of

_UNITS = {"us": 1, "ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6}
LONGEST = 1000 * 365 * 86_400 * 10**6
"""The longest duration, in microseconds: what lies further away than this from a time may not be a time."""
_UNITS |= {"d": 24 * _UNITS["h"], "w": 7 * 24 * _UNITS["h"], "y": 365 * 24 * _UNITS["h"]}


def parse_duration(value: Any) -> int:
    """Microseconds of a duration such as ``30s``, ``5m``, ``2h``, ``7d``, ``1w``, ``1y`` (365 days), or ``1d 12h``.

    A ``datetime.timedelta`` will do as well, a bare number will not: nobody can tell its unit. Raises ValueError if it is none.

    >>> parse_duration("1d 12h") == 36 * 3600 * 10**6
    True
    """
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    parts = value.split() if isinstance(value, str) else []
    matches = [re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|[smhdwy])", part) for part in parts]
    if not parts or None in matches:
        raise ValueError(f"must be a duration such as 30s, 5m, 2h, 7d, 1w or 1y; got {describe_value(value)}")
    microseconds = sum(float(m[1]) * _UNITS[m[2]] for m in matches if m)
    if microseconds > LONGEST:
        raise ValueError(f"must be at most 1000y; got {describe_value(value)}")
    return round(microseconds)


def format_duration(microseconds: int) -> str:
    """The shortest spelling of a duration that ``parse_duration`` reads back exactly.

    >>> format_duration(36 * 3600 * 10**6)
    '36h'
    """
    for unit in ("y", "w", "d", "h", "m", "s", "ms"):
        if microseconds and microseconds % _UNITS[unit] == 0:
            return f"{microseconds // _UNITS[unit]}{unit}"
    return f"{microseconds}us" if microseconds else "0s"


def _or_zero(value: Any) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else parse_duration(value)


def _positive(value: Any) -> int:
    microseconds = parse_duration(value)
    if microseconds <= 0:
        raise ValueError(f"must be longer than nothing; got {describe_value(value)}")
    return microseconds


_DURATION_SCHEMA = WithJsonSchema({"type": "string", "examples": ["30s", "5m", "2h", "7d", "1w", "1y"]})
Duration = Annotated[int, BeforeValidator(_positive), PlainSerializer(format_duration), _DURATION_SCHEMA]
"""A duration above zero, written ``7d``, held as microseconds."""
DurationOrZero = Annotated[int, BeforeValidator(_or_zero), PlainSerializer(format_duration), _DURATION_SCHEMA]
"""A duration that may be ``0s``, held as microseconds."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with YAML 1.2's floats and without silent duplicate keys."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
    ),
    list("-+0123456789."),
)


DEEPEST, MOST_NODES = 50, 20_000
"""A pipeline file never comes near these; an alias that multiplies or contains itself does."""


@dataclass(frozen=True)
class Document:
    """A loaded pipeline file: its data, its text, and the line on which each path stands."""

    data: dict[str, Any]
    path: Path | None = None
    text: str = ""
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    settings: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """The ``--set`` settings applied, by the path that each one set."""

    @property
    def base_dir(self) -> Path:
        """Where the files that the document names relatively are looked for."""
        return self.path.parent if self.path is not None else Path.cwd()


def load(path: str | Path) -> Document:
    """Read a YAML file. Raises ConfigError if it is missing, is not YAML, or is not a mapping."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for p in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        hint = f" In {file.parent}/: {', '.join(sorted(near))}." if near else ""
        raise ConfigError(f"there is no file {path}.{hint}") from None
    except IsADirectoryError:
        within = sorted(p.name for p in file.glob("*.y*ml"))
        raise ConfigError(
            f"{path} is a folder, not a file" + (f"; in it: {', '.join(within)}" if within else "")
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8 ({error.reason} at byte {error.start})") from None
    return parse(text, file)


def parse(text: str, path: Path | None = None) -> Document:
    """A document from YAML text; ``path`` is what error messages and relative file names refer to."""
    name = str(path) if path else None
    lines: dict[tuple[str, ...], int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _note_lines(node, (), lines, name)
        data = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(
            [Problem(path="", message=f"not valid YAML: {what}", file=name, line=mark.line + 1 if mark else None)]
        ) from None
    except RecursionError:
        raise ConfigError([Problem(path="", message="is nested too deeply", file=name)]) from None
    if not isinstance(data, dict):
        got = "an empty file" if data is None else describe_value(data)
        raise ConfigError([Problem(path="", message=f"must hold a mapping of options; got {got}", file=name)])
    return Document(data, path, text, lines)


def _note_lines(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int], file: str | None) -> None:
    if node is None:
        return
    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > DEEPEST or len(lines) > MOST_NODES:
        what = f"is nested deeper than {DEEPEST}" if len(path) > DEEPEST else f"has more than {MOST_NODES:,} entries"
        raise ConfigError([Problem(path="", message=what, file=file, line=node.start_mark.line + 1)])
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                where = ".".join((*path, name))
                raise ConfigError(
                    [Problem(path=where, message="is written twice", file=file, line=key.start_mark.line + 1)]
                )
            seen.add(name)
            lines[(*path, name)] = key.start_mark.line + 1
            _note_lines(value, (*path, name), lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _note_lines(item, (*path, str(number)), lines, file)


Settings = str | Sequence[str] | Mapping[str, Any]
"""Options to set: ``path.to.option=value``, several of these, or path to value."""


def override(document: Document, settings: Settings) -> Document:
    """The document with settings applied; values that come in a text are read as YAML.

    Raises ConfigError if a setting has no ``=`` or its path leads through something that has no options.
    """
    data, applied = _copy(document.data), dict(document.settings)
    for path, value, setting in _read(settings):
        _assign(data, path, value, setting)
        applied[tuple(path)] = setting
    return replace(document, data=data, settings=applied)


def _read(settings: Settings) -> Iterator[tuple[list[str], Any, str]]:
    """Each setting's path and value, and how it was written."""
    if isinstance(settings, Mapping):
        for path, value in settings.items():
            yield str(path).strip().split("."), _copy(value), f"{path}={describe_value(value)}"
        return
    if not isinstance(settings, Iterable):
        raise ConfigError(f"settings: must be [path.to.option=value] or {{path.to.option: value}}; got {settings!r}")
    for setting in [settings] if isinstance(settings, str) else settings:
        path, equals, text = str(setting).partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--set {setting}: must be written path.to.option=value")
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError:
            if not text.startswith(("%", "@", "`")):  # what YAML keeps for itself can only be a text, such as %Y-%m-%d
                raise ConfigError(f"--set {setting}: the value is not valid YAML") from None
            value = text
        yield path.strip().split("."), value, str(setting)


def _assign(data: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    *parents, last = path
    here: Any = data
    for depth, part in enumerate(parents):
        child = here.get(part)
        if isinstance(child, str):
            child = {child: {}} if child == path[depth + 1] else {}
        elif child is None:
            child = {}
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {setting}: '{'.'.join(path[: depth + 1])}' is {describe_value(child)}, it has no options"
            )
        here[part] = child
        here = child
    here[last] = value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


M = TypeVar("M", bound=BaseModel)


def build(cls: type[M], document: Document) -> M:
    """The options that a document spells. Raises ConfigError with every problem found, each with file, line and path."""
    try:
        return cls.model_validate(document.data, context={"base_dir": document.base_dir})
    except ValidationError as error:
        problems = [_placed(problem, document) for problem in problems_of(error, cls)]
        raise ConfigError(problems) from None


def _placed(problem: Problem, document: Document) -> Problem:
    parts = tuple(problem.path.split(".")) if problem.path else ()
    for path, setting in document.settings.items():
        if parts[: len(path)] == path:
            return replace(problem, file=f"--set {setting}")
    while parts and parts not in document.lines:
        parts = parts[:-1]
    line = document.lines.get(parts)
    return replace(problem, file=str(document.path) if document.path else None, line=line)


def dump(data: Any) -> str:
    """A document as YAML text, in the order of its options."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
