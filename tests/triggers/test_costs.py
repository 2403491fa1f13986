"""Cost triggers against closed forms."""

import numpy as np
import pytest

from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.forecast import TrainingCosts, forecast
from modyn.triggers.memory_features import MemoryFeatures
from modyn.types import Samples
from tests.triggers.loop import SECOND, Loop, round_at, stream


def _informed(document: object, *, seconds: float, num_samples: int = 100) -> Trigger:
    trigger = build(Trigger, document)
    trigger.inform(round_at(num_samples, 0, seconds=seconds))
    return trigger


@pytest.mark.parametrize("rate", [1, 4, 10])
@pytest.mark.parametrize("exchange", [50.0, 800.0])
def test_with_a_constant_rate_r_the_regret_after_t_seconds_is_r_t_squared_over_two(rate: int, exchange: float) -> None:
    trigger = _informed({"data-latency-cost": {"seconds_of_delay_per_training_second": exchange}}, seconds=9.0)
    position = next(trigger.update(stream(5000, every_s=1 / rate)))
    t = position / rate
    regret = trigger.explain()[-1]["distance"]
    assert regret == pytest.approx(rate * t**2 / 2, rel=0.05)
    assert t == pytest.approx(np.sqrt(2 * 9.0 * exchange / rate), rel=0.05)


def test_the_regret_starts_anew_at_each_round() -> None:
    document = {"data-latency-cost": {"seconds_of_delay_per_training_second": 100.0, "first": 10}}
    ends = Loop(document, seconds=8.0).run([stream(400)]).ends
    gaps = np.diff(ends)
    assert ends[0] == 10
    assert set(gaps[:-1]) == {40} or np.ptp(gaps) <= 1
    assert gaps[0] == pytest.approx(np.sqrt(2 * 800), abs=2)


def test_a_rounds_scoring_and_the_triggers_own_time_are_not_part_of_what_training_costs() -> None:
    trigger = _informed({"data-latency-cost": {"seconds_of_delay_per_training_second": 1.0}}, seconds=5.0)
    assert trigger._costs.predict(100) == pytest.approx(5.0)


def test_dearer_trainings_make_rounds_rarer() -> None:
    document = {"data-latency-cost": {"seconds_of_delay_per_training_second": 100.0, "first": 10}}
    rounds = [len(Loop(document, seconds=s).run([stream(2000)]).ends) for s in (1.0, 10.0, 100.0)]
    assert rounds == sorted(rounds, reverse=True)
    assert rounds[0] > rounds[2]


def test_samples_that_arrive_late_count_from_their_arrival() -> None:
    document = {"data-latency-cost": {"seconds_of_delay_per_training_second": 100.0}}
    times = np.arange(300) * SECOND
    shuffled = times.copy()
    shuffled[5::10] = 0
    straight = next(_informed(document, seconds=4.0).update(Samples(np.arange(300), times)))
    late = next(_informed(document, seconds=4.0).update(Samples(np.arange(300), shuffled)))
    assert abs(straight - late) <= 1


def test_training_costs_follow_a_line_in_the_number_of_samples() -> None:
    costs = TrainingCosts(10)
    for n in (1000, 2000, 4000):
        costs.record(n, {"train": 2 + n / 500, "evaluate": 50.0})
    assert costs.predict(3000) == pytest.approx(8.0, rel=0.02)
    costs = TrainingCosts(10)
    costs.record(1000, {"train": 3.0})
    assert costs.predict(1) == costs.predict(10**6) == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["data-latency-cost", "misclassification-cost"])
def test_training_costs_are_learned_on_the_samples_that_arrived_whatever_was_selected(name: str) -> None:
    trigger = build(Trigger, {name: {"seconds_of_delay_per_training_second": 1e9}})
    trigger.bind(_wrong_after(0, 400, 0.5))
    for number, (start, end) in enumerate([(0, 100), (100, 300)]):
        list(trigger.update(stream(400)[start:end]))
        trigger.inform(round_at(end, number, seconds=float(end - start)))  # its selection is everything so far
    assert trigger.state_dict()["costs"] == [[100, 100.0], [200, 200.0]]


