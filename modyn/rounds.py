"""The rounds of a run, out of the events of its journal.

A round may be begun more than once: one that had nothing to train on is skipped, and the next takes its number and its window; one whose samples
were deleted meanwhile is trained anew. What counts is the last time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modyn.runlog import Event

STATIONS = ("trigger", "select", "load", "train", "evaluate", "store")
COUNTS = (
    "round", "start_key", "end_key", "num_samples", "num_candidates", "num_selected", "num_trained", "num_steps", "epochs",
    "peak_memory_bytes", "size_bytes",
)  # fmt: skip
COLUMNS = (
    "round", "finished", "started_at", "trigger", "start_key", "end_key", "start_time", "end_time", "data_until",
    "num_samples", "num_candidates", "num_selected", "num_trained", "num_steps", "epochs", "loss", "checkpoint", "parent",
    "device", "peak_memory_bytes", "size_bytes", "first_step_s", *(f"seconds_{station}" for station in STATIONS), "seconds",
)  # fmt: skip


def by_number(events: Iterable[Event]) -> Mapping[int, list[Event]]:
    """The events of each round that was started, since it was started last."""
    found: dict[int, list[Event]] = {}
    for event in events:
        if event.round is not None and event.kind == "round-started":
            found[event.round] = [event]
        elif event.round in found:
            found[event.round].append(event)
    return found


def last_epochs(events: Iterable[Event]) -> list[Event]:
    """The epochs of all rounds; of a round that was trained anew, those of the last time."""
    found: dict[int | None, list[Event]] = {}
    for event in events:
        if event.kind == "round-started":
            found.pop(event.round, None)
        elif event.kind == "epoch":
            before = found.setdefault(event.round, [])
            while before and before[-1]["epoch"] >= event["epoch"]:
                before.pop()
            before.append(event)
    return [event for epochs in found.values() for event in epochs]


def row(number: int, events: Sequence[Event], spent: Mapping[Any, float]) -> dict[str, Any]:
    """One row of the table of rounds, less the scores."""
    begun, selected, trained = (last_fields(events, kind) for kind in ("round-started", "selected", "trained"))
    stored, finished = last_fields(events, "stored"), last_fields(events, "round-finished")
    seconds = {f"seconds_{station}": float(spent.get((number, station), 0.0)) for station in STATIONS}
    others = sum(value for (owner, station), value in spent.items() if owner == number and station not in STATIONS)
    found = {
        name: begun.get(name) for name in ("trigger", "start_key", "end_key", "start_time", "end_time", "num_samples")
    }
    found.update({name: selected.get(name) for name in ("num_candidates", "num_selected")})
    found.update(
        {
            name: trained.get(name)
            for name in ("num_steps", "loss", "parent", "device", "peak_memory_bytes", "first_step_s")
        }
    )
    return (
        found
        | seconds
        | {
            "round": number,
            "finished": bool(finished),
            "started_at": next(e.at for e in events if e.kind == "round-started"),
            "data_until": finished.get("data_until"),
            "num_trained": trained.get("num_samples"),
            "epochs": len(last_epochs(events)),
            "checkpoint": stored.get("checkpoint") or finished.get("checkpoint"),
            "size_bytes": stored.get("size_bytes"),
            "seconds": sum(seconds.values()) + others,
        }
    )


def last_fields(events: Sequence[Event], kind: str) -> Mapping[str, Any]:
    """The fields of the last event of a kind; empty if there is none."""
    return next((event.fields for event in reversed(events) if event.kind == kind), {})
