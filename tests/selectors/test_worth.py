"""The estimate of what selecting costs agrees with counting passes, and warns exactly where nothing is saved."""

import pytest

from modyn.policy import build
from modyn.selectors import Selector
from modyn.selectors.worth import warning, worth


@pytest.mark.parametrize(
    ("document", "share"),
    [
        ({"uniform": {"budget": "50%"}}, 0.5),
        ({"uncertainty": {"budget": "50%", "at": "batch"}}, 0.5 + 1 / 3),
        ({"uncertainty": {"budget": "25%", "at": "batch"}}, 0.25 + 1 / 3),
        ({"uncertainty": {"budget": "50%", "at": "batch", "score_every": 4}}, 0.5 + 1 / 12),
        ({"uncertainty": {"budget": "50%"}}, 0.5 + 1 / 9),
        ({"uncertainty": {"budget": "50%", "reselect_every": 2}}, 0.5 + 2 / 9),
        ({"loss": {"budget": "50%", "scores": "history", "reselect_every": 1}}, 0.5),
        ({"uncertainty": {"budget": "50%", "precision": "bf16"}}, 0.5 + 0.5 / 9),
        ({"uncertainty": {"budget": "50%", "proxy": "small-1/0"}}, 0.5),
        ({"rho-loss": {"budget": "50%", "share": 0.1, "holdout_epochs": 1}}, 0.45 + (1 + 3 * 0.1 + 0.9) / 9),
        ({"rho-loss": {"budget": 500, "share": 0.1, "holdout_epochs": 1}}, 0.5 + (1 + 3 * 0.1 + 0.9) / 9),
        ({"rho-loss": {"budget": "50%", "share": 0.1, "at": "batch"}}, 0.45 + (3 * 0.9 + 9 * 0.1 + 0.9) / 9),
        ({"rho-loss": {"budget": "50%", "holdout": "twin", "holdout_epochs": 2}}, 0.5 + (1 + 6 + 1) / 9),
    ],
    ids=str,
)
def test_what_selecting_costs_counts_in_forward_passes(document, share):
    selector = build(Selector, document)
    assert worth(selector, epochs=3, num_candidates=1000).share == pytest.approx(share)
    assert (warning(selector, epochs=3, num_candidates=1000) is None) == (share < 1)


def test_one_epoch_is_saved_only_by_small_budgets():
    for budget, silent in (("60%", True), ("70%", False), (600, True), (700, False)):
        selector = build(Selector, {"loss": {"budget": budget}})
        assert (warning(selector, epochs=1, num_candidates=1000) is None) == silent


def test_training_on_everything_is_no_attempt_to_save():
    assert warning(build(Selector, "all"), epochs=1, num_candidates=10) is None