def test_a_small_training_is_never_predicted_to_cost_nothing() -> None:
    costs = TrainingCosts(10)
    for n, seconds in ((1000, 1.0), (1100, 9.0)):
        costs.record(n, {"train": seconds})
    assert costs.predict(0) == 0.0
    assert costs.predict(1) == pytest.approx((1000 * 1.0 + 1100 * 9.0) / (1000**2 + 1100**2))


def test_costs_that_rise_steeply_make_no_round_of_one_sample() -> None:
    trigger = build(Trigger, {"data-latency-cost": {"seconds_of_delay_per_training_second": 1e3, "first": 100}})
    list(trigger.update(stream(100)))
    trigger.inform(round_at(100, 0, seconds=5.0))
    list(trigger.update(stream(180)[100:]))
    trigger.inform(round_at(180, 1, seconds=1.0))
    assert next(trigger.update(stream(300)[180:])) > 1


def test_a_forecast_follows_a_trend_with_ridge_and_ignores_it_with_the_mean() -> None:
    falling = np.array([0.9, 0.85, 0.8, 0.75])
    assert forecast(falling, method="ridge", ridge=0.0) == pytest.approx(0.7)
    assert forecast(falling, method="ridge") < forecast(falling, method="rolling-average") == pytest.approx(0.825)


def _wrong_after(position: int, n: int, share: float) -> MemoryFeatures:
    """A model that is right before a position and wrong on a share of what follows."""
    labels = np.zeros(n, dtype=np.int64)
    labels[position:][:: round(1 / share)] = 1
    features = MemoryFeatures(np.zeros(n), labels=labels)
    features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
    return features


def test_the_misclassification_regret_is_the_area_under_the_avoidable_errors() -> None:
    document = {
        "misclassification-cost": {
            "seconds_of_delay_per_training_second": 1000.0,
            "check_every": 10,
            "expected_accuracy": 1.0,
        }
    }
    trigger = _informed(document, seconds=1.0, num_samples=0)
    trigger.bind(_wrong_after(0, 400, 0.5))
    position = next(trigger.update(stream(400)))
    note = trigger.explain()[-1]
    checks = np.arange(9, position + 1, 10)
    assert note["avoidable"] == 5 * len(checks)
    assert note["distance"] == pytest.approx(sum(5 * k * 10 for k in range(1, len(checks))))
    assert note["distance"] >= note["threshold"] == pytest.approx(1000.0)


def test_errors_that_a_new_checkpoint_would_make_as_well_never_fire() -> None:
    document = {
        "misclassification-cost": {
            "seconds_of_delay_per_training_second": 1.0,
            "check_every": 10,
            "expected_accuracy": 0.5,
        }
    }
    trigger = _informed(document, seconds=1.0, num_samples=0)
    trigger.bind(_wrong_after(0, 400, 0.5))
    assert list(trigger.update(stream(400))) == []


def test_the_expected_accuracy_is_learned_from_the_first_check_after_a_round() -> None:
    document = {"misclassification-cost": {"seconds_of_delay_per_training_second": 1.0, "check_every": 20}}
    trigger = _informed(document, seconds=1.0, num_samples=0)
    trigger.bind(_wrong_after(0, 400, 0.25))
    assert list(trigger.update(stream(400))) == []
    assert trigger.explain()[-1]["expected_accuracy"] == pytest.approx(0.75)


@pytest.mark.parametrize(("allowed", "number"), [(False, 5.0), (True, 1.0)])
def test_fewer_errors_than_expected_take_from_the_sum_only_if_allowed(allowed: bool, number: float) -> None:
    labels = np.zeros(20, dtype=np.int64)
    labels[:6] = 1
    features = MemoryFeatures(np.zeros(20), labels=labels)
    features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
    document = {
        "misclassification-cost": {
            "seconds_of_delay_per_training_second": 1e9,
            "check_every": 10,
            "expected_accuracy": 0.9 if not allowed else 0.75,
            "allow_reduction": allowed,
        }
    }
    trigger = _informed(document, seconds=1.0, num_samples=0)
    trigger.bind(features)
    list(trigger.update(stream(20)))
    assert trigger.explain()[-1]["avoidable"] == pytest.approx(number)
