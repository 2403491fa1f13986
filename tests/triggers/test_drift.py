"""The drift trigger: its windows, what it computes and when, its warm-up and its votes."""

from typing import Any

import numpy as np
import pytest

from modyn.drift import DriftMetric
from modyn.drift.windows import TwoWindows, _hashed, spread
from modyn.drift.windows.amount import Amount
from modyn.drift.windows.time import Time
from modyn.errors import ConfigError
from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.explain import in_words
from modyn.triggers.features import KeptFeatures, Kind
from modyn.triggers.memory_features import MemoryFeatures
from modyn.types import Samples
from tests.triggers.loop import SECOND, Loop, round_at, stream


def _drift(**options: Any) -> dict[str, Any]:
    judged = {"metric": "mean-distance", "criterion": {"threshold": {"value": 1.0}}}
    defaults: dict[str, Any] = {
        "features": "raw",
        "metrics": {"mean": judged},
        "check_every": 100,
        "window": {"amount": {"reference": 200, "current": 100}},
    }
    return {"drift": {**defaults, **options}}


def _steps(n: int = 1000, *, at: int = 500, by: float = 3.0) -> MemoryFeatures:
    return MemoryFeatures(np.where(np.arange(n) < at, 0.0, by))


def test_it_fires_first_at_the_first_check_and_then_where_the_data_moved() -> None:
    loop = Loop(_drift(), _steps()).run([stream(1000)])
    assert loop.ends == [100, 600]
    assert [note["distance"] for note in loop.notes if note["fired"]] == [None, 3.0]
    assert loop.notes[0]["reason"] == "there is no reference window yet"


def test_without_overlap_the_current_window_becomes_the_reference_and_empties() -> None:
    windows = TwoWindows(Amount(reference=5, current=3))
    windows.append(stream(4))
    windows.turn()
    assert windows.reference.keys.tolist() == [1, 2, 3]
    assert len(windows.current) == 0


def test_with_overlap_the_reference_gains_what_arrived_and_the_current_window_stays() -> None:
    windows = TwoWindows(Amount(reference=5, current=3, overlap=True))
    windows.append(stream(4))
    windows.turn()
    windows.append(stream(7)[4:])
    assert windows.reference.keys.tolist() == [0, 1, 2, 3]
    windows.turn()
    assert windows.reference.keys.tolist() == [2, 3, 4, 5, 6]
    windows.trim()
    assert windows.current.keys.tolist() == [4, 5, 6]


def test_a_window_of_time_lets_go_of_what_is_older_and_counts_late_samples_by_their_own_time() -> None:
    windows = TwoWindows(Time(reference="100s", current="10s"))
    windows.append(Samples(np.arange(4), np.array([0, 30, 12, 29]) * SECOND))
    windows.trim()
    assert windows.current.keys.tolist() == [1, 3]
    assert windows.now == 30 * SECOND


def test_a_clock_that_runs_ahead_holds_the_windows_end_until_the_others_catch_up() -> None:
    windows = TwoWindows(Time(reference="100s", current="10s"))
    windows.append(Samples(np.arange(3), np.array([0, 1000, 1]) * SECOND))
    windows.trim()
    assert windows.current.keys.tolist() == [1]
    windows.append(Samples(np.array([3]), np.array([995]) * SECOND))
    windows.trim()
    assert windows.current.keys.tolist() == [1, 3]


def test_the_reference_stays_as_the_last_round_made_it_however_long_no_other_follows() -> None:
    windows = TwoWindows(Time(reference="10s", current="5s", overlap=True))
    windows.append(stream(20))
    windows.turn()
    windows.append(Samples(np.arange(20, 40), np.arange(20, 40) * 100 * SECOND))
    windows.trim()
    assert windows.reference.keys.tolist() == list(range(10, 20))
    assert windows.current.keys.tolist() == [39]


@pytest.mark.parametrize(
    "bounds", [Amount(reference=50, current=20), Time(reference="50s", current="20s", overlap=True)]
)
def test_many_small_batches_leave_the_same_windows_as_a_big_one(bounds: Any) -> None:
    big, small = TwoWindows(bounds), TwoWindows(bounds)
    big.append(stream(300))
    for row in range(300):
        small.append(stream(300)[row : row + 1])
    assert small.state_dict() == big.state_dict()


def test_a_spread_of_keys_is_uniform_and_stable_as_windows_move() -> None:
    before, after = spread(np.arange(10_000), 1000), spread(np.arange(100, 10_100), 1000)
    assert len(np.intersect1d(before, after)) > 950
    counts = np.histogram(before, 10, (0, 10_000))[0]
    assert counts.min() > 60


def test_a_spread_of_keys_is_those_whose_hashes_are_least() -> None:
    for n, count in ((10, 9), (1000, 999), (1000, 1), (50_000, 250), (50_000, 30_000)):
        keys = np.random.default_rng(n).choice(10**9, n, replace=False)
        least = keys[np.argsort(_hashed(keys))[:count]]
        assert spread(keys, count).tolist() == sorted(least.tolist())


