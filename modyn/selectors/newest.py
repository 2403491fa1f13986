"""Train on what arrived last."""

import numpy as np

from modyn.selectors import Selector
from modyn.types import Candidates, Selection, Signals


class Newest(Selector):
    """Takes the candidates that arrived last.

    >>> Newest(budget=100).size(1000)
    100
    """

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        return Selection(candidates.keys[len(candidates) - budget :])
