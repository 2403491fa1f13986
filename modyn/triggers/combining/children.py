"""Several triggers that see the same stream in step."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from modyn.policy import name_of
from modyn.triggers import Features, Trigger
from modyn.types import Round, Samples


class _Begun(NamedTuple):
    """A child in the middle of a piece: where it fires first, and its state before."""

    firings: Iterator[int]
    first: int | None
    state: Any


class Children:
    """Triggers that see the same samples; at each position at which one of them fires, all stand there."""

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self.triggers = tuple(triggers)
        self._notes: list[dict[str, Any]] = []
        self._past: dict[int, Any] = {}

    def bind(self, features: Features) -> None:
        for child in self.triggers:
            child.bind(features)

    def inform(self, round: Round) -> None:  # noqa: A002
        for number, state in self._past.items():
            self.triggers[number].load_state_dict(state)
        self._past = {}
        for child in self.triggers:
            child.inform(round)

    def ahead(self, batch: Samples) -> int:
        return min(child.ahead(batch) for child in self.triggers)

    def events(self, batch: Samples) -> Iterator[tuple[int, list[bool]]]:
        """Each position at which at least one child fires, and which of them do.

        While the caller holds an event, every child's state is as if the batch had ended at its position. The batch is cut behind the first position at
        which any child might fire; so in each piece children fire before its first sample or after its last one.
        """
        start = 0
        while start < len(batch) or not start:
            rest = batch[start:]
            aheads = [child.ahead(rest) for child in self.triggers]
            piece = rest[: max(min(aheads), 0) + 1]
            for position, votes in self._in_piece(piece, [n for n, ahead in enumerate(aheads) if ahead < 0]):
                yield start + position, votes
            if not len(piece):
                return
            start += len(piece)

    def _in_piece(self, piece: Samples, early: Sequence[int]) -> Iterator[tuple[int, list[bool]]]:
        """The events of a piece; only the children numbered in ``early`` may fire before its first sample.

        Where one of those does, the others have run past that border. If a round takes place there, they are set back and begin again: what
        they checked at the border they check once more after the round.
        """
        begun: dict[int, _Begun] = {}
        while len(piece) and (fired := self._begin(piece, begun, early, may_go_back=len(early) > 1)):
            self._collect()
            past = [number for number, child in begun.items() if child.first != -1]
            self._past = {number: begun[number].state for number in past}
            yield -1, [number in fired for number in range(len(self.triggers))]
            begun = {number: child for number, child in begun.items() if number not in past or number in self._past}
            self._past = {}
        begun = {n: c if c.first != -1 else c._replace(first=next(c.firings, None)) for n, c in begun.items()}
        self._begin(piece, begun, range(len(self.triggers)))
        votes = [begun[number].first is not None for number in range(len(self.triggers))]
        self._collect()
        if any(votes):
            yield len(piece) - 1, votes
        for child in begun.values():
            for _ in child.firings:
                pass

    def _begin(
        self, piece: Samples, begun: "dict[int, _Begun]", numbers: Sequence[int], *, may_go_back: bool = False
    ) -> list[int]:
        """Let those of the children begin that have not yet; which of them fire before the piece's first sample."""
        new = [number for number in numbers if number not in begun]
        for number in new:
            child = self.triggers[number]
            state = copy.deepcopy(child.state_dict()) if may_go_back else None
            firings = child.update(piece)
            begun[number] = _Begun(firings, next(firings, None), state)
        return [number for number in new if begun[number].first == -1]

    def _collect(self) -> None:
        """Take the children's notes piece by piece, so that they stand in the order of the stream."""
        for child, name in zip(self.triggers, self.names(), strict=True):
            self._notes += [_named(note, name) for note in child.explain()]

    def notes(self, within: str) -> list[dict[str, Any]]:
        """What the children have to explain, each note marked as a part of the combination's decision, through those between."""
        self._collect()
        notes, self._notes = self._notes, []
        return [{**note, "part_of": " > ".join(filter(None, (within, note.get("part_of"))))} for note in notes]

    def names(self) -> list[str]:
        """Their names, numbered where a name comes twice."""
        names = [name_of(type(child)) for child in self.triggers]
        return [f"{name} {n}" if names.count(name) > 1 else name for n, name in enumerate(names)]

    def state_dict(self) -> list[dict[str, Any]]:
        return [
            self._past[number] if number in self._past else child.state_dict()
            for number, child in enumerate(self.triggers)
        ]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        self._past = {}
        for child, state in zip(self.triggers, states, strict=True):
            child.load_state_dict(state)


def _named(note: dict[str, Any], name: str) -> dict[str, Any]:
    """A child's note with the child's name in the combination, where that is not the trigger's.

    >>> _named({"trigger": "drift", "part_of": "any-of"}, "any-of 1")
    {'trigger': 'drift', 'part_of': 'any-of 1'}
    """
    if (way := note.get("part_of")) is None:
        return note if note.get("trigger") == name else {**note, "name": name}
    return {**note, "part_of": " > ".join([name, *way.split(" > ")[1:]])}
