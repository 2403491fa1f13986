"""k-center: no sample is far from a chosen one."""

import numpy as np

from modyn.selectors.pickers import Picked, Picker
from modyn.selectors.pickers.points import Points, points_of
from modyn.types import Float32s, Int64s, Signal

MOST_AHEAD = 16


class KCenter(Picker):
    """Takes the row farthest from those taken, again and again, from a random first: the largest gap is <= 2x the least possible.

    A step costs one matrix-vector product; memory O(n).

    Gonzalez 1985, "Clustering to Minimize the Maximum Intercluster Distance"; Sener & Savarese 2018, "Active Learning for
    Convolutional Neural Networks: A Core-Set Approach".

    >>> KCenter().pick(np.array([0.0, 1.0, 10.0]), 2, np.random.default_rng(0)).rows.tolist()
    [2, 0]
    """

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        distances = _Lookahead(points_of(signal).centred())
        taken = np.zeros(budget, dtype=np.int64)
        taken[0] = rng.integers(len(signal))
        gaps = distances.to(int(taken[0]), np.zeros(0, np.float32))
        gaps[taken[0]] = -1
        for step in range(1, budget):
            row = int(np.argmax(gaps))
            np.minimum(gaps, distances.to(row, gaps), out=gaps)
            gaps[row] = -1
            taken[step] = row
        return Picked(taken)


class _Lookahead:
    """Squared distances to one row after another: those that are likely to be asked for next are computed in the same pass.

    A pass over the points is bound by memory: for 16 rows at once it takes 3 times what it takes for one (50,000 x 128). So the rows
    with the widest gaps are computed together, as many as paid off last time.
    """

    def __init__(self, points: Points) -> None:
        self._points = points
        self._norms = points.squared_norms.astype(np.float32)
        self._ahead: dict[int, Float32s] = {}
        self._number, self._used = 1, 1

    def to(self, row: int, gaps: Float32s) -> Float32s:
        """``[n]`` squared distances to ``row``; ``gaps`` say which rows may follow."""
        if row not in self._ahead:
            self._compute(row, gaps)
        self._used += 1
        return self._ahead.pop(row)

    def _compute(self, row: int, gaps: Float32s) -> None:
        self._number = (
            min(MOST_AHEAD, 2 * self._number) if 2 * self._used >= self._number else max(1, self._number // 2)
        )
        self._used = 0
        rows = np.array([row])
        if 1 < self._number < len(gaps):
            widest = np.argpartition(-gaps, self._number)[: self._number]
            rows = np.append(rows, widest[(widest != row) & (gaps[widest] >= 0)][: self._number - 1])
        found = self._points.to_rows(rows)
        found *= -2
        found += self._norms
        found += self._norms[rows][:, None]
        np.maximum(found, 0, out=found)
        self._ahead = dict(zip(rows.tolist(), found, strict=True))


def radius(signal: Signal, rows: Int64s) -> float:
    """The largest distance of any row to the nearest of ``rows``."""
    points = points_of(signal).centred()
    gaps = np.full(len(points), np.inf)
    for row in rows:
        products = points.to_rows(np.array([row]))[0]
        gaps = np.minimum(gaps, np.maximum(points.squared_norms + points.squared_norms[row] - 2 * products, 0))
        gaps[row] = 0
    return float(np.sqrt(gaps.max()))