def test_a_label_that_was_not_known_is_asked_for_again() -> None:
    features = MemoryFeatures(np.zeros(4), labels=np.array([1.0, np.nan, 0.0, np.nan]))
    kept, keys = KeptFeatures((Kind("label"),)), np.arange(4)
    kept.rows(features, keys)
    assert features.labels is not None
    features.labels[1] = 1.0
    assert kept.rows(features, keys)[0][:, 0].tolist()[:3] == [1.0, 1.0, 0.0]
    kept.rows(features, keys)
    assert [n for _, n in features.calls] == [4, 2, 1]


def test_each_sample_is_embedded_once_for_each_checkpoint() -> None:
    features = _steps()
    document = _drift(features="embedding", window={"amount": {"reference": 200, "current": 200}})
    loop = Loop(document, features).run([stream(1000)])
    assert loop.ends[0] == 100
    of_checks = [n for kind, n in features.calls if kind == "embedding"]
    assert of_checks[0] == 200
    first_round = of_checks[: 1 + of_checks[1:].index(max(of_checks[1:]))] if len(loop.ends) > 2 else of_checks
    assert set(first_round[1:]) == {100}


def test_a_new_checkpoint_embeds_the_reference_again_only_if_the_features_depend_on_it() -> None:
    asked = {}
    for kind in ("raw", "embedding"):
        features = _steps()
        loop = Loop(_drift(features=kind), features).run([stream(1000)])
        assert loop.ends[:1] == [100]
        asked[kind] = sum(n for what, n in features.calls if what == kind)
    assert asked["raw"] == 1000
    assert asked["embedding"] > asked["raw"]


def test_a_check_costs_what_is_new_however_long_the_stream() -> None:
    features = _steps(6000, at=5900)
    Loop(_drift(), features).run([stream(6000)])
    assert max(n for _, n in features.calls) <= 200
    assert all(n <= 100 for _, n in features.calls[2:-3])


def test_big_windows_are_compared_by_a_sample_of_them() -> None:
    features = _steps(4000, at=3900)
    document = _drift(window={"amount": {"reference": 2000, "current": 2000}}, sample_size=50)
    loop = Loop(document, features).run([stream(4000)])
    assert {note["num_reference"] for note in loop.notes[1:]} == {50}
    assert sum(n for _, n in features.calls) < 1500


def test_during_the_warmup_a_simple_trigger_decides_and_its_windows_calibrate_the_criteria() -> None:
    judged = {"metric": "mean-distance", "criterion": {"quantile": {"window": 3, "q": 0.0}}}
    rng = np.random.default_rng(0)
    features = MemoryFeatures(np.concatenate([rng.normal(size=800), rng.normal(3, 1, size=200)]))
    document = _drift(metrics={"mean": judged}, warmup={"checks": 5, "trigger": {"every": {"samples": 120}}})
    loop = Loop(document, features).run([stream(1000)])
    warm, later = loop.notes[:5], loop.notes[5:]
    assert [note["reason"] for note in warm] == ["warm-up"] * 5
    assert [note["fired"] for note in warm] == [False, True, True, True, True]
    assert later[0]["threshold"] is not None
    assert any(note["fired"] and note["key"] in (899, 999) for note in later)


def test_the_warmup_calibrates_with_the_distances_between_the_references_of_its_rounds_and_its_last_window() -> None:
    judged = {"metric": "mean-distance", "criterion": {"quantile": {"window": 2, "q": 0.0}}}
    document = _drift(
        metrics={"mean": judged},
        check_every=10,
        window={"amount": {"reference": 20, "current": 10, "overlap": True}},
        warmup={"checks": 3, "trigger": {"every": {"samples": 10}}},
    )
    loop = Loop(document, MemoryFeatures(np.arange(40.0))).run([stream(40)])
    assert loop.ends == [10, 20, 30]
    # References 0..9 and 0..19 lie 20 and 15 from the last window of the warm-up, 20..29; then 10..29 lies 15 from 30..39.
    assert (loop.notes[-1]["threshold"], loop.notes[-1]["distance"]) == (20.0, 15.0)


@pytest.mark.parametrize(
    ("decide", "fires"),
    [("any", True), ("majority", False), ("all", False), ("at-least 1", True), ("at-least 2", False)],
)
def test_metrics_vote(decide: str, fires: bool) -> None:
    bounds = {"low": 1.0, "high": 100.0}
    metrics = {n: {"metric": "mean-distance", "criterion": {"threshold": {"value": v}}} for n, v in bounds.items()}
    loop = Loop(_drift(metrics=metrics, decide=decide), _steps()).run([stream(1000)])
    assert (len(loop.ends) > 1) == fires
    assert set(loop.notes[-1]["metrics"]) == {"low", "high"}


