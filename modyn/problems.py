"""Pydantic's errors and JSON schemas in Modyn's words: where, what was got, what is allowed, the nearest name."""

import inspect
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from modyn.errors import Problem, counted, did_you_mean

ROLE_MARK = "x-modyn-role"
"""Where a policy of some role may stand, a JSON schema says so under this name."""

Loc = tuple[str | int, ...]


def problems_of(error: ValidationError, cls: type[BaseModel] | None, *, prefix: Loc = ()) -> list[Problem]:
    """The problems in pydantic's error, in Modyn's words, each once."""
    found: dict[tuple[str, str], Problem] = {}
    for loc, message, _ in told(error, cls):
        path = ".".join(str(part) for part in (*prefix, *loc))
        found.setdefault((path, message), Problem(path=path, message=message))
    return list(found.values())


def told(error: ValidationError, cls: type[BaseModel] | None) -> Iterator[tuple[Loc, str, Any]]:
    """Each problem in pydantic's error: its path, what is wrong, and what was got.

    Of an option that may be of several types pydantic tells how each of them failed; here it is one problem, unless it got as far as
    the options within.
    """
    placed = [(detail, *_place(cls, tuple(detail["loc"]))) for detail in error.errors(include_url=False)]
    deep = {loc[:size] for _, loc, _, union in placed if union is None for size in range(len(loc))}
    seen: set[Loc] = set()
    for detail, loc, owner, union in placed:
        if union is None:
            yield loc, _message(detail, owner), detail["input"]
        elif loc not in deep and loc not in seen:
            seen.add(loc)
            yield (
                loc,
                f"must be {_option_words(union, str(loc[-1]))}; got {describe_value(detail['input'])}",
                detail["input"],
            )


def _place(cls: type[BaseModel] | None, loc: Loc) -> tuple[Loc, type[BaseModel] | None, type[BaseModel] | None]:
    """A path without the names of union members that pydantic puts into it, the options that hold its last part, and, where the path
    ends at such a member, the options that have the union."""
    clean: list[str | int] = []
    owner, here, rest = cls, cls, list(loc)
    while rest:
        part = rest.pop(0)
        clean.append(part)
        owner = here
        members = _members(here, part)
        if len(members) > 1 and rest:
            tag = str(rest.pop(0))
            if not rest:
                return tuple(clean), owner, here
            here = _options_among([m for m in members if getattr(m, "__name__", None) == tag])
        else:
            here = _options_among(members)
    return tuple(clean), owner, None


def _members(cls: type[BaseModel] | None, name: str | int) -> list[Any]:
    """The types that an option may be of, None aside."""
    field = cls.model_fields.get(str(name)) if cls is not None else None
    if field is None:
        return []
    is_union = get_origin(field.annotation) in (Union, UnionType)
    members = get_args(field.annotation) if is_union else (field.annotation,)
    return [member for member in members if member is not type(None)]


def _options_among(members: list[Any]) -> type[BaseModel] | None:
    return next((m for m in members if inspect.isclass(m) and issubclass(m, BaseModel)), None)


def _message(detail: Any, cls: type[BaseModel] | None) -> str:
    name = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        known = [f.alias or known for known, f in cls.model_fields.items()] if cls is not None else []
        return f"no option is named '{name}' here. {did_you_mean(name, known)}"
    if detail["type"] == "missing":
        return "is required but missing"
    if detail["type"] in ("modyn", "value_error", "assertion_error"):
        return str(detail["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if detail["type"] == "model_type" and cls is not None and name in cls.model_fields:
        return f"must be {_option_words(cls, name)}; got {describe_value(detail['input'])}"
    words = _shape_words(detail["type"], detail.get("ctx", {}))
    said = words or f"{detail['msg'][:1].lower()}{detail['msg'][1:]}"
    return f"{said}; got {describe_value(detail['input'])}"


def _shape_words(kind: str, about: Mapping[str, Any]) -> str | None:
    """What pydantic calls by the names of Python's types, in those of a document."""
    if kind in ("dict_type", "mapping_type", "model_type", "model_attributes_type"):
        return "must be a mapping, of names to values"
    if kind in ("tuple_type", "list_type", "set_type"):
        return "must be a list"
    if kind in ("too_short", "too_long"):
        least = kind == "too_short"
        limit = about["min_length" if least else "max_length"]
        return f"needs at {'least' if least else 'most'} {counted(limit, 'item')}"
    return None


def _option_words(cls: type[BaseModel], name: str) -> str:
    schema = cls.model_json_schema()
    return type_words(schema["properties"].get(name, {}), schema.get("$defs", {}))


def type_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in a few words."""
    if "$ref" in schema:
        return type_words(definitions.get(str(schema["$ref"]).rpartition("/")[2], {}), definitions)
    if ROLE_MARK in schema:
        return a(str(schema[ROLE_MARK]))
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(type_words(choice, definitions) for choice in schema[several]))
    if "enum" in schema or "const" in schema:
        return " | ".join(describe_value(v).strip("'") for v in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {several_of(items[ROLE_MARK]) if ROLE_MARK in items else type_words(items, definitions)}"
    if schema.get("type") == "object" and schema.get("properties"):
        return "{" + ", ".join(schema["properties"]) + "}"
    return _plain_type(schema)


def _plain_type(schema: Mapping[str, Any]) -> str:
    examples = schema.get("examples")
    if examples:
        return f"such as {', '.join(str(example) for example in examples[:3])}"
    words = str(schema.get("format") or schema.get("type", "anything"))
    words = {"date-time": "date and time", "string": "text", "object": "mapping"}.get(words, words)
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]:g}" for name, sign in bounds.items() if name in schema]
    return " ".join([words, ", ".join(limits)]).strip()


def a(role: str) -> str:
    """Something that fills a role, in words.

    >>> a("trigger"), a("windows")
    ('a trigger', 'windows')
    """
    return role if is_plural(role) else f"a {role}"


def several_of(role: str) -> str:
    """Some things that fill a role, in words.

    >>> several_of("trigger"), several_of("windows")
    ('triggers', 'windows')
    """
    return role if is_plural(role) else f"{role}s"


def is_plural(role: str) -> bool:
    """Whether a role's name speaks of several."""
    return role.endswith("s") and not role.endswith("ss")


def describe_value(value: Any) -> str:
    """A value as an error message shows it: as YAML would, and never long.

    >>> describe_value({"every": {"samples": 0}})
    '{every: {samples: 0}}'
    """
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k}: {describe_value(v)}" for k, v in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(describe_value(v) for v in value) + "]"
    elif isinstance(value, str):
        text = repr(value)
    else:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
