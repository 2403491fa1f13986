"""Train on a fixed share of samples that were never used."""

import numpy as np
from pydantic import Field

from modyn.selectors import Selector
from modyn.types import Candidates, Int64s, Selection, Signals


class Freshness(Selector):
    """Takes a fixed share of never-used samples, the rest from used ones, both at random.

    If one kind runs short, the other fills up, unless ``fill`` is off: then fewer are taken, in the same proportion.

    >>> Freshness(unused_share=0.5, budget=100).unused_share
    0.5
    """

    unused_share: float = Field(
        0.5, ge=0, le=1, description="share of the budget for samples that were never trained on"
    )
    fill: bool = Field(
        True, description="fill up from the other kind if one runs short (false = keep the share, take fewer)"
    )

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        unused = np.flatnonzero(candidates.times_used == 0)
        used = np.flatnonzero(candidates.times_used > 0)
        num_unused, num_used = self._numbers(budget, len(unused), len(used))
        rows = np.concatenate([_some(unused, num_unused, rng), _some(used, num_used, rng)])
        return Selection(candidates.keys[np.sort(rows)])

    def _numbers(self, budget: int, num_unused: int, num_used: int) -> tuple[int, int]:
        wanted = round(self.unused_share * budget)
        if self.fill or not num_used:
            fresh = min(num_unused, max(wanted, budget - num_used))
            return fresh, min(num_used, budget - fresh)
        scale = min(
            1.0,
            num_unused / wanted if wanted else 1.0,
            num_used / (budget - wanted) if budget > wanted else 1.0,
        )
        return int(scale * wanted), int(scale * (budget - wanted))


def _some(rows: Int64s, number: int, rng: np.random.Generator) -> Int64s:
    return rows[rng.choice(len(rows), size=number, replace=False, shuffle=False)] if number else rows[:0]
