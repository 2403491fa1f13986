"""Walk through all candidates over the rounds."""

import numpy as np

from modyn.selectors import Selector
from modyn.types import Candidates, Selection, Signals


class WithoutReplacement(Selector):
    """Takes samples that were used least often, at random among equals: nothing comes twice before everything came once.

    >>> WithoutReplacement(budget="10%").size(50)
    5
    """

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        used = candidates.times_used
        if budget >= len(used):
            return Selection(candidates.keys)
        limit = np.partition(used, budget - 1)[budget - 1] if budget else 0
        chosen = used < limit
        tied = np.flatnonzero(used == limit)
        missing = budget - int(chosen.sum())
        chosen[tied[rng.choice(len(tied), size=missing, replace=False, shuffle=False)]] = True
        return Selection(candidates.keys[chosen])
