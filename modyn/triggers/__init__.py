"""WHEN to train: a trigger sees arriving samples and says after which of them to train."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import PrivateAttr

from modyn.policy import Policy
from modyn.types import Array, Int64s, Round, Samples


class Features(Protocol):
    """What a trigger may ask of the data and of the deployed model, for samples by key.

    ``kind`` is ``raw`` (the parsed input, flattened), ``label``, ``embedding``, ``loss``, ``error``, ``prediction``, ``column:NAME``, or
    ``deleted`` (1 for keys whose sample is deleted, else 0; the only kind that may be asked of those). A label that is not known yet
    is NaN, and so are its loss and error. Each (checkpoint, sample) is computed once and kept.
    """

    @property
    def checkpoint(self) -> str | None:
        """The deployed checkpoint's id; None before the first round."""
        ...

    @property
    def now(self) -> int | None:
        """The wall clock (microseconds UTC); None in replay, where only sample time counts."""
        ...

    @property
    def requests(self) -> int:
        """How often training was asked for by hand in this run so far (``modyn.triggers.manual.requests_in`` of its folder)."""
        ...

    def get(self, kind: str, keys: Int64s) -> Array:
        """``features[n, d]`` (float) of ``keys``. Raises TrainingError if it needs a checkpoint and there is none."""
        ...


class Trigger(Policy):
    """Sees arriving samples and says after which of them to train."""

    role: ClassVar[str] = "trigger"
    _features: Features | None = PrivateAttr(default=None)
    _notes: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What the trigger remembers, at a third of the time that pydantic takes: a check looks up some sixty of them."""
            private = self.__pydantic_private__
            return private[name] if private is not None and name in private else super().__getattr__(name)

    def bind(self, features: Features) -> None:
        """Give the trigger access to data and deployed model; called once before the first batch."""
        self._features = features

    def update(self, batch: Samples) -> Iterator[int]:
        """Take in arriving samples; yield the rising positions in ``batch`` after which to train.

        A position p means: train after sample p (on everything up to and including it); -1 means after the last sample of the
        batches before, where only this batch's first sample tells that a border was passed. The caller trains while the trigger
        waits at the yield, then calls ``inform``; at a yield the state is as if the batch had ended at that position.
        Chunking never matters: one batch of 1,000 and 1,000 batches of 1 train after the same samples. A firing is remembered in
        the state, so that going on from a yield's state with the samples after position p does not fire there again.
        """
        raise NotImplementedError

    def inform(self, round: Round) -> None:  # noqa: A002
        """Hear what came of a round; called after every round, between the yield and the next step."""

    def ahead(self, batch: Samples) -> int:
        """The first position of ``batch`` at which ``update`` might fire; ``len(batch)`` if it cannot. Changes nothing.

        Combinations of triggers step from one such position to the next; -1, the default, is right for any trigger but makes them
        step sample by sample.
        """
        return -1

    def state_dict(self) -> dict[str, Any]:
        """What the trigger remembers, small and in JSON's types."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what ``state_dict`` gave; the trigger then goes on as that one would have."""

    def note(self, **numbers: Any) -> None:
        """Keep the numbers behind a decision, for the run log."""
        self._notes.append(numbers)

    def explain(self) -> list[dict[str, Any]]:
        """The numbers behind the decisions since last asked, oldest first."""
        notes, self._notes = self._notes, []
        return notes
