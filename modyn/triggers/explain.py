"""The numbers behind a trigger's decision, in words."""

from collections.abc import Iterable, Mapping
from typing import Any

from modyn.errors import counted
from modyn.types import to_datetime

Note = Mapping[str, Any]


def in_words(note: Note) -> str:
    """One check as a sentence.

    >>> in_words({"trigger": "drift", "key": 9, "timestamp": 0, "fired": True, "metrics": {"mmd": {"distance": 0.3, "threshold": 0.2, "fired": True}}})
    '1970-01-01 00:00, sample 9: drift fired: mmd was 0.3, above its bound 0.2.'
    """
    verdict = "fired" if note.get("fired") else "did not fire"
    part = f" (a vote in {note['part_of']})" if note.get("part_of") else ""
    clauses = _CLAUSES.get(str(note.get("trigger")), _plain)(note)
    reason = note.get("reason")
    told = "; ".join(clause for clause in ([str(reason)] if reason else []) + clauses if clause)
    return f"{_when(note)}{called(note)}{part} {verdict}{': ' + told if told else ''}."


def called(note: Note) -> str:
    """What the trigger that noted it is called: its name, numbered where a combination has several of that name."""
    return str(note.get("name") or note.get("trigger") or "the trigger")


def why(notes: Iterable[Note], *, most_before: int = 3) -> list[str]:
    """Why a round took place: the check that fired, with its votes, and how the last checks before it came out.

    ``notes`` are the checks since the round before, oldest first; the last ones are those that led to the firing.
    """
    checks = list(notes)
    if not checks:
        return ["The trigger noted nothing: it fires at fixed samples or times."]
    *before, last = _looks(checks)
    lines = [in_words(note) for note in last]
    for note in last:
        if note.get("kept_since") is not None:
            lines.append("That firing:" if note is last[-1] else f"The firing that {called(note)} had kept:")
            lines += [f"  {in_words(asked)}" for asked in _asked(note, before)]
    if before:
        lines.append(f"Before it, {counted(len(before), 'check')} since the last round did not fire:")
        lines += [f"  {in_words(note)}" for look in before[-most_before:] for note in _outermost(look)]
    return lines


def _asked(note: Note, before: Iterable[list[Note]]) -> list[Note]:
    """The check at which a cooldown was asked to fire and kept that: what it, and the triggers within it, noted then."""
    way = " > ".join(filter(None, (note.get("part_of"), called(note))))
    for look in before:
        found = [other for other in look if other.get("key") == note["kept_since"][0] and _is_within(other, note, way)]
        if any(other.get("trigger") == note.get("trigger") for other in found):
            return found
    return []


def _is_within(other: Note, note: Note, way: str) -> bool:
    if other.get("part_of") == note.get("part_of"):
        return called(other) == called(note)
    return f"{other.get('part_of') or ''} > ".startswith(f"{way} > ")


def _looks(checks: Iterable[Note]) -> list[list[Note]]:
    """The notes made at one look of the whole trigger, together: those of a combination's children stand before its own."""
    looks: list[list[Note]] = []
    for note in checks:
        follows = bool(looks) and looks[-1][-1].get("part_of") and looks[-1][-1].get("key") == note.get("key")
        if follows:
            looks[-1].append(note)
        else:
            looks.append([note])
    return looks


def _outermost(look: list[Note]) -> list[Note]:
    depths = [str(note.get("part_of") or "").count(" > ") + bool(note.get("part_of")) for note in look]
    return [note for note, depth in zip(look, depths, strict=True) if depth == min(depths)]


def _when(note: Note) -> str:
    moment, key = note.get("timestamp"), note.get("key")
    parts = [] if moment is None else [f"{to_datetime(moment):%Y-%m-%d %H:%M}"]
    if key is not None and key >= 0:
        parts.append(f"sample {key}")
    return ", ".join(parts) + ": " if parts else ""


def _number(value: Any) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _against(name: str, value: Any, bound: Any, fired: bool, *, low: bool = False) -> str:
    if value is None:
        return f"{name} was undefined"
    if bound is None:
        return f"{name} was {_number(value)}, with no bound to hold it against yet"
    beyond, within = ("below", "not below") if low else ("above", "not above")
    return f"{name} was {_number(value)}, {beyond if fired else within} its bound {_number(bound)}"


