"""Options that can mean nothing are refused before a run, and what a trigger looks at can be tried on a few samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modyn.errors import ConfigError
from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.features import check_features
from modyn.triggers.memory_features import MemoryFeatures
from tests.triggers.loop import Loop, stream

INF, NAN = float("inf"), float("nan")


def _drift(**options: Any) -> dict[str, Any]:
    return {"drift": {"features": "raw", "check_every": 100, **options}}


def _scored(criterion: Any, **options: Any) -> dict[str, Any]:
    return {"performance": {"criteria": {"low": criterion}, **options}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (_drift(features=[]), "trigger.drift.features: needs at least one kind of feature"),
        (_drift(features=["raw", "label", "raw"]), "trigger.drift.features: names raw more than once"),
        (
            _drift(features="column:"),
            "must name something before and after the colon, as column:NAME does; got 'column:'",
        ),
        (_drift(features=":wind"), "got ':wind'"),
        (_scored({"threshold": {"value": NAN}}), "value: input should be a finite number; got nan"),
        (_scored({"threshold": {"value": -INF}}), "finite number"),
        (_scored({"rolling-average": {"deviation": INF}}), "finite number"),
        (_scored({"avoidable-misclassifications": {"threshold": INF}}), "finite number"),
        (
            _scored({"threshold": {"value": 80}}),
            "criteria.low: accuracy is at most 1, so that a threshold of 80 would fire at each check",
        ),
        (_scored({"threshold": {"value": 1.1}}, metric="roc-auc"), "roc-auc is at most 1"),
        ({"data-latency-cost": {"seconds_of_delay_per_training_second": INF}}, "finite number"),
        ({"misclassification-cost": {"seconds_of_delay_per_training_second": INF}}, "finite number"),
        ({"stream-detector": {"parameters": {"dleta": 1}}}, "adwin has none named 'dleta'. Did you mean 'delta'?"),
        ({"stream-detector": {"parameters": {"delta": "x"}}}, "delta must be a number, true or false; got 'x'"),
        ({"stream-detector": {"parameters": {"delta": [1]}}}, "delta: must be a number, true, false or a word"),
        (
            {"stream-detector": {"detector": "kswin", "parameters": {"alpha": 5}}},
            "kswin does not take them: Alpha must",
        ),
    ],
    ids=str,
)
def test_an_option_that_can_mean_nothing_is_refused(document: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=r"trigger\.") as caught:
        build(Trigger, document)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scores_that_are_not_shares_have_any_threshold() -> None:
    build(Trigger, _scored({"threshold": {"value": 80}}, metric="loss"))
    build(Trigger, _scored({"threshold": {"value": 80}}, metric="mean-absolute-error"))


def test_a_detectors_parameter_may_be_a_word() -> None:
    build(Trigger, {"stream-detector": {"detector": "page-hinkley", "parameters": {"mode": "up"}}})


def test_a_detector_of_errors_says_so_where_the_errors_are_distances() -> None:
    features = MemoryFeatures(np.zeros(100), labels=np.zeros(100))
    features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
    features.get = lambda _kind, keys: np.full((len(keys), 1), 0.3)  # type: ignore[method-assign]
    for detector in ("ddm", "eddm", "hddm-a", "hddm-w"):
        with pytest.raises(ConfigError, match=f"{detector} takes a stream of errors"):
            Loop({"stream-detector": {"detector": detector}}, features).run([stream(100)])
    assert Loop({"stream-detector": {"detector": "adwin"}}, features).run([stream(100)]).ends == []


def test_what_a_trigger_looks_at_can_be_tried_on_a_few_samples(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def fails(raw):\n    return raw[:, 5]\n\ndef fine(raw):\n    return raw\n")
    features, keys = MemoryFeatures(np.zeros(4), labels=np.zeros(4), columns={"wind": np.ones(4)}), np.arange(4)

    def tried(document: Any) -> None:
        check_features(build(Trigger, document, base_dir=tmp_path), features, keys)

    tried(_drift(features=["raw", "label", "column:wind", "./mine.py:fine", "embedding"]))
    tried({"any-of": {"triggers": ["manual", _drift(), {"every": {"samples": 5}}]}})
    for kind, message in [
        ("./mine.py:fails", "features ./mine.py:fails failed: IndexError"),
        ("./mine.py:fien", "has nothing named 'fien'. Did you mean 'fine'?"),
        ("./other.py:fine", "there is no file"),
    ]:
        with pytest.raises(ConfigError, match=r"trigger\.drift\.features: ") as caught:
            tried(_drift(features=kind))
        assert message in str(caught.value)
    nested = {
        "cooldown": {"min_samples": 5, "trigger": {"any-of": {"triggers": ["manual", _drift(features="./x.py:f")]}}}
    }
    with pytest.raises(
        ConfigError, match=r"trigger\.cooldown\.trigger\.any-of\.triggers\.1\.drift\.features: there is no"
    ):
        tried(nested)
    with pytest.raises(ConfigError, match=r"trigger\.stream-detector\.of: there is no"):
        tried({"stream-detector": {"of": "./x.py:f"}})
