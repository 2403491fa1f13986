"""Policies of a run, told by the options that are not at their defaults."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError

from modyn.errors import ModynError
from modyn.policy import Policy, find, roles


def given(document: Any, role: str) -> Any:
    """A policy as a resolved pipeline has it, less the options at their defaults; all of it where the policy is not Modyn's own.

    >>> given({"every": {"interval": "30d", "samples": None, "start": None}}, "trigger")
    {'every': {'interval': '30d'}}
    """
    if not (isinstance(document, Mapping) and len(document) == 1):
        return document
    name, options = next(iter(document.items()))
    cls = _own(str(name), role)
    if cls is None or not isinstance(options, Mapping):
        return document
    defaults = _defaults(cls)
    kept = {key: _inner(value) for key, value in options.items() if key not in defaults or defaults[key] != value}
    return {name: kept} if kept else name


def _own(name: str, role: str) -> type[Policy] | None:
    try:
        return None if ":" in name else find(roles()[role], name)
    except ModynError:
        return None


def _defaults(cls: type[Policy]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, option in cls.model_fields.items():
        if option.is_required():
            continue
        value = option.get_default(call_default_factory=True, validated_data={})
        try:
            found |= cls.model_construct(**{name: value}).model_dump(mode="json", include={name}, warnings=False)
        except (PydanticSerializationError, ValueError, AttributeError):
            continue
    return found


def _inner(value: Any) -> Any:
    """The policies within an option's value, whatever role they fill."""
    if isinstance(value, list | tuple):
        return [_inner(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1 and isinstance(next(iter(value.values())), Mapping):
        for role in roles():
            if _own(str(next(iter(value))), role) is not None:
                return given(value, role)
    return {key: _inner(item) for key, item in value.items()}
