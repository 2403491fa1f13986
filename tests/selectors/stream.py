"""Candidates for tests of selectors, and a run of rounds over a stream."""

import dataclasses

import numpy as np

from modyn.selectors import Selector
from modyn.selectors.usage import Usage
from modyn.types import Candidates, Samples, Selection


def candidates(n: int, seed: int = 0, **changes) -> Candidates:
    """``n`` candidates with gaps between their keys, four labels, and a past of use."""
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.choice(max(1, 3 * n), size=n, replace=False)).astype(np.int64)
    samples = Samples(keys, np.sort(rng.integers(0, 10**9, n)), rng.integers(0, 4, n))
    used = rng.integers(0, 3, n)
    given = Candidates(samples, np.sort(rng.integers(0, 5, n)), used, np.where(used > 0, rng.integers(0, 5, n), -1), 5)
    return dataclasses.replace(given, **changes)


def play(selector: Selector, *, per_round: int, num_rounds: int, seed: int = 0) -> list[tuple[Candidates, Selection]]:
    """What a selector chooses round by round on a stream in which ``per_round`` samples arrive each round."""
    usage, seen = Usage(), []
    for number in range(1, num_rounds + 1):
        end = number * per_round
        keys = np.arange(end)
        samples = Samples(keys, keys * 1000, keys % 3)
        given = usage.candidates(samples, selector.history, end_key=end)
        chosen = selector.choose(given, None, seed=seed)
        usage.record(end, chosen)
        seen.append((given, chosen))
    return seen
