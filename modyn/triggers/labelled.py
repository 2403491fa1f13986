"""Samples whose labels become known later, and the errors of the deployed checkpoint on them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modyn.drift.windows.packing import pack, unpack
from modyn.triggers import Features
from modyn.types import Array, Int64s, Round, Samples

MOST_WAITING = 1_000_000


class Labelled:
    """The samples since the last round that wait for their labels.

    A label is known ``label_delay`` after its sample's time, when the greatest timestamp seen has reached it; a sample that arrives late is
    known at once if its delay is over. A label that is still missing then (NaN, because it is delivered later by key) is asked for again at
    each check. Samples up to a round's end leave the queue with the round, because its checkpoint was trained on them. Of more than a million that
    wait the oldest are forgotten.
    """

    def __init__(self, label_delay: int) -> None:
        self.label_delay = label_delay
        self.now: int | None = None
        self._keys: Int64s = np.empty(0, np.int64)
        self._times: Int64s = np.empty(0, np.int64)
        self._new: list[Samples] = []

    def append(self, samples: Samples) -> None:
        """Take in samples in the order of their arrival."""
        if not len(samples):
            return
        newest = int(samples.timestamps.max())
        self.now = newest if self.now is None else max(self.now, newest)
        self._new.append(samples)
        if len(self._new) > 64:
            self._settle()

    def _settle(self) -> None:
        if self._new:
            self._keys = np.concatenate([self._keys, *(s.keys for s in self._new)])[-MOST_WAITING:]
            self._times = np.concatenate([self._times, *(s.timestamps for s in self._new)])[-MOST_WAITING:]
            self._new = []

    def due(self) -> Int64s:
        """The keys whose labels should be known by now; they stay in the queue until they are ``settled``."""
        self._settle()
        return self._keys if self.now is None else self._keys[self._times <= self.now - self.label_delay]

    def settled(self, keys: Int64s) -> None:
        """Take keys out of the queue: their labels are known and used."""
        left = ~np.isin(self._keys, keys)
        self._keys, self._times = self._keys[left], self._times[left]

    def inform(self, round: Round) -> None:  # noqa: A002
        """Take out what the round's checkpoint may have been trained on."""
        self._settle()
        left = self._keys >= round.window.end
        self._keys, self._times = self._keys[left], self._times[left]

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        return {"now": self.now, "keys": pack(self._keys), "times": pack(self._times)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.now, self._new = state["now"], []
        self._keys, self._times = unpack(state["keys"]), unpack(state["times"])


def with_known_labels(features: Features, keys: Int64s) -> tuple[Int64s, Array]:
    """The keys whose label is known and whether the deployed checkpoint is wrong about each (``error[n]``)."""
    errors = features.get("error", keys).reshape(len(keys), -1)[:, 0]
    known = np.isfinite(errors)
    return keys[known], errors[known]
