"""Distances kept from check to check are those that would be computed anew, whatever the windows did before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.drift import DriftMetric
from modyn.drift import kept as kept_module
from modyn.drift.energy import Energy
from modyn.drift.kept import KeptPairs, Keyed
from modyn.drift.mmd import Mmd

METRICS: list[DriftMetric] = [
    Mmd(),
    Mmd(form="biased", bandwidth=2.0),
    Mmd(permutations=20),
    Energy(),
    Energy(permutations=20),
]


def _windows(rows: np.ndarray, start: int, end: int) -> Keyed:
    keys = np.arange(start, end)
    return Keyed(keys, rows[keys])


@pytest.mark.parametrize("metric", METRICS, ids=str)
@settings(max_examples=10, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), min_size=1, max_size=6), seed=st.integers(0, 9)
)
def test_sliding_windows_have_the_distances_computed_anew(
    metric: DriftMetric, steps: list[tuple[int, int]], seed: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(400, 5)).astype(np.float32) + 100
    pairs, reference, start = KeptPairs(), _windows(rows, 0, 30), 20
    for forward, length in steps:
        start += forward
        current = _windows(rows, start, start + length)
        squared = pairs.between(reference, current)
        assert squared is not None
        found = metric.of_distances(squared, seed=seed)
        anew = metric.distance(reference.rows, current.rows, seed=seed)
        np.testing.assert_allclose(found.value, anew.value, rtol=1e-3, atol=1e-3, equal_nan=True)
        assert (found.p_value is None) == (anew.p_value is None)
        assert found.p_value is None or abs(found.p_value - anew.p_value) < 0.1  # rounding may decide a tie
        fresh = KeptPairs().between(reference, current)
        assert fresh is not None
        assert all(np.array_equal(a, b) for a, b in zip(squared, fresh, strict=True))


def test_a_row_in_both_windows_is_at_distance_0_from_itself() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 3)) * 1e3
    squared = KeptPairs().between(_windows(rows, 0, 15), _windows(rows, 5, 20))
    assert squared is not None
    assert (squared.between[:10].diagonal(5) == 0).all()
    assert (squared.reference.diagonal() == 0).all()
    assert (squared.current.diagonal() == 0).all()


def test_a_value_that_is_not_finite_or_too_many_rows_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((20, 2))
    rows[12, 0] = np.nan
    pairs = KeptPairs()
    assert pairs.between(_windows(rows, 0, 5), _windows(rows, 10, 15)) is None
    assert pairs.between(_windows(rows, 10, 15), _windows(rows, 0, 5)) is None
    assert pairs.between(_windows(rows, 0, 5), _windows(rows, 14, 19)) is not None
    monkeypatch.setattr(kept_module, "MOST_ROWS", 9)
    assert pairs.between(_windows(rows, 0, 5), _windows(rows, 14, 19)) is None


def test_many_squared_distances_have_the_median_that_numpy_finds() -> None:
    from modyn.drift.kernels import middle_distance

    rng = np.random.default_rng(1)
    for n in (2049, 2050, 19_900):
        for pairs in (rng.chisquare(3, n), rng.integers(0, 4, n), np.where(np.arange(n) < n // 2, 1.0, 7.0)):
            squares = pairs.astype(np.float32)
            assert middle_distance(squares) == pytest.approx(float(np.sqrt(np.median(squares))), rel=1e-6)
    mostly_equal = np.where(np.arange(5000) < 100, 4.0, 0.0).astype(np.float32)
    assert middle_distance(mostly_equal) == 2.0
