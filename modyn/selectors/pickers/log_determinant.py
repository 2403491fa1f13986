"""Log-determinant: the rows that span the most volume."""

import numpy as np
from pydantic import Field

from modyn.errors import ConfigError
from modyn.selectors.pickers import Picked, Picker
from modyn.selectors.pickers.greedy import Method, maximise
from modyn.selectors.pickers.points import Dense, Factored, blocks, points_of
from modyn.types import Array, Float64s, Int64s, Signal

WIDEST = 4096
"""Widths above this would need a matrix of more than 128 MB."""


class LogDeterminant(Picker):
    """Greedily maximises ``log det(I + X_S X_S^T / ridge)`` over rows scaled to length 1: those that span the most volume.

    The mode of a determinantal point process with a cosine kernel, and Bayesian D-optimal design. It equals
    ``log det(I + X_S^T X_S / ridge)``, so memory is O(n + d^2) and a candidate costs O(d^2), however many are chosen.

    Kulesza & Taskar 2012, "Determinantal Point Processes for Machine Learning".

    >>> LogDeterminant(ridge=0.5).method
    'lazy'
    """

    ridge: float = Field(
        1.0, gt=0, description="added to the kernel's diagonal; small values look more at rare directions"
    )
    method: Method = Field("lazy", description="lazy (exactly naive's result), naive, or stochastic greedy")
    epsilon: float = Field(
        0.01, gt=0, lt=1, description="stochastic greedy looks at n/k ln(1/epsilon) candidates a step"
    )

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        volume = Volume(rows_of(signal), self.ridge)
        return Picked(maximise(volume, len(signal), budget, rng, method=self.method, epsilon=self.epsilon))


def rows_of(signal: Signal) -> Array:
    """``[n, d]`` float32 rows of length 1. Factored gradients too wide to write out are refused with ConfigError."""
    points = points_of(signal).normalised()
    width = points.x.shape[1] if isinstance(points, Dense) else points.e.shape[1] * points.h.shape[1]
    if width > WIDEST:
        raise ConfigError(
            f"log-determinant works on signals of at most {WIDEST} numbers a sample; this one has {width}. "
            "Use the embedding, or another picker."
        )
    return _written_out(points) if isinstance(points, Factored) else points.x


def _written_out(points: Factored) -> Array:
    return np.asarray(np.einsum("ic,ih->ich", points.e, points.h).reshape(len(points), -1))


class Volume:
    """The log-determinant while its set grows, through the inverse of ``ridge I + X_S^T X_S`` (Sherman-Morrison)."""

    def __init__(self, x: Array, ridge: float) -> None:
        self._x = x
        self._inverse = np.eye(x.shape[1]) / ridge

    def gains(self, rows: Int64s) -> Float64s:
        return np.concatenate([self._block_gains(block)[:meant] for block, meant in blocks(rows)])

    def _block_gains(self, rows: Int64s) -> Float64s:
        x = self._x[rows].astype(np.float64)
        return np.asarray(np.log1p(np.einsum("ij,ij->i", x @ self._inverse, x)))

    def add(self, row: int) -> None:
        x = self._x[row].astype(np.float64)
        reached = self._inverse @ x
        self._inverse -= np.outer(reached, reached) / (1 + x @ reached)
