"""Train on a random subset."""

import numpy as np

from modyn.selectors import Selector
from modyn.types import Candidates, Selection, Signals


class Uniform(Selector):
    """Takes a uniformly random subset of the candidates, without replacement. Every other policy is compared with it.

    >>> Uniform(budget="25%").size(1000)
    250
    """

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        rows = rng.choice(len(candidates), size=budget, replace=False, shuffle=False)
        return Selection(candidates.keys[np.sort(rows)])
