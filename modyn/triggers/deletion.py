"""Train when the current checkpoint has learned from samples that are gone."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from modyn.drift.windows.packing import pack, unpack
from modyn.triggers import Trigger
from modyn.triggers.every import Every
from modyn.triggers.features import bound_features
from modyn.triggers.rhythm import Rhythm, fresh
from modyn.types import Int64s, Round, Samples


class Deletion(Trigger):
    """Fires when enough samples of the last Selection have been deleted since its round.

    Checked at each beat of ``check_every``, and whenever an empty batch is shown, so that a deletion can count in quiet times. A deletion counts
    once: samples that were found deleted before do not count again where a replay, which sees the dataset as it was, selects them anew.

    >>> import numpy as np
    >>> from modyn.triggers.memory_features import MemoryFeatures
    >>> trigger = Deletion(samples=1)
    >>> trigger.bind(MemoryFeatures(np.zeros(4)))
    >>> list(trigger.update(Samples(np.arange(4), np.arange(4))))
    []
    """

    share: float | None = Field(None, gt=0, le=1, description="share of the last Selection that is deleted")
    samples: PositiveInt | None = Field(None, description="number of its samples that are deleted")
    check_every: Rhythm = Field(
        default_factory=lambda: Every(samples=1000), description="samples or sample time between checks"
    )
    _beat: Every = PrivateAttr()
    _keys: Int64s = PrivateAttr(default_factory=lambda: np.empty(0, np.int64))
    _found: Int64s = PrivateAttr(default_factory=lambda: np.empty(0, np.int64))
    _gone: Int64s = PrivateAttr(default_factory=lambda: np.empty(0, np.int64))
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @model_validator(mode="after")
    def _one(self) -> "Deletion":
        if (self.share is None) == (self.samples is None):
            raise ValueError("needs exactly one of share and samples")
        self._beat = fresh(self.check_every)
        return self

    def update(self, batch: Samples) -> Iterator[int]:
        if not len(batch) and self._check(at_a_beat=False):
            yield -1
        for position in self._beat.update(batch):
            if position >= 0:
                self._last = int(batch.keys[position]), int(batch.timestamps[position])
            if self._check():
                yield position
        if len(batch):
            self._last = int(batch.keys[-1]), int(batch.timestamps[-1])

    def ahead(self, batch: Samples) -> int:
        return self._beat.ahead(batch)

    def _check(self, *, at_a_beat: bool = True) -> bool:
        """Whether to fire. Between beats only what is new is noted: production looks every few seconds, and mostly nothing is."""
        if not len(self._keys):
            return False
        deleted = bound_features(self._features).get("deleted", self._keys).reshape(-1) > 0
        num_deleted, found_before = int(deleted.sum()), len(self._found)
        self._found = self._keys[deleted]
        needed = self.samples if self.samples is not None else (self.share or 0) * len(self._keys)
        if at_a_beat or num_deleted != found_before:
            self.note(
                trigger="deletion",
                key=self._last[0],
                timestamp=self._last[1],
                fired=num_deleted >= needed,
                distance=num_deleted,
                threshold=needed,
                num_samples=len(self._keys),
            )
        return num_deleted >= needed

    def inform(self, round: Round) -> None:  # noqa: A002
        self._gone = np.union1d(self._gone, self._found)
        self._keys, self._found = np.setdiff1d(round.selection.keys, self._gone), self._found[:0]

    def state_dict(self) -> dict[str, Any]:
        return {
            "beat": self._beat.state_dict(),
            "keys": pack(self._keys),
            "found": pack(self._found),
            "gone": pack(self._gone),
            "last": list(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._beat.load_state_dict(state["beat"])
        self._keys, self._last = unpack(state["keys"]), (state["last"][0], state["last"][1])
        self._found, self._gone = unpack(state["found"]), unpack(state["gone"])