def _measure(named: str, numbers: Mapping[str, Any]) -> str:
    """What was held against a criterion's bound, where that is not the value itself; what reaches the bound fires."""
    reached = "not " * (not numbers["fired"])
    side = f"{reached}at most" if numbers["of"] == "p-value" else f"{reached}at least"
    if numbers.get("measured") is None:
        return f"{named} were not known" if numbers["of"].endswith("s") else f"{named} was not known"
    verb = "were" if numbers["of"].endswith("s") else "was"
    return f"{named} {verb} {_number(numbers['measured'])}, {side} {_number(numbers['threshold'])}"


def _drift(note: Note) -> list[str]:
    clauses = []
    for name, numbers in (note.get("metrics") or {}).items():
        if numbers.get("of"):
            clause = _measure(f"{name}'s {numbers['of']}", numbers) + f" (distance {_number(numbers['distance'])})"
        else:
            clause = _against(name, numbers["distance"], numbers["threshold"], numbers["fired"])
            if numbers.get("p_value") is not None:
                clause += f" (p = {_number(numbers['p_value'])})"
        clauses.append(clause)
    if len(clauses) > 1:
        clauses.append(f"decided by {note.get('decide')}")
    moved = [_moved(column) for column in (note.get("moved") or [])[:3]]
    if moved:
        clauses.append("moved most: " + ", ".join(moved))
    return clauses


def _moved(column: Mapping[str, Any]) -> str:
    if "class" in column:
        return f"class {column['class']} from {column['before']:.1%} to {column['after']:.1%}"
    return f"column {column['column']} by {column['by']:+.2g} standard deviations"


def _performance(note: Note) -> list[str]:
    if note.get("score") is None:
        return []
    low = note.get("metric") not in ("loss", "mean-absolute-error")
    criteria = note.get("criteria") or {}
    named = f"{note.get('metric')} on {note.get('num_samples')} samples"
    of_the_score = [
        _against(named, note["score"], c["threshold"], c["fired"], low=low)
        for c in criteria.values()
        if not c.get("of")
    ]
    clauses = of_the_score or [f"{named} was {_number(note['score'])}"]
    clauses += [_measure(str(c["of"]), c) for c in criteria.values() if c.get("of")]
    if note.get("forecast") is not None:
        clauses.append(f"forecast for the next check {_number(note['forecast'])}")
    return clauses


def _cost(note: Note) -> list[str]:
    if note.get("threshold") is None:
        return []
    what = "sample-seconds of delay" if note["trigger"] == "data-latency-cost" else "misclassification-seconds"
    return [
        f"the regret was {_number(note.get('distance'))} {what}, {'at least' if note['fired'] else 'less than'} "
        f"{_number(note['threshold'])}, what training is worth"
    ]


def _votes(note: Note) -> list[str]:
    given = [name for name, vote in (note.get("votes") or {}).items() if vote]
    return [f"votes of {', '.join(given)}" if given else "no votes"]


def _deletion(note: Note) -> list[str]:
    return [
        f"{note.get('distance')} of the {note.get('num_samples')} samples last trained on are deleted, the bound is {_number(note.get('threshold'))}"
    ]


def _detector(note: Note) -> list[str]:
    if not note.get("num_samples"):
        return []
    found = "signals a change" if note.get("fired") else "signals none"
    return [
        f"{note.get('detector')} {found} in {note.get('of')}, whose last {note['num_samples']} numbers average {_number(note.get('score'))}"
    ]


def _plain(note: Note) -> list[str]:
    if note.get("expression"):
        return [f"the time of '{note['expression']}'"]
    return [counted(note["num_requests"], "request")] if note.get("num_requests") else []


_CLAUSES = {
    "drift": _drift,
    "performance": _performance,
    "data-latency-cost": _cost,
    "misclassification-cost": _cost,
    "deletion": _deletion,
    "stream-detector": _detector,
    **dict.fromkeys(("any-of", "all-of", "majority", "at-least", "none-of"), _votes),
}
