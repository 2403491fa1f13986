"""Train on a random subset."""

import numpy as np
from pydantic import Field

from modyn.selectors import Selector
from modyn.types import Candidates, Selection, Signals


class Uniform(Selector):
    """Takes a uniformly random subset of the candidates. Every other policy is compared with it.

    >>> Uniform(budget="25%").size(1000)
    250
    """

    replace: bool = Field(False, description="draw with replacement: a sample may come several times")

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        if not len(candidates):
            return Selection(candidates.keys)
        rows = rng.choice(len(candidates), size=budget, replace=self.replace, shuffle=False)
        return Selection(candidates.keys[np.sort(rows)])
