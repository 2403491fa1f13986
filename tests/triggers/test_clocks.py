"""Late and out-of-order samples and clocks that run ahead: what each trigger takes for the time, as docs/triggers.md has it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn.drift.windows import TwoWindows
from modyn.drift.windows.time import Time
from modyn.triggers.labelled import Labelled
from modyn.triggers.memory_features import MemoryFeatures
from modyn.types import Samples
from tests.triggers.loop import SECOND, Loop, chunks

N = 120
DRIFT = {
    "drift": {
        "features": "raw",
        "metrics": {"ks": {"metric": "ks", "criterion": {"threshold": {"value": 0.4}}}},
        "check_every": "15s",
        "window": {"amount": {"reference": 30, "current": 20}},
    }
}
BY_THE_GREATEST_TIME_SEEN: dict[str, Any] = {
    "every": {"every": {"interval": "17s"}},
    "once": {"once": {"interval": "40s"}},
    "cron": {"cron": {"expression": "* * * * *"}},
    "cooldown": {"cooldown": {"trigger": {"every": {"samples": 7}}, "min_interval": "20s", "max_interval": "45s"}},
    "data-latency-cost": {"data-latency-cost": {"seconds_of_delay_per_training_second": 400.0, "first": 10}},
    "misclassification-cost": {
        "misclassification-cost": {
            "seconds_of_delay_per_training_second": 30.0,
            "check_every": 10,
            "expected_accuracy": 1.0,
        }
    },
    "drift": DRIFT,
    "any-of": {"any-of": {"triggers": [{"every": {"interval": "31s"}}, DRIFT]}},
}
Moments = st.lists(st.integers(0, 130), min_size=N, max_size=N)


def _features() -> MemoryFeatures:
    rng = np.random.default_rng(0)
    features = MemoryFeatures(rng.normal(size=N) + (np.arange(N) > 60), labels=(rng.random(N) < 0.3).astype(float))
    features.deploy("run-1/start", model=lambda rows: np.tile([0.9, 0.1], (len(rows), 1)))
    features.checkpoint = None
    return features


def _late(seconds: list[int]) -> Samples:
    """A sample a second, each late by as much as given, modulo 30 s, a fifth of them."""
    lag = np.where(np.array(seconds) % 5 == 0, np.array(seconds) % 30, 0)
    return Samples(np.arange(N), (np.arange(N) - lag) * SECOND)


@pytest.mark.parametrize("name", BY_THE_GREATEST_TIME_SEEN)
@settings(max_examples=6, deadline=None)
@given(seconds=Moments)
def test_a_late_sample_counts_as_if_its_time_were_the_greatest_seen(name: str, seconds: list[int]) -> None:
    samples = _late(seconds)
    in_order = Samples(samples.keys, np.maximum.accumulate(samples.timestamps))
    late = Loop(BY_THE_GREATEST_TIME_SEEN[name], _features()).run([samples])
    assert late.ends == Loop(BY_THE_GREATEST_TIME_SEEN[name], _features()).run([in_order]).ends


@pytest.mark.parametrize("document", [{"every": {"interval": "20s"}}, {"cron": {"expression": "* * * * *"}}], ids=str)
def test_a_clock_that_runs_ahead_passes_the_border_once_and_waits_for_the_others(document: dict[str, Any]) -> None:
    times = np.arange(400) * SECOND
    times[70] += 200 * SECOND
    ends = Loop(document).run([Samples(np.arange(400), times)]).ends
    honest = Loop(document).run([Samples(np.arange(400), np.arange(400) * SECOND)]).ends
    assert [end for end in ends if end <= 69] == [end for end in honest if end <= 69]
    assert [end for end in ends if 69 < end <= 270] == [70]
    assert [end for end in ends if end > 280] == [end for end in honest if end > 280]


def test_triggers_by_samples_do_not_look_at_clocks() -> None:
    times = np.random.default_rng(0).integers(0, 2**40, N)
    for document in ({"every": {"samples": 9}}, {"cooldown": {"trigger": {"every": {"samples": 4}}, "min_samples": 9}}):
        odd = Loop(document).run([Samples(np.arange(N), times)]).ends
        assert odd == Loop(document).run([Samples(np.arange(N), np.arange(N))]).ends


@settings(max_examples=30, deadline=None)
@given(seconds=Moments, cuts=st.lists(st.integers(1, N - 1), max_size=6), order=st.permutations(range(N)))
def test_a_window_of_time_holds_the_same_samples_whatever_their_order_of_arrival(
    seconds: list[int], cuts: list[int], order: list[int]
) -> None:
    times = np.array(seconds, dtype=np.int64) * SECOND
    held = []
    for arriving in (np.arange(N), np.array(order)):
        windows = TwoWindows(Time(reference="60s", current="25s"))
        for part in chunks(Samples(arriving, times[arriving]), cuts):
            windows.append(part)
            windows.sample(10)
        held.append(set(windows.sample(N)[1].tolist()))
    assert held[0] == held[1] == set(np.flatnonzero(times > times.max() - 25 * SECOND).tolist())


@settings(max_examples=30, deadline=None)
@given(seconds=Moments, delay=st.integers(0, 60))
def test_a_label_is_due_once_the_greatest_time_seen_has_reached_its_samples_time_and_the_delay(
    seconds: list[int], delay: int
) -> None:
    times = np.array(seconds, dtype=np.int64) * SECOND
    waiting, seen = Labelled(delay * SECOND), []
    for start in range(0, N, 20):
        waiting.append(Samples(np.arange(start, start + 20), times[start : start + 20]))
        due = waiting.due()
        waiting.settled(due)
        seen += due.tolist()
        known = np.flatnonzero(times[: start + 20] <= times[: start + 20].max() - delay * SECOND)
        assert sorted(seen) == known.tolist()


def test_a_sample_from_the_future_is_scored_when_the_others_have_caught_up_and_not_before() -> None:
    waiting = Labelled(10 * SECOND)
    waiting.append(Samples(np.array([0, 1, 2]), np.array([0, 1, 500]) * SECOND))
    assert waiting.due().tolist() == [0, 1]  # the clock that ran ahead makes older labels known sooner
    waiting.append(Samples(np.array([3]), np.array([510]) * SECOND))
    assert waiting.due().tolist() == [0, 1, 2]
