"""The performance trigger: labels that come later, scores on unseen data only, forecasts."""

from typing import Any

import numpy as np
import pytest

from modyn.errors import ConfigError
from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.memory_features import MemoryFeatures
from modyn.triggers.scores import HIGHER_IS_BETTER, score
from modyn.types import Samples
from tests.triggers.loop import SECOND, Loop, round_at, stream


def _features(n: int = 1000, *, wrong_from: int = 500) -> MemoryFeatures:
    """A model that is right until a key, and always wrong from there."""
    features = MemoryFeatures(np.zeros(n), labels=(np.arange(n) >= wrong_from).astype(float))
    features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
    return features


def _performance(**options: Any) -> dict[str, Any]:
    return {"performance": {"check_every": 100, "criteria": {"low": {"threshold": {"value": 0.8}}}, **options}}


def _first(document: Any, features: MemoryFeatures, samples: Samples) -> tuple[int | None, list[dict[str, Any]]]:
    trigger = build(Trigger, document)
    trigger.bind(features)
    return next(trigger.update(samples), None), trigger.explain()


def test_it_fires_at_the_first_check_after_the_score_fell() -> None:
    position, notes = _first(_performance(), _features(), stream(1000))
    assert position == 599
    assert [note["score"] for note in notes] == [1.0] * 5 + [0.0]
    assert notes[-1]["threshold"] == 0.8


@pytest.mark.parametrize("delay", [0, 50, 230])
def test_a_label_counts_only_once_it_is_known(delay: int) -> None:
    document = _performance(label_delay=f"{delay}s" if delay else 0)
    position, notes = _first(document, _features(), stream(1000))
    known_by_600 = 599 - delay
    assert position is not None
    assert position - delay >= 500
    scored = sum(note["num_samples"] for note in notes)
    assert scored == position - delay + 1
    assert known_by_600 <= position


def test_labels_that_are_delivered_later_are_waited_for_by_key() -> None:
    features = _features(300, wrong_from=300)
    assert features.labels is not None
    features.labels[50:60] = np.nan
    trigger = build(Trigger, _performance())
    trigger.bind(features)
    list(trigger.update(stream(300)[:100]))
    assert trigger.explain()[0]["num_samples"] == 90
    features.labels[50:60] = 0
    list(trigger.update(stream(300)[100:200]))
    assert trigger.explain()[0]["num_samples"] == 110


def test_a_checkpoint_is_never_scored_on_what_it_was_trained_on() -> None:
    trigger = build(Trigger, _performance(label_delay="150s"))
    features = _features(600, wrong_from=600)
    trigger.bind(features)
    list(trigger.update(stream(600)[:200]))
    trigger.explain()
    trigger.inform(round_at(200, 0))
    list(trigger.update(stream(600)[200:]))
    assert [note["num_samples"] for note in trigger.explain()] == [0, 50, 100, 100]


def test_late_samples_and_a_clock_that_runs_ahead_only_change_when_labels_are_known() -> None:
    times = np.arange(400) * SECOND
    times[100] = 10_000 * SECOND
    trigger = build(Trigger, _performance(label_delay="100s"))
    trigger.bind(_features(400, wrong_from=400))
    list(trigger.update(Samples(np.arange(400), times)))
    counts = [note["num_samples"] for note in trigger.explain()]
    assert counts == [0, 199, 100, 100]


def test_before_there_is_a_checkpoint_the_first_check_fires() -> None:
    features = _features()
    features.checkpoint = None
    position, notes = _first(_performance(), features, stream(1000))
    assert position == 99
    assert notes[0]["reason"] == "there is no checkpoint yet"


def test_lookahead_fires_sooner_on_a_falling_score() -> None:
    n = 1000
    labels = (np.arange(n) % 100 < 6 * (np.arange(n) // 100)).astype(float)
    ends = {}
    for mode in ("hindsight", "lookahead"):
        features = MemoryFeatures(np.zeros(n), labels=labels)
        features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
        ends[mode], notes = _first(_performance(mode=mode), features, stream(n))
        assert (notes[-1]["forecast"] is not None) == (mode == "lookahead")
    assert ends == {"hindsight": 499, "lookahead": 399}


def test_lookahead_follows_the_scores_since_the_round_and_not_those_that_led_to_it() -> None:
    n = 1000
    share = np.array([0, 10, 20, 30, 40, 2, 2, 2, 2, 2])  # wrong among each 100: worse and worse, then retrained
    labels = (np.arange(n) % 100 < np.repeat(share, 100)).astype(float)
    features = MemoryFeatures(np.zeros(n), labels=labels)
    features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
    criteria = {"low": {"threshold": {"value": 0.62}}}
    loop = Loop(_performance(mode="lookahead", criteria=criteria), features).run([stream(n)])
    assert loop.ends == [500]
    forecasts = [note["forecast"] for note in loop.notes]
    assert forecasts[3] < 0.75
    assert forecasts[5:] == pytest.approx([0.98] * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criteria": {"a": "p-value"}}, "criteria.a: p-value is for the drift trigger"),
        (
            {"metric": "loss", "criteria": {"a": {"avoidable-misclassifications": {"threshold": 9}}}},
            "counts errors, which metric loss does not",
        ),
    ],
)
def test_a_criterion_that_could_never_fire_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Trigger, _performance(**options))
    assert message in str(caught.value)


