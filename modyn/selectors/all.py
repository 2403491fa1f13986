"""Train on every candidate."""

from typing import Any

import numpy as np

from modyn.selectors import Selector
from modyn.types import Candidates, Selection, Signals


class All(Selector):
    """Takes every candidate; with a budget, the newest of them.

    >>> All(history="round").history.last
    1
    """

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        keys: Any = candidates.keys
        return Selection(keys if budget >= len(keys) else keys[len(keys) - budget :])
