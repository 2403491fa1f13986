"""What every selector owes the loop, on random candidates."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn import policy
from modyn.selectors import Selector
from modyn.types import Candidates, Samples, Selection

WITHOUT_SIGNALS = [
    pytest.param(cls, id=name)
    for name, cls in policy.policies(Selector).items()
    if not any(field.is_required() for field in cls.model_fields.values()) and not cls().needs
]


def candidates(n: int, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.choice(max(1, 3 * n), size=n, replace=False)).astype(np.int64)
    samples = Samples(keys, np.sort(rng.integers(0, 10**9, n)), rng.integers(0, 4, n))
    used = rng.integers(0, 3, n)
    return Candidates(samples, np.sort(rng.integers(0, 5, n)), used, np.where(used > 0, rng.integers(0, 5, n), -1), 5)


def select(cls: type[Selector], n: int, options: dict[str, Any], seed: int = 0) -> tuple[Candidates, Selection]:
    given_ = candidates(n)
    selector = policy.build(Selector, {policy.name_of(cls): options})
    return given_, selector.select(given_, selector.size(n), {}, np.random.default_rng(seed))


@pytest.mark.parametrize("cls", WITHOUT_SIGNALS)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 200), share=st.integers(1, 100))
def test_it_stays_within_budget_and_chooses_among_the_candidates(cls: type[Selector], n: int, share: int) -> None:
    given_, selection = select(cls, n, {"budget": f"{share}%"})
    assert len(selection) <= max(1, round(share / 100 * n))
    assert np.isin(selection.keys, given_.keys).all()
    assert selection.keys.dtype == np.int64
    assert len(np.unique(selection.keys)) == len(selection)


@pytest.mark.parametrize("cls", WITHOUT_SIGNALS)
def test_its_weights_are_finite_and_not_negative(cls: type[Selector]) -> None:
    _, selection = select(cls, 100, {"budget": 30})
    if selection.weights is not None:
        assert selection.weights.shape == selection.keys.shape
        assert np.isfinite(selection.weights).all()
        assert (selection.weights >= 0).all()


@pytest.mark.parametrize("cls", WITHOUT_SIGNALS)
def test_the_same_seed_selects_the_same_bytes(cls: type[Selector]) -> None:
    first, second = select(cls, 150, {"budget": 40}, seed=3)[1], select(cls, 150, {"budget": 40}, seed=3)[1]
    assert first.keys.tobytes() == second.keys.tobytes()


@pytest.mark.parametrize("cls", WITHOUT_SIGNALS)
def test_without_a_budget_nothing_is_asked_that_all_could_not_give(cls: type[Selector]) -> None:
    given_, selection = select(cls, 20, {})
    assert 0 < len(selection) <= len(given_)
