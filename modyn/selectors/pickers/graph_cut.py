"""Graph cut: like everything, unlike each other."""

from typing import Literal

import numpy as np
from pydantic import Field

from modyn.selectors.pickers import Picked, Picker
from modyn.selectors.pickers.greedy import Method, maximise
from modyn.selectors.pickers.points import Points, distances, points_of, total_distances
from modyn.types import Float32s, Float64s, Int64s, Signal


class GraphCut(Picker):
    """Greedily maximises ``sum_{i in V, j in S} s(i, j) - lambda sum_{i, j in S} s(i, j)``; ``redundancy`` is lambda.

    ``s(i, j)`` is ``(1 + cos) / 2``, or ``c - ||x_i - x_j||`` with a ``c`` no distance exceeds. Up to ``redundancy`` 0.5 the function is
    monotone, and greedy reaches (1 - 1/e) of the best value. Memory O(n).

    Iyer, Khargonkar, Bilmes & Asnani 2021, "Submodular Combinatorial Information Measures with Applications in Machine Learning".

    >>> GraphCut(redundancy=0.3).redundancy
    0.3
    """

    redundancy: float = Field(
        0.4, ge=0, description="lambda: how much likeness among the chosen costs (monotone up to 0.5)"
    )
    metric: Literal["euclidean", "cosine"] = Field("cosine", description="how alike two samples are")
    method: Method = Field("lazy", description="lazy (exactly naive's result), naive, or stochastic greedy")
    epsilon: float = Field(
        0.01, gt=0, lt=1, description="stochastic greedy looks at n/k ln(1/epsilon) candidates a step"
    )

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        cut = Cut(points_of(signal), self.metric, self.redundancy)
        return Picked(maximise(cut, len(signal), budget, rng, method=self.method, epsilon=self.epsilon))


class Cut:
    """The graph-cut function while its set grows. A step costs one row of similarities."""

    def __init__(self, points: Points, metric: Literal["euclidean", "cosine"], redundancy: float) -> None:
        self._cosine = metric == "cosine"
        self._points = points.normalised() if self._cosine else points.centred()
        self._norms = self._points.squared_norms.astype(np.float32)
        self._ceiling = 2 * float(np.sqrt(self._points.squared_norms.max()))
        self._redundancy = redundancy
        self._to_all = self._likeness_to_all()
        self._to_chosen = np.zeros(len(points))
        self._to_self = (1 + self._points.squared_norms) / 2 if self._cosine else np.full(len(points), self._ceiling)

    def _likeness_to_all(self) -> Float64s:
        n = len(self._points)
        if self._cosine:
            return (n + self._points.towards(self._points.total())) / 2
        return n * self._ceiling - total_distances(self._points, self._norms)

    def likeness(self, rows: Int64s, tile: slice) -> Float32s:
        """``[b, t]`` similarities of ``rows`` to the points of ``tile``."""
        if self._cosine:
            found = self._points.inner(rows, tile)
            found += 1
            found *= 0.5
            return found
        found = distances(self._points, rows, tile, self._norms)
        return np.subtract(np.float32(self._ceiling), found, out=found)

    def gains(self, rows: Int64s) -> Float64s:
        among = 2 * self._to_chosen[rows] + self._to_self[rows]
        return np.asarray(self._to_all[rows] - self._redundancy * among)

    def add(self, row: int) -> None:
        self._to_chosen += self.likeness(np.array([row]), slice(None))[0]
