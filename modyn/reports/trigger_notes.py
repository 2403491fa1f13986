"""What a check of a trigger measured, read from its note in the journal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

UNNAMED = "the trigger"
_PLACE = frozenset({"key", "timestamp", "round", "trigger", "part_of", "fired", "reason"})
_MAIN = ("distance", "score", "value")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One quantity at one check. ``moment`` is the last sample's key and time; ``is_vote`` says that others decide with it.

    ``source`` tells triggers of the same name apart: the combinations that it is part of, and what it is called there.
    """

    trigger: str
    source: tuple[str, ...]
    label: str
    moment: tuple[Any, Any]
    value: float | None
    bounds: Mapping[str, float]
    fired: bool
    is_vote: bool


def measured_in(note: Mapping[str, Any]) -> Iterator[Measured]:
    """Everything that a note says was measured; nothing where the trigger decided without numbers."""
    trigger = str(note.get("trigger") or UNNAMED)
    way = str(note["part_of"]).split(" > ") if note.get("part_of") else []
    source = (*way, str(note.get("name") or trigger))
    for label, value, bounds, fired in _QUANTITIES.get(trigger, _any)(note):
        yield Measured(
            trigger=trigger,
            source=source,
            label=label,
            moment=(note.get("key"), note.get("timestamp")),
            value=value,
            bounds={name: bound for name, bound in bounds.items() if bound is not None},
            fired=fired,
            is_vote=bool(note.get("part_of")),
        )


Quantity = tuple[str, float | None, Mapping[str, float | None], bool]
"""Label, value, bounds by name, and whether it was beyond one."""


def _drift(note: Mapping[str, Any]) -> Iterator[Quantity]:
    for name, numbers in (note.get("metrics") or {}).items():
        bound, p_value = {name: numbers.get("threshold")}, numbers.get("p_value")
        if numbers.get("of"):
            yield f"{name}: {numbers['of']}", numbers.get("measured"), bound, bool(numbers.get("fired"))
            yield f"{name}: distance", numbers.get("distance"), {}, False
        else:
            yield f"{name}: distance", numbers.get("distance"), bound, bool(numbers.get("fired"))
            if p_value is not None:
                yield f"{name}: p-value", p_value, {}, False


def _performance(note: Mapping[str, Any]) -> Iterator[Quantity]:
    if note.get("score") is None and not note.get("criteria"):
        return
    criteria = note.get("criteria") or {}
    own = {name: c for name, c in criteria.items() if not c.get("of")}
    bounds = {name: c.get("threshold") for name, c in own.items()}
    yield str(note.get("metric")), note.get("score"), bounds, any(c.get("fired") for c in own.values())
    for name, criterion in criteria.items():
        if criterion.get("of"):
            yield (
                str(criterion["of"]),
                criterion.get("measured"),
                {name: criterion.get("threshold")},
                bool(criterion.get("fired")),
            )


def _cost(note: Mapping[str, Any]) -> Iterator[Quantity]:
    if note.get("distance") is not None:
        unit = "sample-seconds" if note["trigger"] == "data-latency-cost" else "misclassification-seconds"
        bound = {"training": note.get("threshold")}
        yield f"regret ({unit})", note["distance"], bound, bool(note.get("fired")) and note.get("threshold") is not None


def _deletion(note: Mapping[str, Any]) -> Iterator[Quantity]:
    yield "deleted samples", note.get("distance"), {"deletion": note.get("threshold")}, bool(note.get("fired"))


def _detector(note: Mapping[str, Any]) -> Iterator[Quantity]:
    if note.get("num_samples"):
        yield f"mean {note.get('of')} ({note.get('detector')})", note.get("score"), {}, bool(note.get("fired"))


def _any(note: Mapping[str, Any]) -> Iterator[Quantity]:
    """The numbers of a trigger that this package does not know: the main one with its threshold, then the others."""
    found = {
        k: v for k, v in note.items() if k not in _PLACE and isinstance(v, int | float) and not isinstance(v, bool)
    }
    threshold = found.pop("threshold", None)
    main = next((name for name in _MAIN if name in found), None)
    for name in sorted(found, key=lambda name: name != main):
        if not name.startswith("num_"):
            is_main = name == main
            yield name, found[name], {"threshold": threshold} if is_main else {}, is_main and bool(note.get("fired"))


def _nothing(_: Mapping[str, Any]) -> Iterator[Quantity]:
    return iter(())


_QUANTITIES = {
    "drift": _drift,
    "performance": _performance,
    "data-latency-cost": _cost,
    "misclassification-cost": _cost,
    "deletion": _deletion,
    "stream-detector": _detector,
    **dict.fromkeys(("any-of", "all-of", "majority", "at-least", "none-of", "cooldown", "cron", "manual"), _nothing),
}
