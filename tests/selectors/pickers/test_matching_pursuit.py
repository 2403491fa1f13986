"""Matching pursuit: the residual never grows, and the weights are non-negative least squares on the rows taken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from modyn.selectors.pickers.matching_pursuit import MatchingPursuit, Pursuit
from modyn.selectors.pickers.points import points_of


@given(
    n=st.integers(1, 30),
    width=st.integers(1, 8),
    budget=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    ridge=st.sampled_from([0.0, 0.01, 0.5]),
)
@settings(max_examples=100, deadline=None)
def test_weights_are_non_negative_least_squares_on_the_support(n, width, budget, seed, ridge):
    x = np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32).astype(float)
    picked = MatchingPursuit(ridge=ridge).pick(x, budget, np.random.default_rng(0))
    penalty = np.sqrt(ridge * (x**2).sum(axis=1).mean())
    support = x[picked.rows]
    system = np.concatenate([support.T, penalty * np.eye(len(support))])
    wanted, _ = nnls(system, np.concatenate([x.sum(axis=0), np.zeros(len(support))]))
    reached = np.linalg.norm(system @ picked.weights - np.concatenate([x.sum(axis=0), np.zeros(len(support))]))
    best = np.linalg.norm(system @ wanted - np.concatenate([x.sum(axis=0), np.zeros(len(support))]))
    assert reached == pytest.approx(best, rel=1e-5, abs=1e-5)
    if ridge:
        assert np.allclose(picked.weights, wanted, rtol=1e-4, atol=1e-4)


@given(n=st.integers(2, 60), width=st.integers(1, 20), seed=st.integers(0, 10_000), ridge=st.sampled_from([0.0, 0.5]))
@settings(max_examples=60, deadline=None)
def test_the_residual_never_increases(n, width, seed, ridge):
    x = np.random.default_rng(seed).standard_normal((n, width)) + 0.3
    pursuit = Pursuit(points_of(x), ridge)
    objective = pursuit.objective
    for _ in range(n):
        if not pursuit.step():
            break
        assert pursuit.objective <= objective * (1 + 1e-9) + 1e-9
        objective = pursuit.objective


def test_with_all_rows_allowed_and_no_ridge_nothing_is_left_over():
    x = np.random.default_rng(0).standard_normal((200, 10))
    pursuit = Pursuit(points_of(x), 0.0)
    while len(pursuit.rows) < 100 and pursuit.step():
        pass
    assert np.linalg.norm(pursuit.residual) < 1e-3 * np.linalg.norm(x.sum(axis=0))
    assert len(pursuit.rows) <= 10


def test_a_sum_of_one_kind_is_matched_by_few_rows():
    x = np.repeat(np.eye(4), [5, 1, 3, 1], axis=0)
    picked = MatchingPursuit(ridge=0).pick(x, 4, np.random.default_rng(0))
    found = np.zeros(4)
    np.add.at(found, x[picked.rows].argmax(axis=1), picked.weights)
    assert np.allclose(found, [5, 1, 3, 1])


def test_what_adds_up_to_nothing_is_drawn_at_random():
    x = np.concatenate([np.eye(4), -np.eye(4)])
    picked = MatchingPursuit().pick(x, 3, np.random.default_rng(0))
    assert len(set(picked.rows.tolist())) == 3
    assert picked.weights.tolist() == pytest.approx([8 / 3] * 3)
