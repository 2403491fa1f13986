"""Those with the highest scores."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from modyn.selectors.pickers import Picked, Picker, scalar
from modyn.types import Float64s, Int64s, Signal


class TopK(Picker):
    """Takes the rows with the highest scores; ties are broken at random. O(n).

    >>> TopK().pick(np.array([3.0, 1.0, 2.0]), 2, np.random.default_rng(0)).rows.tolist()
    [0, 2]
    """

    compares: ClassVar[bool] = False
    skip: float = Field(0.0, ge=0, lt=1, description="share of the rows, the highest of all, that is left out first")

    @property
    def on_device(self) -> str | None:
        """``top``, unless some are left out."""
        return None if self.skip else "top"

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        scores = scalar(signal)
        if skipped := min(round(self.skip * len(scores)), len(scores) - budget):
            left = highest(-scores, len(scores) - skipped, rng)
            return Picked(left[highest(scores[left], budget, rng)])
        return Picked(highest(scores, budget, rng))


def highest(scores: Float64s, budget: int, rng: np.random.Generator) -> Int64s:
    """Rows of the ``budget`` highest scores, ascending; those that tie for the last places are drawn at random."""
    num_rows = len(scores)
    if budget >= num_rows:
        return np.arange(num_rows)
    limit = np.partition(scores, num_rows - budget)[num_rows - budget]
    above = np.flatnonzero(scores > limit)
    ties = np.flatnonzero(scores == limit)
    if len(above) + len(ties) > budget:
        ties = ties[rng.choice(len(ties), size=budget - len(above), replace=False, shuffle=False)]
    return np.sort(np.concatenate([above, ties]))
