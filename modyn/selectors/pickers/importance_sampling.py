"""Random, but more often where it matters, with weights that undo the bias."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from modyn.errors import ConfigError
from modyn.selectors.pickers import Picked, Picker, scalar
from modyn.types import Float64s, Int64s, Signal


class ImportanceSampling(Picker):
    """Draws k rows without replacement, each with probability ``k p_i`` exactly, ``p`` in proportion to the score; weights 1 / (n p_i).

    The draw is randomised systematic sampling: in random order, rows lie end to end with lengths ``k p_i``, and the row under each of
    ``u, u + 1, ..., u + k - 1`` is taken. A row with ``k p_i > 1`` is taken for certain and the others share the rest. So
    ``1/k sum_S w_i g_i`` is unbiased for the mean of ``g`` over all n (Horvitz-Thompson).

    Horvitz & Thompson 1952; Madow 1949; Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal: Deep Learning with
    Importance Sampling".

    >>> picked = ImportanceSampling(uniform_share=0).pick(np.array([1.0, 1.0, 2.0]), 1, np.random.default_rng(0))
    >>> picked.rows.tolist(), picked.weights.round(3).tolist()
    ([2], [0.667])
    """

    compares: ClassVar[bool] = False
    uniform_share: float = Field(
        0.1, ge=0, le=1, description="share of the probability spread evenly, so that no weight exceeds 1 / share"
    )

    @property
    def on_device(self) -> str | None:
        """``importance``."""
        return "importance"

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        chances = inclusion(scalar(signal), budget, self.uniform_share)
        rows = systematic(chances, rng)
        return Picked(rows, 1 / chances[rows])

    def finish(self, picked: Picked, budget: int, num_rows: int) -> Picked:
        weights = None if picked.weights is None else picked.weights * (len(picked.rows) / num_rows)
        return Picked(picked.rows, weights)


def inclusion(scores: Float64s, budget: int, uniform_share: float) -> Float64s:
    """``[n]`` chances of being taken, in (0, 1], summing to ``budget``: in proportion to scores, those above 1 cut and shared out.

    Raises ConfigError if a score is negative.
    """
    if len(scores) and scores.min() < 0:
        raise ConfigError("importance sampling needs scores that are not negative")
    total = scores.sum()
    even = np.full(len(scores), 1 / len(scores))
    shares = even if total <= 0 else (1 - uniform_share) * (scores / total) + uniform_share * even
    chances = np.zeros(len(scores))
    certain = np.zeros(len(scores), dtype=bool)
    while True:
        left, rest = budget - int(certain.sum()), shares[~certain].sum()
        if left <= 0 or rest <= 0:
            break
        chances[~certain] = shares[~certain] / rest * left
        above = ~certain & (chances >= 1)
        if not above.any():
            break
        certain |= above
        chances[certain] = 1
    return chances


def systematic(chances: Float64s, rng: np.random.Generator) -> Int64s:
    """Rows drawn so that row i is in with chance ``chances[i]`` (each <= 1), ascending; as many as the chances sum to."""
    order = rng.permutation(len(chances))
    ends = np.cumsum(chances[order])
    size = round(float(ends[-1]))
    if size == 0:
        return np.zeros(0, dtype=np.int64)
    ends *= size / ends[-1]
    marks = rng.random() + np.arange(size)
    return np.sort(order[np.minimum(np.searchsorted(ends, marks, side="right"), len(order) - 1)])