def test_the_notes_say_which_classes_moved() -> None:
    labels = np.where(np.arange(1000) < 500, 0, np.arange(1000) % 2)
    features = MemoryFeatures(np.zeros(1000), labels=labels)
    judged = {"metric": "chi2", "criterion": {"threshold": {"value": 0.3}}}
    loop = Loop(_drift(features="label", metrics={"chi2": judged}), features).run([stream(1000)])
    moved = next(note for note in loop.notes[1:] if note["fired"])["moved"]
    assert moved[0] == {"class": 0, "before": 1.0, "after": 0.5, "by": -0.5}


def test_a_user_function_of_the_raw_features_can_be_watched(tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text("def double(raw):\n    return raw * 2\n\ndef wrong(raw):\n    return raw[:1]\n")
    trigger = build(Trigger, _drift(features="./mine.py:double"), base_dir=tmp_path)
    trigger.bind(_steps())
    assert next(trigger.update(stream(100))) == 99
    trigger.inform(round_at(100, 0))
    list(trigger.update(stream(1000)[100:]))
    assert max(note["distance"] or 0 for note in trigger.explain()) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "embeding"}, "no kind of feature is named 'embeding'. Did you mean 'embedding'?"),
        ({"decide": "most"}, "must be majority, any, all, or at-least n, such as 'at-least 2'; got 'most'"),
        ({"decide": {"at-least": 1}}, "got {at-least: 1}"),
        ({"decide": "at-least 3"}, "can never be reached with 1 metric"),
        ({"metrics": {}}, "metrics: needs at least one"),
        ({"window": "amounts"}, "Did you mean 'amount'?"),
        ({"check_every": "7 days"}, "must be a duration"),
        (
            {"metrics": {"a": {"metric": "mdd", "criterion": "p-value"}}},
            "no drift-metric is named 'mdd'. Did you mean 'mmd'?",
        ),
        ({"metrics": {"a": {"metric": {"psi": {"combine": "bonferroni"}}, "criterion": "p-value"}}}, "needs p-values"),
        ({"metrics": {"a": {"metric": "mmd", "criterion": "p-value"}}}, "would never fire: mmd gives no p-value"),
        ({"metrics": {"a": {"metric": "hellinger", "criterion": "p-value"}}}, "hellinger gives no p-value"),
        (
            {"metrics": {"a": {"metric": "ks", "criterion": {"avoidable-misclassifications": {"threshold": 1}}}}},
            "is for the performance trigger",
        ),
        (
            {"metrics": {"a": {"metric": {"energy": {"permutations": 18}}, "criterion": "p-value"}}},
            "of 18 permutations no p-value is below 0.0526, and its level is 0.05; give 19 or more",
        ),
        (
            {"min_samples": 1000, "window": {"amount": {"reference": 2000, "current": 100}}},
            "min_samples: with window.amount.current: 100 no window ever has 1000 samples to compare",
        ),
        (
            {"min_samples": 1000, "sample_size": 500, "window": {"time": {"reference": "1d", "current": "1d"}}},
            "sample_size: 500",
        ),
        (
            {"metrics": {"a": {"metric": {"mmd": {"form": "linear", "permutations": 9}}, "criterion": "p-value"}}},
            "leave them out",
        ),
        ({"metrics": {"a": {"metric": {"mmd": {"num_features": 9}}, "criterion": "p-value"}}}, "is for form: fourier"),
        ({"metrics": {"a": {"metric": {"mmd": {"bandwidth": float("inf")}}, "criterion": "p-value"}}}, "finite number"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"trigger\.drift") as caught:
        build(Trigger, _drift(**options))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "metric", ["ks", "chi2", "classifier", {"mmd": {"form": "linear"}}, {"energy": {"permutations": 19}}]
)
def test_a_p_value_may_be_asked_of_each_metric_that_gives_one(metric: Any) -> None:
    found = build(DriftMetric, metric)
    assert found.gives_p_value
    assert found.distance(np.arange(20.0), np.arange(20.0) + 1).p_value is not None
    build(Trigger, _drift(metrics={"a": {"metric": metric, "criterion": "p-value"}}))


def test_a_trigger_without_features_says_so() -> None:
    trigger = build(Trigger, _drift())
    assert list(trigger.update(stream(100))) == [99]
    trigger.inform(round_at(100, 0))
    with pytest.raises(ConfigError, match="bind it"):
        list(trigger.update(stream(300)[100:]))


def test_what_moved_is_called_by_the_names_of_the_datasets_columns() -> None:
    n = 400
    wind = np.where(np.arange(n) < 200, 0.0, 9.0)
    features = MemoryFeatures(np.zeros(n), columns={"wind": wind, "rain": np.zeros(n), "pixels": np.zeros((n, 2))})
    kinds = ["column:rain", "column:wind", "column:pixels"]
    loop = Loop(_drift(features=kinds), features).run([stream(n)])
    moved = [column for note in loop.notes for column in note["moved"]]
    assert {column["column"] for column in moved} == {"wind"}
    assert any("moved most: column wind" in in_words(note) for note in loop.notes)
    pixels = Loop(_drift(features="column:pixels"), features).run([stream(n)])
    assert pixels.trigger._kept.names == ["pixels[0]", "pixels[1]"]
