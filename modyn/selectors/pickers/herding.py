"""Herding: the mean of the chosen stays near the mean of all."""

import numpy as np

from modyn.selectors.pickers import Picked, Picker
from modyn.selectors.pickers.points import points_of
from modyn.types import Signal


class Herding(Picker):
    """Takes, again and again, the row that brings the mean of the chosen nearest to the mean of all.

    A step costs one matrix-vector product; memory O(n).

    Welling 2009, "Herding Dynamical Weights to Learn"; Rebuffi et al. 2017, "iCaRL" (the order of exemplars).

    >>> Herding().pick(np.array([0.0, 4.0, 5.0, 11.0]), 1, np.random.default_rng(0)).rows.tolist()
    [2]
    """

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        points = points_of(signal).centred()
        mean = points.total() / len(points)
        norms = points.squared_norms.copy()
        taken = np.zeros(budget, dtype=np.int64)
        wanted = mean
        for step in range(budget):
            # argmin_x ||(step + 1) mean - sum of the chosen - x||^2
            worth = 2 * points.towards(wanted) - norms
            worth[taken[:step]] = -np.inf
            taken[step] = np.argmax(worth)
            wanted = wanted + mean - points.combine(taken[step : step + 1], np.ones(1))
        return Picked(taken)
