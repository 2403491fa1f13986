"""k-center: no sample is far from a chosen one."""

import numpy as np

from modyn.selectors.pickers import Picked, Picker
from modyn.selectors.pickers.points import points_of, squared_distances_to
from modyn.types import Float64s, Int64s, Signal


class KCenter(Picker):
    """Takes the row farthest from those taken, again and again, from a random first: the largest gap is <= 2x the least possible.

    A step costs one matrix-vector product; memory O(n).

    Gonzalez 1985, "Clustering to Minimize the Maximum Intercluster Distance"; Sener & Savarese 2018, "Active Learning for
    Convolutional Neural Networks: A Core-Set Approach".

    >>> KCenter().pick(np.array([0.0, 1.0, 10.0]), 2, np.random.default_rng(0)).rows.tolist()
    [2, 0]
    """

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        points = points_of(signal).centred()
        taken = np.zeros(budget, dtype=np.int64)
        taken[0] = rng.integers(len(points))
        gaps = squared_distances_to(points, int(taken[0]))
        gaps[taken[0]] = -1
        for step in range(1, budget):
            row = int(np.argmax(gaps))
            np.minimum(gaps, squared_distances_to(points, row), out=gaps)
            gaps[row] = -1
            taken[step] = row
        return Picked(taken)


def radius(signal: Signal, rows: Int64s) -> float:
    """The largest distance of any row to the nearest of ``rows``."""
    points = points_of(signal).centred()
    gaps: Float64s = np.full(len(points), np.inf)
    for row in rows:
        np.minimum(gaps, squared_distances_to(points, int(row)), out=gaps)
    return float(np.sqrt(gaps.max()))
