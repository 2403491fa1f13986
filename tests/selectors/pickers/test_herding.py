"""Herding: the chosen have the mean of all."""

import numpy as np

from modyn.selectors.pickers.herding import Herding


def test_each_step_takes_the_row_that_brings_the_mean_nearest():
    x = np.random.default_rng(0).standard_normal((60, 5))
    rows = Herding().pick(x, 12, np.random.default_rng(0)).rows
    mean, total = x.mean(axis=0), np.zeros(5)
    for step, row in enumerate(rows):
        gaps = np.linalg.norm(mean - (total + x) / (step + 1), axis=1)
        gaps[rows[:step]] = np.inf
        assert gaps[row] <= gaps.min() + 1e-5
        total += x[row]


def test_the_mean_of_the_chosen_is_nearer_than_that_of_a_random_subset():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1000, 8))
    herded = np.linalg.norm(x[Herding().pick(x, 50, rng).rows].mean(axis=0) - x.mean(axis=0))
    random = [np.linalg.norm(x[rng.choice(1000, 50)].mean(axis=0) - x.mean(axis=0)) for _ in range(20)]
    assert herded < 0.2 * min(random)
