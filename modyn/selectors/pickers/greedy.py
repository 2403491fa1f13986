"""Greedy maximisation of a set function: naive, lazy and stochastic. Lazy gives exactly what naive gives, with far fewer gains.

For a monotone submodular function greedy reaches (1 - 1/e) of the best value (Nemhauser, Wolsey & Fisher 1978); lazy greedy is by
Minoux 1978, stochastic greedy, (1 - 1/e - epsilon) in expectation, by Mirzasoleiman et al. 2015, "Lazier Than Lazy Greedy".
Ties go to the lowest row.
"""

import math
from typing import Literal, Protocol

import numpy as np

from modyn.selectors.pickers.points import BLOCK
from modyn.types import Float64s, Int64s

Method = Literal["lazy", "naive", "stochastic"]
SLACK = 1e-6
"""Bounds this close (relative) to the best gain count as equal to it, so that rounding (float32) never hides a better candidate."""


class SetFunction(Protocol):
    """A set function while its set grows."""

    def gains(self, rows: Int64s) -> Float64s:
        """``[b]``: what each of these rows would add to the value; each number independent of the others asked with it."""
        ...

    def add(self, row: int) -> None:
        """Put a row into the set."""
        ...


def maximise(
    function: SetFunction,
    num_rows: int,
    budget: int,
    rng: np.random.Generator,
    *,
    method: Method,
    epsilon: float = 0.01,
) -> Int64s:
    """The rows, in the order in which greedy takes them. It always takes ``budget`` rows, even at a loss."""
    if method == "naive":
        return _naive(function, num_rows, budget)
    if method == "lazy":
        return _lazy(function, num_rows, budget)
    return _stochastic(function, num_rows, budget, rng, epsilon)


def _naive(function: SetFunction, num_rows: int, budget: int) -> Int64s:
    left, taken = np.arange(num_rows), np.zeros(budget, dtype=np.int64)
    for step in range(budget):
        best = int(np.argmax(function.gains(left)))
        taken[step] = left[best]
        function.add(int(left[best]))
        left = np.delete(left, best)
    return taken


def _lazy(function: SetFunction, num_rows: int, budget: int) -> Int64s:
    """Bounds from earlier steps can only be too high; a candidate is looked at again only while its bound is not below the best."""
    bounds = np.full(num_rows, np.inf)
    taken = np.zeros(budget, dtype=np.int64)
    for step in range(budget):
        stale = np.ones(num_rows, dtype=bool)
        stale[taken[:step]] = False
        best = -np.inf
        while len(hopeful := np.flatnonzero(stale & (bounds >= best - SLACK * abs(best) if best > -np.inf else stale))):
            if len(hopeful) > BLOCK:
                hopeful = hopeful[np.argpartition(-bounds[hopeful], BLOCK - 1)[:BLOCK]]
            bounds[hopeful] = function.gains(hopeful)
            stale[hopeful] = False
            best = max(best, float(bounds[hopeful].max()))
        fresh = ~stale
        fresh[taken[:step]] = False
        candidates = np.flatnonzero(fresh)
        taken[step] = candidates[np.argmax(bounds[candidates])]
        bounds[taken[step]] = -np.inf
        function.add(int(taken[step]))
    return taken


def _stochastic(function: SetFunction, num_rows: int, budget: int, rng: np.random.Generator, epsilon: float) -> Int64s:
    order = np.arange(num_rows)
    taken = np.zeros(budget, dtype=np.int64)
    size = max(1, math.ceil(num_rows / budget * math.log(1 / epsilon)))
    for step in range(budget):
        left = order[step:]
        drawn = np.sort(rng.choice(len(left), size=min(size, len(left)), replace=False, shuffle=False))
        best = int(drawn[np.argmax(function.gains(left[drawn]))])
        taken[step] = left[best]
        order[step + best], order[step] = order[step], order[step + best]
        function.add(int(taken[step]))
    return taken
