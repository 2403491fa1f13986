"""Matching pursuit: few weighted gradients whose sum is the sum of all."""

import numpy as np
from pydantic import Field
from scipy.linalg import solve_triangular

from modyn.selectors.pickers import Picked, Picker
from modyn.selectors.pickers.points import Points, points_of
from modyn.types import Array, Float64s, Int64s, Signal

LEAST = 1e-6
"""A correlation below this, relative to the largest possible, is rounding error."""


class MatchingPursuit(Picker):
    """Picks rows and weights w >= 0 to minimise ``||sum_S w_j x_j - sum_i x_i||^2 + ridge ||w||^2``, one row at a time.

    Each step takes the row most in line with the residual and solves for the weights of all rows taken by non-negative least squares;
    a row whose weight becomes zero is given back. ``ridge`` counts in units of the mean squared length. Fewer rows than the budget are
    taken if no other row brings the sum nearer. If none does, as where the sum is zero, rows are drawn at random, all with one weight.

    Killamsetty et al. 2021, "GRAD-MATCH: Gradient Matching based Data Subset Selection"; Lawson & Hanson 1974 (the weights).

    >>> picked = MatchingPursuit(ridge=0).pick(np.eye(3)[[0, 0, 1]], 3, np.random.default_rng(0))
    >>> picked.rows.tolist(), picked.weights.tolist()
    ([0, 2], [2.0, 1.0])
    """

    ridge: float = Field(0.5, ge=0, description="lambda: penalty on large weights, in units of the mean squared length")

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        points = points_of(signal)
        scale = float(points.squared_norms.mean())
        if scale > 0:
            pursuit = Pursuit(points, self.ridge * scale)
            for _ in range(3 * budget):
                if len(pursuit.rows) >= budget or not pursuit.step():
                    break
            if len(pursuit.rows):
                return Picked(pursuit.rows, pursuit.weights)
        rows = np.sort(rng.choice(len(points), size=budget, replace=False, shuffle=False))
        return Picked(rows, np.full(budget, len(points) / budget))


class Pursuit:
    """Lawson and Hanson's active-set method, stopped when enough rows are taken. O(n d + k^2) a step."""

    def __init__(self, points: Points, ridge: float) -> None:
        self._points = points
        self._ridge = ridge
        self._target = points.total()
        self.rows: Int64s = np.zeros(0, dtype=np.int64)
        self.weights: Float64s = np.zeros(0)
        self._products: Float64s = np.zeros(0)
        self._factor: Float64s = np.zeros((0, 0))
        """Lower Cholesky factor of the Gram matrix of ``rows``, ridge included; may have room beyond them."""
        length = float(np.sqrt((self._target**2).sum()))
        self._least = LEAST * length * float(np.sqrt(points.squared_norms.max()))

    @property
    def residual(self) -> Float64s:
        """The direction still missing."""
        if not len(self.rows):
            return self._target
        return np.asarray(self._target - self._points.combine(self.rows, self.weights))

    @property
    def objective(self) -> float:
        """What is minimised: squared length of the residual, plus the ridge."""
        return float((self.residual**2).sum() + self._ridge * (self.weights**2).sum())

    def step(self) -> bool:
        """Take one more row and solve for all weights; False if no row helps."""
        correlations = self._points.towards(self.residual)
        correlations[self.rows] = -np.inf
        row = int(np.argmax(correlations))
        if correlations[row] <= self._least or not self._take(row):
            return False
        self._solve()
        return bool(np.any(self.rows == row))

    def _take(self, row: int) -> bool:
        """Put a row in with weight 0; False if it lies in the span of those taken, so that no weight could be told from theirs."""
        new, size = np.array([row]), len(self.rows)
        products = self._points.exact(new, np.append(self.rows, row))[0]
        inner = self._triangular(products[:-1]) if size else products[:0]
        height = products[-1] + self._ridge - inner @ inner
        if height <= 1e-10 * (products[-1] + self._ridge):
            return False
        if len(self._factor) == size:
            grown = np.zeros((2 * size + 8, 2 * size + 8))
            grown[:size, :size] = self._factor
            self._factor = grown
        self._factor[size, :size] = inner
        self._factor[size, size] = np.sqrt(height)
        self.rows = np.append(self.rows, row)
        self.weights = np.append(self.weights, 0.0)
        target = (self._points.combine(new, np.ones(1)) * self._target).sum()
        self._products = np.append(self._products, target)
        return True

    def _triangular(self, values: Float64s, *, transposed: bool = False) -> Float64s:
        factor = self._factor[: len(self.rows), : len(self.rows)]
        return np.asarray(solve_triangular(factor, values, lower=True, trans=int(transposed), check_finite=False))

    def _solve(self) -> None:
        """Move the weights to the least-squares solution on the rows taken; rows that would turn negative on the way are given back."""
        while len(self.rows):
            solved = self._triangular(self._triangular(self._products), transposed=True)
            negative = np.flatnonzero(solved <= 0)
            if not len(negative):
                self.weights = solved
                return
            stretch = self.weights[negative] / np.maximum(self.weights[negative] - solved[negative], 1e-300)
            self.weights = self.weights + float(stretch.min()) * (solved - self.weights)
            kept = np.ones(len(self.rows), dtype=bool)
            kept[negative[stretch <= stretch.min()]] = False
            self._keep(kept)

    def _keep(self, kept: Array) -> None:
        self.rows, self.weights, self._products = self.rows[kept], self.weights[kept], self._products[kept]
        gram = self._points.exact(self.rows, self.rows) + self._ridge * np.eye(len(self.rows))
        self._factor = np.asarray(np.linalg.cholesky(gram), dtype=np.float64)
