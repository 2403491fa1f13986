"""Selectors that pick by a signal: named methods are a signal and a picker, and refuse what cannot work."""

import numpy as np
import pytest

from modyn.errors import ConfigError, TrainingError
from modyn.policy import Importable, build, policies
from modyn.selectors import Selector
from modyn.selectors.holdout import irreducible_losses, part_of
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.points import points_of
from modyn.selectors.scored import _Scored
from modyn.types import Gradients, Holdout
from tests.selectors.stream import candidates

SCORED = [name for name, cls in policies(Selector).items() if issubclass(cls, _Scored) and name != "coreset"]


def signals_for(selector: Selector, n: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    made: dict = {}
    for name in selector.needs:
        if name == "gradient":
            made[name] = Gradients(
                rng.standard_normal((n, 3)).astype(np.float32), rng.standard_normal((n, 4)).astype(np.float32)
            )
        elif name == "embedding":
            made[name] = rng.standard_normal((n, 6)).astype(np.float32)
        else:
            made[str(name)] = rng.random(n).astype(np.float32)
    return made


@pytest.mark.parametrize("per_class", [None, True, False])
@pytest.mark.parametrize("name", SCORED)
def test_every_method_stays_within_budget_with_ascending_keys_and_good_weights(name, per_class):
    options = {} if per_class is None else {"per_class": per_class}
    selector = build(Selector, {name: {"budget": 40, **options}})
    given = candidates(150)
    signals = signals_for(selector, 150)
    chosen = selector.choose(given, signals, seed=1)
    assert 0 < len(chosen) <= 40
    assert np.all(np.diff(chosen.keys) > 0)
    assert np.isin(chosen.keys, given.keys).all()
    if chosen.weights is not None:
        assert chosen.weights.dtype == np.float32
        assert np.isfinite(chosen.weights).all()
        assert (chosen.weights >= 0).all()
    again = selector.choose(given, signals, seed=1)
    assert again.keys.tobytes() == chosen.keys.tobytes()


@pytest.mark.parametrize("name", SCORED)
def test_without_a_model_the_choice_is_random_within_the_budget(name):
    selector = build(Selector, {name: {"budget": 40}})
    given = candidates(150)
    assert len(selector.choose(given, None, seed=1)) == 40
    assert selector.choose(given, None, seed=1).keys.tolist() != selector.choose(given, None, seed=2).keys.tolist()


@pytest.mark.parametrize("name", SCORED)
def test_at_batch_all_candidates_stay_and_the_rule_says_how_to_choose(name):
    selector = build(Selector, {name: {"budget": "25%", "at": "batch"}})
    rule = selector.in_batch
    assert rule.share == 0.25
    assert set(rule.scores) == set(selector.needs)
    signals = signals_for(selector, 64)
    rows, weights = rule.pick(signals, 16, np.random.default_rng(0), np.arange(64) % 3)
    assert len(np.unique(rows)) == len(rows) <= 16
    assert weights is None or len(weights) == len(rows)
    given = candidates(100)
    kept = selector.choose(given, None, seed=0)
    assert len(kept) == 100 or name == "rho-loss"


def test_at_batch_needs_a_share():
    with pytest.raises(ConfigError, match="at: batch needs a budget that is a share"):
        build(Selector, {"loss": {"at": "batch", "budget": 100}})
    with pytest.raises(ConfigError, match="score_every belongs to at: batch"):
        build(Selector, {"loss": {"score_every": 2}})


def test_craig_weights_sum_to_the_number_of_candidates():
    selector = build(Selector, {"craig": {"budget": 30}})
    assert selector.choose(candidates(200), signals_for(selector, 200), seed=0).weights.sum() == 200


def test_rho_loss_with_no_irreducible_loss_selects_as_loss_does():
    given = candidates(300)
    loss = np.random.default_rng(0).random(300).astype(np.float32)
    rho = build(Selector, {"rho-loss": {"budget": 50, "holdout": "twin"}})
    chosen = rho.choose(given, {"loss": loss, "irreducible-loss": np.zeros(300, np.float32)}, seed=0)
    plain = build(Selector, {"loss": {"budget": 50}}).choose(given, {"loss": loss}, seed=0)
    assert chosen.keys.tolist() == plain.keys.tolist()


def test_rho_loss_never_trains_on_its_holdout():
    selector = build(Selector, {"rho-loss": {"budget": "100%", "share": 0.3}})
    given = candidates(500)
    held = given.keys[part_of(given.keys, share=0.3, seed=4) == 1]
    assert 100 < len(held) < 200
    chosen = selector.choose(given, signals_for(selector, 500), seed=4)
    assert not np.isin(held, chosen.keys).any()
    assert len(chosen) == 500 - len(held)


@pytest.mark.parametrize("kind", ["simple", "twin"])
def test_no_model_reads_the_irreducible_loss_of_what_it_was_trained_on(kind):
    keys = np.arange(1000)
    trained: list[set[int]] = []

    def fit(chosen, number):
        assert number == len(trained)
        trained.append(set(chosen.tolist()))
        return number

    def losses(model, asked):
        assert not trained[model] & set(asked.tolist())
        return asked.astype(np.float32)

    found, models = irreducible_losses(
        keys, Holdout(kind=kind, share=0.5 if kind == "twin" else 0.1, epochs=1), seed=0, fit=fit, losses=losses
    )
    assert models == list(range(2 if kind == "twin" else 1))
    read = ~np.isnan(found)
    assert found[read].tolist() == keys[read].tolist()
    assert read.all() == (kind == "twin")
    assert set(keys[~read].tolist()) == (set() if kind == "twin" else trained[0])


def test_a_holdout_stays_the_same_when_data_arrives():
    early = part_of(np.arange(1000), share=0.2, seed=3)
    assert part_of(np.arange(5000), share=0.2, seed=3)[:1000].tolist() == early.tolist()
    assert early.mean() == pytest.approx(0.2, abs=0.04)


def test_samples_that_history_does_not_know_come_first_and_at_random():
    given = candidates(100)
    history = np.linspace(0, 1, 100, dtype=np.float32)
    history[:40] = np.nan
    selector = build(Selector, {"loss": {"budget": 20, "scores": "history"}})
    one, two = (selector.choose(given, {"loss-history": history}, seed=s).keys for s in (0, 1))
    assert np.isin(one, given.keys[:40]).all()
    assert one.tolist() != two.tolist()


def test_a_signal_that_is_not_finite_names_the_sample():
    given = candidates(10)
    loss = np.ones(10, np.float32)
    loss[6] = np.nan
    with pytest.raises(TrainingError, match=f"round 5: signal loss of sample {given.keys[6]} is no finite number"):
        build(Selector, {"loss": {"budget": 3}}).choose(given, {"loss": loss}, seed=0)


def test_el2n_leaves_out_the_hardest():
    given = candidates(100)
    scores = np.arange(100, dtype=np.float32)
    chosen = build(Selector, {"el2n": {"budget": 20, "skip": 0.1}}).choose(given, {"el2n": scores}, seed=0)
    assert chosen.keys.tolist() == given.keys[70:90].tolist()


def test_any_signal_goes_with_any_picker_and_a_users_own_too():
    selector = build(Selector, {"coreset": {"signal": "gradient", "picker": "k-center", "budget": 5}})
    assert selector.needs == ("gradient",)
    own = build(Selector, {"coreset": {"signal": "./scores.py:mine", "picker": {"top-k": {}}, "budget": 5}})
    assert own.needs == (Importable("./scores.py:mine", None),)
    chosen = own.choose(candidates(20), {"./scores.py:mine": np.arange(20.0)}, seed=0)
    assert chosen.keys.tolist() == candidates(20).keys[15:].tolist()
    with pytest.raises(ConfigError, match=r"no signal is named 'margins'\. Did you mean 'margin'"):
        build(Selector, {"coreset": {"signal": "margins", "picker": "top-k"}})
    with pytest.raises(ConfigError, match=r"no picker is named 'top'\."):
        build(Selector, {"coreset": {"signal": "margin", "picker": "top"}})


def test_a_scored_selector_can_be_balanced():
    given = candidates(200)
    selector = build(Selector, {"loss": {"budget": 40, "balance_by": "label"}})
    chosen = selector.choose(given, signals_for(selector, 200), seed=0)
    assert np.bincount(given.labels[np.isin(given.keys, chosen.keys)]).tolist() == [10, 10, 10, 10]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"loss": {"budget": "50%", "at": "batch", "proxy": "small-1/0"}}, "proxy belongs to at: window"),
        ({"loss": {"budget": "50%", "scores": "history", "proxy": "small-1/0"}}, "proxy says how to score"),
        ({"forgetting": {"budget": "50%", "precision": "bf16"}}, "precision says how to score"),
        ({"rho-loss": {"budget": "50%", "holdout": "twin", "share": 0.3}}, "share belongs to holdout: simple"),
        ({"coreset": {"signal": "irreducible-loss", "picker": "top-k"}}, "a holdout, which only rho-loss has"),
        ({"k-center": {"signal": "irreducible-loss", "budget": 5}}, "a holdout, which only rho-loss has"),
    ],
    ids=str,
)
def test_options_that_would_do_nothing_are_refused(document, message):
    with pytest.raises(ConfigError, match=message):
        build(Selector, document)


@pytest.mark.parametrize("picker", list(policies(Picker)))
def test_every_picker_copes_where_nothing_was_forgotten_and_some_samples_are_not_known(picker):
    """The next number above no forgetting at all is 1e-45: lengths of that size overflowed, and matching pursuit took nothing."""
    given = candidates(100)
    selector = build(Selector, {"coreset": {"signal": "forgetting", "picker": picker, "budget": 20}})
    noted = np.zeros(100, dtype=np.float32)
    noted[50:] = np.nan
    assert 0 < len(selector.choose(given, {"forgetting": noted}, seed=0)) <= 20
    if picker == "top-k":
        assert selector.choose(given, {"forgetting": noted}, seed=0).keys.min() >= given.keys[50]


def test_the_length_of_a_very_short_vector_is_no_reason_to_overflow():
    points = points_of(np.array([[1e-45, 0], [0, 3], [0, 0]], dtype=np.float32)).normalised()
    assert points.x.tolist() == [[0, 0], [0, 1], [0, 0]]