def test_avoidable_misclassifications_add_up_since_the_last_round() -> None:
    criteria = {"sum": {"avoidable-misclassifications": {"threshold": 150, "expected_accuracy": 0.9}}}
    position, _ = _first(_performance(criteria=criteria), _features(), stream(1000))
    assert position == 699


def test_the_expected_accuracy_is_that_right_after_past_rounds() -> None:
    criteria = {"sum": {"avoidable-misclassifications": {"threshold": 99}}}
    position, notes = _first(_performance(criteria=criteria), _features(), stream(1000))
    assert position == 599
    assert notes[0]["expected_accuracy"] == 1.0


@pytest.mark.parametrize(("combine", "fires"), [("any", True), ("all", False)])
def test_criteria_are_combined(combine: str, fires: bool) -> None:
    criteria = {"low": {"threshold": {"value": 0.8}}, "never": {"threshold": {"value": -1}}}
    loop = Loop(_performance(criteria=criteria, combine=combine), _features()).run([stream(1000)])
    assert (len(loop.ends) > 0) == fires


def test_for_a_loss_high_values_fire() -> None:
    document = _performance(metric="loss", criteria={"high": {"threshold": {"value": 1.0}}})
    position, notes = _first(document, _features(), stream(1000))
    assert position == 599
    assert notes[-1]["score"] > 1


@pytest.mark.parametrize("name", [n for n in HIGHER_IS_BETTER if n != "mean-absolute-error"])
def test_scores_are_those_of_scikit_learn(name: str) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    labels, p = rng.integers(0, 3, 200), rng.dirichlet([1, 1, 1], 200)
    features = MemoryFeatures(np.arange(200.0), labels=labels)
    features.deploy("run-1/0", model=lambda rows: p[rows[:, 0].astype(int)])
    predicted = p.argmax(axis=1)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced-accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "f1-macro": metrics.f1_score(labels, predicted, average="macro"),
        "roc-auc": metrics.roc_auc_score(labels, p, multi_class="ovr"),
        "loss": metrics.log_loss(labels, p),
    }
    found = score(features, name, np.arange(200))
    assert found.value == pytest.approx(expected[name])
    assert name == "loss" or found.num_wrong == (predicted != labels).sum()


def test_a_score_is_undefined_where_only_one_class_came() -> None:
    assert np.isnan(score(_features(), "roc-auc", np.arange(10)).value)
    position, notes = _first(_performance(metric="roc-auc"), _features(), stream(300))
    assert position is None
    assert notes[0]["score"] is None


def test_an_unknown_score_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no score is named 'acuracy'\. Did you mean 'accuracy'\?"):
        build(Trigger, _performance(metric="acuracy"))


def test_lookahead_judges_the_forecast_as_the_next_check_would_with_this_score_in_its_history() -> None:
    accuracy = np.repeat([0.9, 0.8, 0.5, 0.5], 100)
    right = np.concatenate([np.arange(100) < 100 * share for share in accuracy[::100]])
    features = MemoryFeatures(np.zeros(400), labels=np.where(right, 0.0, 1.0))
    features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
    criteria = {"low": {"quantile": {"window": 3, "q": 0.0}}}
    position, notes = _first(_performance(criteria=criteria, mode="lookahead"), features, stream(400))
    # The forecast 0.467 is below the least of 0.9, 0.8 and 0.5, which are three scores only with the last one.
    assert position == 299
    assert notes[-1]["forecast"] == pytest.approx(0.4667, abs=1e-3)


def test_during_the_warmup_a_simple_trigger_decides_and_scores_are_gathered() -> None:
    features = _features(600, wrong_from=550)
    features.checkpoint = None
    warmup = {"checks": 4, "trigger": {"every": {"samples": 150}}}
    loop = Loop(_performance(warmup=warmup, criteria={"low": {"quantile": {"window": 2}}}), features)
    loop.run([stream(600)])
    assert [note["reason"] for note in loop.notes[:4]] == ["warm-up"] * 4
    assert [note["fired"] for note in loop.notes] == [False, True, True, False, False, True]
    assert loop.ends == [200, 300, 600]
    assert [note["threshold"] for note in loop.notes][-2:] == [1.0, 1.0]
