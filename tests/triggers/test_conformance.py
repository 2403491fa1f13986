"""What every trigger promises: the cut of the stream never matters, states round-trip at any instant, positions rise."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn import policy
from modyn.triggers import Trigger
from modyn.triggers.memory_features import MemoryFeatures
from modyn.types import Samples
from tests.triggers.loop import Loop, chunks

N = 240
KS = {"metric": "ks", "criterion": {"threshold": {"value": 0.35}}}
MMD = {"metric": {"mmd": {"bandwidth": 1.0}}, "criterion": {"quantile": {"window": 3}}}
DRIFT: dict[str, Any] = {
    "drift": {
        "features": "raw",
        "metrics": {"ks": KS},
        "check_every": 30,
        "window": {"amount": {"reference": 60, "current": 40}},
    }
}
EXAMPLES: dict[str, Any] = {
    "every": {"every": {"samples": 37}},
    "every-interval": {"every": {"interval": "41s"}},
    "once": {"once": {"samples": 50}},
    "never": "never",
    "cron": {"cron": {"expression": "* * * * *"}},
    "drift": DRIFT,
    "drift-overlap-time": {
        "drift": {
            "features": ["embedding", "raw"],
            "metrics": {"mmd": MMD, "ks": KS},
            "decide": "any",
            "check_every": "25s",
            "window": {"time": {"reference": "120s", "current": "60s", "overlap": True}},
            "sample_size": 30,
        }
    },
    "drift-warmup": {
        "drift": {
            "features": "embedding",
            "metrics": {"mmd": MMD, "ks": KS},
            "decide": "all",
            "check_every": 20,
            "window": {"amount": {"reference": 50, "current": 50}},
            "warmup": {"checks": 6, "trigger": {"every": {"samples": 45}}},
        }
    },
    "performance": {
        "performance": {"check_every": 25, "label_delay": "20s", "criteria": {"low": {"threshold": {"value": 0.7}}}}
    },
    "performance-lookahead": {
        "performance": {
            "check_every": "30s",
            "metric": "roc-auc",
            "mode": "lookahead",
            "combine": "all",
            "criteria": {
                "rolling": {"rolling-average": {"window": 4}},
                "sum": {"avoidable-misclassifications": {"threshold": 3, "expected_accuracy": 0.9}},
            },
        }
    },
    "performance-warmup": {
        "performance": {
            "check_every": 20,
            "criteria": {"low": {"quantile": {"window": 3}}},
            "warmup": {"checks": 4, "trigger": {"every": {"samples": 33}}},
        }
    },
    "data-latency-cost": {"data-latency-cost": {"seconds_of_delay_per_training_second": 900.0, "first": 20}},
    "misclassification-cost": {
        "misclassification-cost": {
            "seconds_of_delay_per_training_second": 50.0,
            "check_every": 20,
            "expected_accuracy": 0.9,
            "warmup": {"checks": 2, "trigger": {"once": {"samples": 25}}},
        }
    },
    "any-of": {"any-of": {"triggers": [{"every": {"samples": 37}}, {"every": {"interval": "41s"}}, DRIFT]}},
    "all-of": {"all-of": {"triggers": [{"every": {"interval": "33s"}}, DRIFT]}},
    "majority": {
        "majority": {
            "triggers": [{"every": {"samples": 37}}, {"every": {"interval": "90s"}}, {"once": {"samples": 60}}]
        }
    },
    "at-least": {
        "at-least": {
            "count": 2,
            "memory": "this-check",
            "triggers": [{"every": {"samples": 30}}, {"every": {"samples": 20}}, DRIFT],
        }
    },
    "none-of": {
        "none-of": {"triggers": [{"every": {"samples": 90}}, DRIFT], "check_every": "50s", "memory": "this-check"}
    },
    "nested": {
        "any-of": {
            "triggers": [
                {"all-of": {"triggers": [{"every": {"samples": 50}}, {"any-of": {"triggers": [DRIFT]}}]}},
                {"cooldown": {"trigger": {"every": {"interval": "10s"}}, "min_samples": 45}},
            ]
        }
    },
    "cooldown": {"cooldown": {"trigger": DRIFT, "min_samples": 55, "min_interval": "20s", "max_interval": "150s"}},
    "cooldown-drop": {"cooldown": {"trigger": {"every": {"interval": "17s"}}, "min_interval": "40s", "early": "drop"}},
    "deletion": {"deletion": {"share": 0.1, "check_every": 15}},
    "manual": "manual",
    "adwin": {"stream-detector": {"detector": "adwin", "of": "raw", "check_every": 20, "parameters": {"delta": 0.5}}},
    "ddm": {"stream-detector": {"detector": "ddm", "check_every": 20, "label_delay": "7s"}},
    "page-hinkley": {
        "stream-detector": {
            "detector": "page-hinkley",
            "of": "loss",
            "check_every": 20,
            "parameters": {"threshold": 3},
            "warmup": {"checks": 2},
        }
    },
    "kswin": {"stream-detector": {"detector": "kswin", "of": "raw", "check_every": 20}},
}
every_trigger = pytest.mark.parametrize("name", EXAMPLES)


def _stream(seed: int, n: int = N) -> tuple[Samples, MemoryFeatures]:
    """Samples in uneven order of time, late ones among them, with three shifts of mean and label."""
    rng = np.random.default_rng(seed)
    regime = np.arange(n) * 4 // n
    gaps = rng.integers(0, 3, n) * 1_000_000 + rng.integers(0, 3, n) * 700_001
    times = np.cumsum(gaps) - np.where(rng.random(n) < 0.1, 5_000_000, 0)
    raw = (rng.normal(size=n) + 2 * (regime % 2))[:, None]
    labels = (rng.random(n) < np.where(regime % 2, 0.8, 0.1)).astype(np.int64)
    features = MemoryFeatures(raw, labels=labels)
    p = 1 / (1 + np.exp(-raw[:, 0]))
    features.deploy("run-1/start", model=lambda rows: np.column_stack([1 - _p(rows), _p(rows)]))
    features.checkpoint = None
    features.deleted = set(range(0, n, 7))
    assert len(p) == n
    return Samples(np.arange(n), times, labels), features


def _p(rows: np.ndarray) -> np.ndarray:
    return 0.4 / (1 + np.exp(-rows[:, 0]))


def test_every_trigger_has_an_example() -> None:
    assert {next(iter(e)) if isinstance(e, dict) else e for e in EXAMPLES.values()} == set(policy.policies(Trigger))


@every_trigger
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 5), cuts=st.lists(st.integers(1, N - 1), max_size=12), singly=st.booleans())
def test_the_cut_of_the_stream_never_matters(name: str, seed: int, cuts: list[int], singly: bool) -> None:
    samples, features = _stream(seed)
    whole = Loop(EXAMPLES[name], features).run([samples])
    samples, features = _stream(seed)
    cut = Loop(EXAMPLES[name], features).run(chunks(samples, range(N) if singly else cuts))
    assert cut.ends == whole.ends
    assert cut.notes == whole.notes


@every_trigger
def test_the_examples_fire_at_all_so_that_these_tests_mean_something(name: str) -> None:
    ends = [Loop(EXAMPLES[name], _stream(seed)[1]).run([_stream(seed)[0]]).ends for seed in range(3)]
    quiet = {"never", "manual", "deletion"}
    assert any(len(e) >= 1 for e in ends) or name in quiet


@every_trigger
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 5), cuts=st.lists(st.integers(1, N - 1), max_size=8), pick=st.integers(0, 1000))
def test_going_on_from_any_state_gives_the_same_rounds_and_notes(
    name: str, seed: int, cuts: list[int], pick: int
) -> None:
    samples, features = _stream(seed)
    whole = Loop(EXAMPLES[name], features).run(chunks(samples, cuts))
    saved = whole.states[pick % len(whole.states)]
    rest = samples[saved[0] :]
    going_on = whole.resumed(saved, EXAMPLES[name], _stream(seed)[1])
    if len(rest):
        going_on.run(chunks(rest, []))
    assert going_on.ends == whole.ends
    assert going_on.notes == whole.notes[len(whole.notes) - len(going_on.notes) :]


@every_trigger
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 50))
def test_positions_rise_and_stay_in_the_stream(name: str, seed: int) -> None:
    samples, features = _stream(seed)
    ends = Loop(EXAMPLES[name], features).run([samples]).ends
    assert ends == sorted(set(ends))
    assert all(0 < end <= N for end in ends)


@every_trigger
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 20), start=st.integers(0, N - 1))
def test_ahead_changes_nothing_and_is_never_past_a_firing(name: str, seed: int, start: int) -> None:
    samples, features = _stream(seed)
    loop = Loop(EXAMPLES[name], features)
    if start:
        loop.run([samples[:start]])
    rest = samples[start:]
    before = loop.trigger.state_dict()
    promised = loop.trigger.ahead(rest)
    assert loop.trigger.state_dict() == before
    first = next(loop.trigger.update(rest), len(rest))
    assert promised <= first


@every_trigger
def test_a_state_is_small(name: str) -> None:
    samples, features = _stream(0)
    loop = Loop(EXAMPLES[name], features).run([samples])
    assert len(str(loop.states[-1][2])) < 8000


@every_trigger
def test_an_empty_batch_changes_nothing(name: str) -> None:
    trigger = policy.build(Trigger, EXAMPLES[name])
    samples, features = _stream(0)
    trigger.bind(features)
    state = trigger.state_dict()
    assert list(trigger.update(samples[:0])) == []
    assert trigger.state_dict() == state


@every_trigger
def test_the_document_of_a_trigger_builds_the_same_trigger(name: str) -> None:
    document = policy.to_document(policy.build(Trigger, EXAMPLES[name]))
    assert policy.to_document(policy.build(Trigger, document)) == document
