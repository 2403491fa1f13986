"""Which samples a drift trigger compares: a reference window and a current window of the stream."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from modyn.drift.windows.packing import pack, unpack
from modyn.policy import Policy
from modyn.types import Array, Int64s, Samples

_SETTLE_AFTER = 64


class DriftWindow(Policy):
    """Bounds the reference window and the current window, and says what becomes of them when a round is done."""

    role: ClassVar[str] = "drift-window"

    overlap: bool = Field(
        False,
        description="after a round: false = the current window becomes the reference and empties; true = what arrived since the round "
        "before is added to the reference, and the current window stays",
    )

    def kept(self, timestamps: Int64s, which: str, *, now: int) -> slice | Array:
        """The rows of the ``reference`` or ``current`` window that are within its bounds when the newest sample's time is ``now``."""
        raise NotImplementedError


class Stretch:
    """Samples in order of arrival, with cheap appends: keys and timestamps only, and each key's hash once a sample is drawn."""

    def __init__(self, keys: Int64s | None = None, timestamps: Int64s | None = None) -> None:
        empty = np.empty(0, np.int64)
        self._parts = [(empty if keys is None else keys, empty if timestamps is None else timestamps)]
        self._hashes: Array = np.empty(0, np.uint64)
        self._sampled: tuple[int, Int64s] | None = None

    def append(self, keys: Int64s, timestamps: Int64s) -> bool:
        """Add samples; True when so many small parts lie about that the caller should trim."""
        if len(keys):
            self._parts.append((keys, timestamps))
            self._sampled = None
        return len(self._parts) > _SETTLE_AFTER

    @property
    def arrays(self) -> tuple[Int64s, Int64s]:
        """``keys[n]`` and ``timestamps[n]``."""
        if len(self._parts) > 1:
            self._parts = [tuple(np.concatenate(column) for column in zip(*self._parts, strict=True))]  # type: ignore[list-item]
        return self._parts[0]

    def keep(self, rows: slice | Array) -> None:
        """Forget all other samples; ``rows`` is a slice, or a mask."""
        keys, timestamps = self.arrays
        if not isinstance(rows, slice):
            first = int(rows.argmax()) if len(rows) else 0
            rows = slice(first, None) if rows[first:].all() else rows
        if isinstance(rows, slice) and rows.indices(len(keys)) == (0, len(keys), 1):
            return
        self._hashes = self._hashes[rows if isinstance(rows, slice) else rows[: len(self._hashes)]]
        self._parts = [(keys[rows], timestamps[rows])]
        self._sampled = None

    def sample(self, count: int) -> Int64s:
        """At most ``count`` of the keys, as ``spread`` chooses them; only keys that came since the last time are hashed."""
        if self._sampled is None or self._sampled[0] != count:
            keys = self.arrays[0]
            self._sampled = count, keys if len(keys) <= count else _least(keys, self._hashed(), count)
        return self._sampled[1]

    def _hashed(self) -> Array:
        keys = self.arrays[0]
        if len(self._hashes) < len(keys):
            self._hashes = np.concatenate([self._hashes, _hashed(keys[len(self._hashes) :])])
        return self._hashes

    def __len__(self) -> int:
        return len(self.arrays[0])


class TwoWindows:
    """What a drift trigger remembers of the stream: the reference, the current window, and what arrived since the last round.

    The reference is bounded when a round makes it, and then stays as it is until the next: what is compared with does not fade in quiet times.
    ``now`` is the greatest timestamp seen: a sample that arrives late counts with its own time, so it may be out of a window of time
    at once; one whose clock runs ahead moves the window's end, which waits there until the others have caught up.
    """

    def __init__(self, bounds: DriftWindow) -> None:
        self.bounds = bounds
        self.now: int | None = None
        self._reference, self._current, self._arrived = Stretch(), Stretch(), Stretch()

    def append(self, samples: Samples) -> None:
        """Take in samples in the order of their arrival."""
        if not len(samples):
            return
        newest = int(samples.timestamps.max())
        self.now = newest if self.now is None else max(self.now, newest)
        full = self._current.append(samples.keys, samples.timestamps)
        if self.bounds.overlap:
            full |= self._arrived.append(samples.keys, samples.timestamps)
        if full:
            self.trim()

    def trim(self) -> None:
        """Let go of what is beyond the bounds."""
        self._bound(self._current, "current")
        self._bound(self._arrived, "reference")

    def sample(self, count: int) -> tuple[Int64s, Int64s]:
        """At most ``count`` keys of the reference and of the current window, as ``spread`` chooses them."""
        self._bound(self._current, "current")
        return self._reference.sample(count), self._current.sample(count)

    def _bound(self, stretch: Stretch, which: str) -> None:
        if self.now is not None:
            stretch.keep(self.bounds.kept(stretch.arrays[1], which, now=self.now))

    def turn(self) -> None:
        """A round is done: the windows move on."""
        self.trim()
        if self.bounds.overlap:
            self._reference.append(*self._arrived.arrays)
            self._arrived = Stretch()
        else:
            self._reference, self._current = self._current, Stretch()
        self._bound(self._reference, "reference")

    @property
    def reference(self) -> Samples:
        return Samples(*self._reference.arrays)

    @property
    def current(self) -> Samples:
        return Samples(*self._current.arrays)

    def state_dict(self) -> dict[str, Any]:
        self.trim()
        stretches = {"reference": self._reference, "current": self._current, "arrived": self._arrived}
        return {"now": self.now} | {name: [pack(a) for a in stretch.arrays] for name, stretch in stretches.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.now = state["now"]
        self._reference, self._current, self._arrived = (
            Stretch(*map(unpack, state[name])) for name in ("reference", "current", "arrived")
        )


def spread(keys: Int64s, count: int) -> Int64s:
    """At most ``count`` of the keys, in order: those whose hashes are least, a uniform sample that changes little as windows move.

    >>> before, after = spread(np.arange(1000), 500), spread(np.arange(1001), 500)
    >>> len(np.intersect1d(before, after)) >= 499
    True
    """
    return keys if len(keys) <= count else _least(keys, _hashed(keys), count)


def _least(keys: Int64s, hashed: Array, count: int) -> Int64s:
    """The ``count`` of more keys whose hashes are least, in order."""
    # Only the rows below a hash that about a fifth more than count lie below need be partitioned.
    likely = np.flatnonzero(hashed < np.uint64(min(1.0, (1.2 * count + 50) / len(keys)) * (2**64 - 2**11)))
    if len(likely) < count:
        likely = np.arange(len(keys))
    return np.sort(keys[likely[np.argpartition(hashed[likely], count - 1)[:count]]])


def _hashed(keys: Int64s) -> Array:
    """splitmix64 (Steele, Lea and Flood 2014): distinct keys have distinct hashes."""
    mixed = keys.astype(np.uint64)
    mixed += np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed
