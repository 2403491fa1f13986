"""Train on what arrived last."""

from collections.abc import Mapping

import numpy as np

from modyn.selectors import Selector
from modyn.types import Array, Candidates, Selection


class Newest(Selector):
    """Takes the candidates that arrived last.

    >>> Newest(budget=100).size(1000)
    100
    """

    def select(
        self, candidates: Candidates, budget: int, signals: Mapping[str, Array], rng: np.random.Generator
    ) -> Selection:
        return Selection(candidates.keys[len(candidates) - budget :])
