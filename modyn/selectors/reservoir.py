"""Keep a random sample of everything seen so far."""

import numpy as np
import numpy.typing as npt

from modyn.selectors import Selector
from modyn.types import Candidates, Int64s, Selection, Signals


class Reservoir(Selector):
    """Keeps a uniformly random sample of all that arrived: a sample stays until a newer one displaces it, and never comes back.

    Each key has a fixed random rank and the lowest ranks are kept, which is reservoir sampling without anything to remember.

    Vitter 1985, "Random Sampling with a Reservoir"; ranks as in Cohen 1997 (bottom-k samples).

    >>> Reservoir(budget=1000).size(500)
    500
    """

    def stream(self, seed: int, candidates: Candidates) -> np.random.Generator:
        """The same in every round, so that ranks stay."""
        del candidates
        return np.random.default_rng([seed, 0x7E5E])

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        ranks = hashed(candidates.keys, int(rng.integers(2**63)))
        if budget >= len(ranks):
            return Selection(candidates.keys)
        return Selection(candidates.keys[np.sort(np.argpartition(ranks, budget)[:budget])])


def hashed(keys: Int64s, salt: int) -> npt.NDArray[np.uint64]:
    """``[n]`` well-mixed 64-bit numbers, a pure function of key and salt; different keys never collide (splitmix64)."""
    x = keys.astype(np.uint64)
    x += np.uint64(salt & (2**64 - 1))
    x *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x
