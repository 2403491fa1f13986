"""What every drift metric promises, found by walking the package; a new metric is tested with no test written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modyn.drift import DriftMetric, PerColumn
from modyn.drift.classifier import Classifier
from modyn.policy import policies

METRICS = policies(DriftMetric)
every_metric = pytest.mark.parametrize("name", METRICS)
NEEDS_TWO = {"mmd"}
ODD = {"classifier", "anderson-darling"}  # they ask for a few rows


def _normal(seed: int, rows: int, columns: int = 3, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)) + shift


@every_metric
def test_the_distance_grows_with_the_shift(name):
    metric = METRICS[name]()
    reference = _normal(0, 400)
    if name == "chi2":
        reference = np.round(reference)
    steps = [0.0, 1.0, 2.0] if name != "chi2" else [0, 1, 3]
    distances = [metric.distance(reference, np.roll(reference, 7, axis=0) + step).value for step in steps]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


@every_metric
def test_the_same_seed_gives_the_same_distance(name):
    metric, left, right = METRICS[name](), _normal(1, 150), _normal(2, 120, shift=0.2)
    first, second = metric.distance(left, right, seed=5), metric.distance(left, right, seed=5)
    assert first.value == second.value
    assert first.p_value == second.p_value


@every_metric
def test_an_empty_window_has_no_distance(name):
    metric = METRICS[name]()
    for left, right in [(0, 5), (5, 0), (0, 0)]:
        assert np.isnan(metric.distance(np.zeros((left, 2)), np.zeros((right, 2))).value)


@every_metric
def test_windows_of_one_row_give_a_number_or_nan_and_never_an_error(name):
    metric = METRICS[name]()
    for left, right in [(1, 1), (1, 30), (30, 1)]:
        distance = metric.distance(_normal(0, left), _normal(1, right))
        assert np.isfinite(distance.value) or name in NEEDS_TWO | ODD
        assert distance.p_value is None or 0 <= distance.p_value <= 1


@every_metric
def test_constant_and_equal_columns_are_not_apart(name):
    distance = METRICS[name]().distance(np.full((40, 2), 3.0), np.full((30, 2), 3.0))
    expected = 0.5 if name == "classifier" else 0.0
    assert distance.value == pytest.approx(expected, abs=1e-12)
    assert distance.p_value is None or distance.p_value == 1.0


@every_metric
def test_constant_and_different_columns_are_as_far_as_can_be(name):
    metric = METRICS[name]()
    same = metric.distance(np.full((40, 2), 3.0), np.full((40, 2), 3.0))
    other = metric.distance(np.full((40, 2), 3.0), np.full((40, 2), 4.0))
    if name == "mean-distance":
        assert other.value == pytest.approx(np.sqrt(2))
    assert other.value > same.value


@every_metric
def test_identical_windows_are_not_significantly_apart(name):
    window = np.round(_normal(0, 200), 1)
    distance = METRICS[name]().distance(window, window.copy())
    assert distance.value <= {"classifier": 0.6}.get(name, 1e-6)
    assert distance.p_value is None or distance.p_value > 0.5 or name == "classifier"


@every_metric
def test_missing_values_neither_fail_nor_make_drift_of_their_own(name):
    metric = METRICS[name]()
    left, right = _normal(0, 300), _normal(1, 300)
    if name == "chi2":
        left, right = np.round(left), np.round(right)
    complete = metric.distance(left, right)
    left[::10, 0], right[5::10, 1], right[3, 2] = np.nan, np.nan, np.inf
    holed = metric.distance(left, right)
    assert holed.value == pytest.approx(complete.value, abs=0.1 + abs(complete.value) / 2)


@every_metric
def test_a_column_without_any_known_value_takes_no_part(name):
    metric = METRICS[name]()
    left, right = _normal(0, 100, 2), _normal(1, 100, 2, shift=1.0)
    alone = metric.distance(left[:, :1], right[:, :1]).value
    right[:, 1] = np.nan
    left[:, 1] = np.nan
    if issubclass(METRICS[name], PerColumn):
        assert metric.distance(left, right).value == pytest.approx(alone)
    else:
        assert np.isfinite(metric.distance(left, right).value)


@every_metric
def test_pca_comes_first_and_finds_a_shift_along_the_main_axis(name):
    rng = np.random.default_rng(0)
    left = rng.normal(size=(300, 5)) * [5, 1, 0.1, 0.1, 0.1]
    right = rng.normal(size=(300, 5)) * [5, 1, 0.1, 0.1, 0.1]
    metric = METRICS[name](pca=1)
    near, far = (
        metric.distance(np.round(left) if name == "chi2" else left, right + np.eye(5)[0] * shift).value
        for shift in (0.0, 12.0)
    )
    assert far > near or name == "chi2"


@settings(max_examples=15, deadline=None)
@given(
    values=arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-1e6, 1e6)),
    split=st.integers(1, 11),
)
@pytest.mark.parametrize("name", [n for n in METRICS if n != "classifier"])
def test_any_numbers_give_a_number_or_nan(name, values, split):
    distance = METRICS[name]().distance(values[:split], values[split:])
    assert np.isnan(distance.value) or np.isfinite(distance.value)
    assert distance.p_value is None or 0 <= distance.p_value <= 1


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if "permutations" in m.model_fields])
def test_a_permutation_p_value_is_b_plus_one_over_all(name):
    metric = METRICS[name](permutations=19)
    far = metric.distance(_normal(0, 60, 1), _normal(1, 60, 1, shift=5.0))
    assert far.p_value == pytest.approx(1 / 20)


@pytest.mark.parametrize("model", ["logistic-regression", "gradient-boosting"])
def test_a_classifier_finds_what_it_can_learn(model):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(300, 2)), rng.normal(size=(300, 2)) * 3
    distance = Classifier(model=model).distance(left, right)
    assert (distance.value > 0.75) == (model == "gradient-boosting")
