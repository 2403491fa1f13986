"""What holds for every picker, found by walking the package."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.errors import ConfigError, TrainingError
from modyn.policy import build, policies
from modyn.selectors.pickers import Picked, Picker
from modyn.types import Gradients

PICKERS = sorted(policies(Picker))
SHAPES = ["scalar", "vector", "gradient", "bias-gradient"]


def signal_of(shape: str, n: int, rng: np.random.Generator):
    if shape == "scalar":
        return rng.random(n).astype(np.float32)
    if shape == "vector":
        return rng.standard_normal((n, 5)).astype(np.float32)
    errors = rng.standard_normal((n, 3)).astype(np.float32)
    return Gradients(errors, rng.standard_normal((n, 4)).astype(np.float32) if shape == "gradient" else None)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PICKERS)
@given(n=st.integers(1, 40), budget=st.integers(0, 50), seed=st.integers(0, 1000), per_class=st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_picker_keeps_its_budget_and_takes_no_row_twice(name, shape, n, budget, seed, per_class):
    rng = np.random.default_rng(seed)
    signal, labels = signal_of(shape, n, rng), rng.integers(3, size=n)
    picker = build(Picker, {name: {"per_class": per_class}})
    picked = picker.pick(signal, budget, np.random.default_rng(seed), labels=labels)
    assert len(picked.rows) <= min(budget, n)
    if name != "matching-pursuit":
        assert len(picked.rows) == min(budget, n)
    assert len(set(picked.rows.tolist())) == len(picked.rows)
    assert np.all((picked.rows >= 0) & (picked.rows < n))
    if picked.weights is not None:
        assert picked.weights.shape == picked.rows.shape
        assert np.all(np.isfinite(picked.weights))
        assert np.all(picked.weights >= 0)
    again = picker.pick(signal, budget, np.random.default_rng(seed), labels=labels)
    assert again.rows.tobytes() == picked.rows.tobytes()
    assert (again.weights is None) == (picked.weights is None)
    if picked.weights is not None:
        assert again.weights.tobytes() == picked.weights.tobytes()


@pytest.mark.parametrize("name", PICKERS)
def test_every_picker_takes_duplicates_and_zeros_in_its_stride(name):
    signal = np.zeros((20, 4), dtype=np.float32)
    signal[10:] = 1
    picked = build(Picker, name).pick(signal, 15, np.random.default_rng(0))
    assert 0 < len(picked.rows) <= 15
    nothing = build(Picker, name).pick(np.zeros((20, 4), dtype=np.float32), 5, np.random.default_rng(0))
    assert len(nothing.rows) == 5


@pytest.mark.parametrize("name", PICKERS)
def test_per_class_shares_the_budget_fairly(name):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [50, 4, 46])
    picked = build(Picker, {name: {"per_class": True}}).pick(
        rng.standard_normal((100, 3)).astype(np.float32), 24, rng, labels=labels
    )
    counts = np.bincount(labels[picked.rows], minlength=3)
    assert np.all(counts <= [10, 4, 10])
    if name != "matching-pursuit":
        assert counts.tolist() == [10, 4, 10]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "these samples have none"),
        (np.ones((3, 4)), "these have 4 labels each"),
        (np.array([0.5, 1.25, 2.0]), "these labels are measured values"),
    ],
)
def test_per_class_without_classes_is_refused(labels, message):
    with pytest.raises(ConfigError, match=rf"\(per_class: true, where false picks among all\) needs .*{message}"):
        build(Picker, {"top-k": {"per_class": True}}).pick(np.arange(3.0), 1, np.random.default_rng(0), labels=labels)


def test_whole_numbers_kept_as_floats_are_classes():
    picker = build(Picker, {"top-k": {"per_class": True}})
    rows = picker.pick(np.arange(4.0), 2, np.random.default_rng(0), labels=np.array([0.0, 0.0, 1.0, 1.0])).rows
    assert sorted(rows.tolist()) == [1, 3]


def test_top_k_and_bottom_k_take_the_ends():
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    assert build(Picker, "top-k").pick(scores, 2, np.random.default_rng(0)).rows.tolist() == [0, 2]
    assert build(Picker, "bottom-k").pick(scores, 2, np.random.default_rng(0)).rows.tolist() == [1, 3]


def test_ties_for_the_last_places_are_drawn_at_random():
    scores = np.concatenate([[9.0], np.zeros(10)])
    chosen = {
        row
        for seed in range(60)
        for row in build(Picker, "top-k").pick(scores, 3, np.random.default_rng(seed)).rows.tolist()
    }
    assert chosen == set(range(11))


class Given(Picker):
    """Gives what it is told to, as a user's own picker may."""

    what: Any = None

    def take(self, signal, budget, rng):
        return self.what


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (np.arange(2), "gave a ndarray; Picked"),
        (Picked(np.array([0.0, 1.0])), r"gave rows of type float64 and shape \[2\]"),
        (Picked(np.zeros((2, 1), np.int64)), r"gave rows of type int64 and shape \[2, 1\]"),
        (Picked(np.arange(4)), "took 4 rows, more than the budget of 3"),
        (Picked(np.array([1, 10])), r"took row 10 of 10 rows \(the first is 0\)"),
        (Picked(np.array([-1, 2])), "took row -1 of 10 rows"),
        (Picked(np.array([2, 2])), "took a row twice"),
        (Picked(np.array([2, 3]), np.ones(3)), r"gave weights of shape \[3\] for 2 rows"),
        (Picked(np.array([2, 3]), np.array([1, -1.0])), "gave weights that are not finite numbers from 0 on"),
        (Picked(np.array([2, 3]), np.array([1, np.nan])), "gave weights that are not finite numbers from 0 on"),
    ],
)
def test_what_a_picker_must_not_give_is_told(what, told):
    with pytest.raises(TrainingError, match=f"picker tests.*Given {told}"):
        Given(what=what).pick(np.arange(10.0), 3, np.random.default_rng(0))
    with pytest.raises(TrainingError, match=r"Given (gave|took)"):
        Given(what=what, per_class=True).pick(
            np.arange(10.0), 3, np.random.default_rng(0), labels=np.zeros(10, np.int64)
        )


def test_a_picker_may_take_rows_in_any_order_and_fewer_than_the_budget():
    assert Given(what=Picked(np.array([7, 1]))).pick(np.arange(10.0), 3, np.random.default_rng(0)).rows.tolist() == [
        7,
        1,
    ]
