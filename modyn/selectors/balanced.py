"""Train on as many samples of each group."""

from typing import Literal

import numpy as np
from pydantic import Field

from modyn.selectors import Selector, group_values
from modyn.selectors.shares import group_codes, grouped_rows, water_fill
from modyn.types import Candidates, Selection, Signals


class Balanced(Selector):
    """Takes a random subset with fair shares of each label, or of each round; a small group gives all that it has.

    With replacement every group has the same share, and the samples of a small one come several times.

    >>> Balanced(by="round", budget=100).by
    'round'
    """

    by: Literal["label", "round"] = Field("label", description="what is balanced: label, or the round of arrival")

    replace: bool = Field(False, description="draw with replacement: a sample may come several times")

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        if not len(candidates) or (budget >= len(candidates) and not self.replace):
            return Selection(candidates.keys)
        codes, num_groups = group_codes(group_values(candidates, self.by))
        members = grouped_rows(codes, num_groups)
        shares = water_fill(np.array([budget if self.replace else len(rows) for rows in members]), budget)
        if self.replace:
            drawn = [rows[rng.integers(len(rows), size=int(n))] for rows, n in zip(members, shares, strict=True)]
            return Selection(candidates.keys[np.sort(np.concatenate(drawn))])
        chosen = np.zeros(len(candidates), dtype=bool)
        for rows, share in zip(members, shares, strict=True):
            chosen[rows[rng.choice(len(rows), size=int(share), replace=False, shuffle=False)]] = True
        return Selection(candidates.keys[chosen])
