"""Train on a random subset in which recent samples are more likely."""

import numpy as np
from pydantic import Field

from modyn.config import Duration
from modyn.selectors import Selector
from modyn.types import Candidates, Float64s, Selection, Signals


class RecencyWeighted(Selector):
    """Draws at random; a sample ``half_life`` older than another is half as likely. Age counts from the newest candidate.

    Without replacement by exponential races, in logarithms, so that no age is too great.

    Efraimidis & Spirakis 2006, "Weighted Random Sampling with a Reservoir".

    >>> RecencyWeighted(half_life="2s", budget="10%").half_life
    2000000
    """

    half_life: Duration = Field(description="the age at which a sample is half as likely as a new one")
    replace: bool = Field(False, description="draw with replacement: a sample may come several times")

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        times = candidates.timestamps
        if not len(times):
            return Selection(candidates.keys)
        log_odds = (times - times.max()) * (np.log(2) / self.half_life)
        if self.replace:
            odds = np.exp(log_odds)
            rows = rng.choice(len(times), size=budget, replace=True, p=odds / odds.sum())
            return Selection(candidates.keys[np.sort(rows)])
        if budget >= len(times):
            return Selection(candidates.keys)
        finish: Float64s = np.log(rng.standard_exponential(len(times))) - log_odds
        return Selection(candidates.keys[np.sort(np.argpartition(finish, budget)[:budget])])
