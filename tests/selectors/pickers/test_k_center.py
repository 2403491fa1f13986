"""k-center: within twice the least possible gap."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.selectors.pickers.k_center import KCenter, radius


@given(n=st.integers(1, 12), budget=st.integers(1, 4), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_largest_gap_is_at_most_twice_the_least_possible(n, budget, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    rows = KCenter().pick(x, budget, rng).rows
    gaps = np.linalg.norm(x[:, None] - x[None], axis=2)
    best = min(gaps[list(chosen)].min(axis=0).max() for chosen in combinations(range(n), min(budget, n)))
    assert radius(x, rows) <= 2 * best + 1e-3
    assert np.isclose(radius(x, rows), gaps[rows].min(axis=0).max(), atol=2e-3)


def test_each_row_is_the_farthest_from_those_before():
    x = np.random.default_rng(1).standard_normal((200, 6)) + 100
    rows = KCenter().pick(x, 30, np.random.default_rng(0)).rows
    gaps = np.linalg.norm(x[:, None] - x[None], axis=2)
    for step in range(1, 30):
        far = gaps[rows[:step]].min(axis=0)
        assert far[rows[step]] >= far.max() - 1e-3
