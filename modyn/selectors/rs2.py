"""A new random subset each epoch."""

import numpy as np
from pydantic import Field

from modyn.selectors import Selector
from modyn.types import Candidates, Int64s, Selection, Signals


class Rs2(Selector):
    """Takes a new random subset of the candidates in every epoch.

    Without replacement the subsets are disjoint chunks of one permutation until it is used up; then a new one begins.

    Okanovic et al. 2024, "Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning".

    >>> Rs2(budget="10%").every_epochs
    1
    """

    replace: bool = Field(False, description="draw each epoch's subset independently of the others")

    @property
    def every_epochs(self) -> int:
        """Each epoch has a subset of its own."""
        return 1

    def stream(self, seed: int, candidates: Candidates) -> np.random.Generator:
        """The same in all epochs of a round, unless subsets are independent."""
        return np.random.default_rng([seed, candidates.round, candidates.epoch if self.replace else 0])

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        n = len(candidates)
        if budget >= n:
            return Selection(candidates.keys)
        if self.replace:
            return Selection(candidates.keys[np.sort(rng.choice(n, size=budget, replace=False, shuffle=False))])
        return Selection(candidates.keys[np.sort(chunk(candidates.epoch, n, budget, rng))])


def chunk(number: int, num_rows: int, size: int, rng: np.random.Generator) -> Int64s:
    """The chunk of that number of an endless walk through ``num_rows`` rows, each pass in a new random order.

    A chunk over the border of two passes has no row twice: the next pass begins with rows that the chunk does not hold yet.
    """
    order = rng.permutation(num_rows)
    for passes in range(number * size // num_rows + 1):
        start, border = number * size - passes * num_rows, (passes + 1) * num_rows
        if start + size <= num_rows:
            return order[start : start + size]
        rest = order[border // size * size - passes * num_rows :]
        following = rng.permutation(num_rows)
        held = np.isin(following, rest)
        following = np.concatenate([following[~held], following[held]])
        if start < num_rows:
            return np.concatenate([order[start:], following[: start + size - num_rows]])
        order = following
    raise AssertionError("a chunk begins in one of the passes before it ends")
