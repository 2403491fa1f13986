"""What the triggers that let others vote have in common."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from modyn.policy import name_of
from modyn.triggers import Features, Trigger
from modyn.triggers.combining.children import Children
from modyn.types import Round, Samples


class Combination(Trigger):
    """Lets other triggers vote; ``fires_on`` says how many votes suffice."""

    triggers: tuple[Trigger, ...] = Field(
        min_length=1, description="the triggers that vote; they may be combinations themselves"
    )
    memory: Literal["since-last-round", "this-check"] = Field(
        "since-last-round",
        description="whether a vote counts until the next round, or only where it is given, together with others given at the same sample",
    )
    _children: Children = PrivateAttr()
    _votes: list[bool] = PrivateAttr(default_factory=list)
    _just_fired: bool = PrivateAttr(default=False)
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @model_validator(mode="after")
    def _gather(self) -> "Combination":
        self._children = Children(self.triggers)
        self._votes = [False] * len(self._children.triggers)
        return self

    def fires_on(self, votes: int) -> bool:
        """Whether so many votes suffice; what a combination defines."""
        raise NotImplementedError

    def verdict(self, given: Sequence[bool]) -> bool:
        """Whether to fire where the votes ``given`` come together; those before are in ``_votes``, these included."""
        return self.fires_on(sum(self._votes if self.memory == "since-last-round" else given))

    def bind(self, features: Features) -> None:
        super().bind(features)
        self._children.bind(features)

    def update(self, batch: Samples) -> Iterator[int]:
        start = 0
        for position, given in self._children.events(batch):
            self._just_fired = self._just_fired and position < start
            start = position + 1
            self._stand(batch, position)
            self._votes = [before or now for before, now in zip(self._votes, given, strict=True)]
            votes = list(self._votes)
            fires = self.verdict(given) and not (self._just_fired and len(batch))
            self._explain(fires, votes, given)
            if fires:
                self._votes, self._just_fired = [False] * len(votes), True
                yield position
        self._just_fired = self._just_fired and start >= len(batch)
        self._stand(batch, len(batch) - 1)

    def _stand(self, batch: Samples, position: int) -> None:
        if position >= 0:
            self._last = int(batch.keys[position]), int(batch.timestamps[position])

    def _explain(self, fires: bool, votes: Sequence[bool], given: Sequence[bool]) -> None:
        name = name_of(type(self))
        self._notes += self._children.notes(name)
        counted = votes if self.memory == "since-last-round" else given
        self.note(
            trigger=name,
            key=self._last[0],
            timestamp=self._last[1],
            fired=fires,
            votes=dict(zip(self._children.names(), map(bool, counted), strict=True)),
        )

    def explain(self) -> list[dict[str, Any]]:
        self._notes += self._children.notes(name_of(type(self)))
        return super().explain()

    def inform(self, round: Round) -> None:  # noqa: A002
        self._votes = [False] * len(self._votes)
        self._children.inform(round)

    def ahead(self, batch: Samples) -> int:
        return self._children.ahead(batch)

    def state_dict(self) -> dict[str, Any]:
        return {
            "children": self._children.state_dict(),
            "votes": list(self._votes),
            "just_fired": self._just_fired,
            "last": list(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._children.load_state_dict(state["children"])
        self._just_fired = state["just_fired"]
        self._votes, self._last = list(state["votes"]), (state["last"][0], state["last"][1])
