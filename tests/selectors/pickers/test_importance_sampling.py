"""Importance sampling: exact chances, unbiased weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.errors import ConfigError
from modyn.selectors.pickers.importance_sampling import ImportanceSampling, inclusion, systematic


@pytest.mark.parametrize("per_class", [False, True])
def test_the_weighted_mean_gradient_is_unbiased(per_class):
    rng = np.random.default_rng(0)
    n, k, draws = 60, 12, 300
    gradients = rng.standard_normal((n, 3)) * rng.exponential(size=(n, 1))
    scores = np.linalg.norm(gradients, axis=1)
    labels = rng.integers(3, size=n)
    picker = ImportanceSampling(per_class=per_class)
    means = np.zeros((draws, 3))
    for draw in range(draws):
        picked = picker.pick(scores, k, rng, labels=labels)
        means[draw] = (picked.weights[:, None] * gradients[picked.rows]).sum(axis=0) / k
    error = means.std(axis=0) / np.sqrt(draws)
    assert np.all(np.abs(means.mean(axis=0) - gradients.mean(axis=0)) < 4 * error)


def test_it_has_less_variance_than_uniform_sampling():
    rng = np.random.default_rng(1)
    gradients = rng.standard_normal(200) * rng.exponential(size=200) ** 2
    spread = {}
    for share in (0.0, 1.0):
        picker = ImportanceSampling(uniform_share=share)
        picks = [picker.pick(np.abs(gradients), 20, rng) for _ in range(1000)]
        spread[share] = np.std([(p.weights * gradients[p.rows]).mean() for p in picks])
    assert spread[0.0] < 0.7 * spread[1.0]


def test_rows_come_with_exactly_the_wanted_chance():
    rng = np.random.default_rng(2)
    chances = inclusion(np.array([1.0, 2.0, 3.0, 4.0]), 2, 0.0)
    assert np.allclose(chances, [0.2, 0.4, 0.6, 0.8])
    counts = np.bincount(np.concatenate([systematic(chances, rng) for _ in range(20_000)]), minlength=4)
    assert np.allclose(counts / 20_000, chances, atol=0.015)


# A score, or a share, that vanishes beside the total (below 1e-300 of it) counts as 0.
SCORES = st.lists(st.just(0.0) | st.floats(1e-9, 1e6), min_size=1, max_size=30)


@given(SCORES, st.integers(1, 30), st.just(0.0) | st.floats(1e-9, 1))
@settings(deadline=None, max_examples=300)
def test_chances_are_at_most_one_and_sum_to_the_budget(scores, budget, share):
    budget = min(budget, len(scores))
    chances = inclusion(np.array(scores), budget, share)
    assert np.all((chances >= 0) & (chances <= 1 + 1e-12))
    reachable = budget if share > 0 or sum(scores) == 0 else min(budget, np.count_nonzero(scores))
    assert chances.sum() == pytest.approx(reachable)


def test_a_negative_score_is_refused():
    with pytest.raises(ConfigError, match="not negative"):
        ImportanceSampling().pick(np.array([1.0, -1.0]), 1, np.random.default_rng(0))
