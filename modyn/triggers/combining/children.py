"""Several triggers that see the same stream in step."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modyn.policy import name_of
from modyn.triggers import Features, Trigger
from modyn.types import Round, Samples


class Children:
    """Triggers that see the same samples; at each position at which one of them fires, all stand there."""

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self.triggers = tuple(triggers)
        self._notes: list[dict[str, Any]] = []

    def bind(self, features: Features) -> None:
        for child in self.triggers:
            child.bind(features)

    def inform(self, round: Round) -> None:  # noqa: A002
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
        """The events of a piece; only the children numbered in ``early`` may fire before its first sample."""
        started = self._before(piece, early) if len(piece) else {}
        if started:
            self._collect()
            yield -1, [number in started for number in range(len(self.triggers))]
        running = [started.get(n) or child.update(piece) for n, child in enumerate(self.triggers)]
        votes = [next(firings, None) is not None for firings in running]
        self._collect()
        if any(votes):
            yield len(piece) - 1, votes
        for firings in running:
            for _ in firings:
                pass

    def _before(self, piece: Samples, early: Sequence[int]) -> dict[int, Iterator[int]]:
        """The children that fire before the piece's first sample, each waiting there. One that runs past it is set back."""
        waiting: dict[int, Iterator[int]] = {}
        for number in early:
            child = self.triggers[number]
            state = copy.deepcopy(child.state_dict())
            firings = child.update(piece)
            if next(firings, None) == -1:
                waiting[number] = firings
            else:
                child.load_state_dict(state)
        return waiting

    def _collect(self) -> None:
        """Take the children's notes piece by piece, so that they stand in the order of the stream."""
        for child in self.triggers:
            self._notes += child.explain()

    def notes(self, within: str) -> list[dict[str, Any]]:
        """What the children have to explain, each note marked as a part of the combination's decision."""
        self._collect()
        notes, self._notes = self._notes, []
        return [{**note, "part_of": within} for note in notes]

    def names(self) -> list[str]:
        """Their names, numbered where a name comes twice."""
        names = [name_of(type(child)) for child in self.triggers]
        return [f"{name} {n}" if names.count(name) > 1 else name for n, name in enumerate(names)]

    def state_dict(self) -> list[dict[str, Any]]:
        return [child.state_dict() for child in self.triggers]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        for child, state in zip(self.triggers, states, strict=True):
            child.load_state_dict(state)
