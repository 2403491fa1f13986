"""Combinations, cooldown, cron, deletion, manual, stream detectors; simulation and explanation."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modyn.config import parse_duration
from modyn.errors import ConfigError, NotFound
from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.explain import in_words, why
from modyn.triggers.manual import request_training, requests_in
from modyn.triggers.memory_features import MemoryFeatures
from modyn.triggers.never import Never
from modyn.triggers.simulate import simulate
from modyn.types import Samples, to_microseconds
from tests.triggers.loop import SECOND, Loop, round_at, stream
from tests.triggers.test_drift import _drift, _steps

HOUR = 3600 * SECOND


def _ends(document: Any, samples: Samples, features: MemoryFeatures | None = None) -> list[int]:
    return Loop(document, features).run([samples]).ends


# Combinations --------------------------------------------------------------------------------------------------------


def test_a_vote_counts_until_the_next_round_or_only_where_it_is_given() -> None:
    children = [{"every": {"samples": 4}}, {"every": {"samples": 6}}]
    assert _ends({"all-of": {"triggers": children}}, stream(25)) == [6, 12, 18, 24]
    assert _ends({"all-of": {"triggers": children, "memory": "this-check"}}, stream(25)) == [12, 24]


def test_votes_are_forgotten_with_a_round_that_others_caused() -> None:
    trigger = build(Trigger, {"all-of": {"triggers": [{"every": {"samples": 4}}, {"every": {"samples": 6}}]}})
    assert list(trigger.update(stream(12)[:5])) == []
    trigger.inform(round_at(5, 0))
    assert list(trigger.update(stream(12)[5:7])) == []
    assert next(trigger.update(stream(12)[7:])) == 0


def test_none_of_fires_in_quiet_times_only() -> None:
    document = {"none-of": {"triggers": [{"once": {"samples": 35}}], "check_every": 10, "memory": "this-check"}}
    assert _ends(document, stream(65)) == [10, 20, 30, 50, 60]


def test_children_hear_of_rounds_that_others_caused() -> None:
    latency = {"data-latency-cost": {"seconds_of_delay_per_training_second": 100.0, "first": 1000}}
    alone = _ends(latency, stream(300))
    together = _ends({"any-of": {"triggers": [latency, {"once": {"samples": 10}}]}}, stream(300))
    assert alone == []
    assert together[:2] == [10, 25]


def test_the_notes_of_children_say_what_they_are_part_of_and_the_votes_are_named() -> None:
    loop = Loop({"any-of": {"triggers": [_drift(), {"every": {"samples": 450}}]}}, _steps()).run([stream(1000)])
    assert {note.get("part_of") for note in loop.notes if note["trigger"] == "drift"} == {"any-of"}
    fired = [note for note in loop.notes if note["trigger"] == "any-of" and note["fired"]]
    assert [note["votes"] for note in fired][1] == {"drift": False, "every": True}
    keys = [note["key"] for note in loop.notes]
    assert keys == sorted(keys)


class _Plain(Never):
    """A trigger of a user that knows nothing of ``ahead``: it fires on the border before each tenth sample."""

    def ahead(self, batch: Samples) -> int:
        return Trigger.ahead(self, batch)

    def update(self, batch: Samples) -> Any:
        yield from (row - 1 for row, key in enumerate(batch.keys.tolist()) if key % 10 == 0 and key)


def test_a_trigger_that_cannot_look_ahead_works_in_a_combination() -> None:
    loop = Loop("never")
    loop.trigger = build(Trigger, {"any-of": {"triggers": [_Plain(), {"every": {"samples": 7}}]}})
    assert loop.run([stream(31)]).ends == [7, 10, 14, 20, 21, 28, 30]


def test_an_impossible_count_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"can never be reached with 1 trigger$"):
        build(Trigger, {"at-least": {"count": 2, "triggers": ["never"]}})
    with pytest.raises(ConfigError, match=r"trigger\.any-of\.triggers\.0: no trigger is named 'evry'"):
        build(Trigger, {"any-of": {"triggers": ["evry"]}})


# Cooldown ------------------------------------------------------------------------------------------------------------


def test_a_cooldown_holds_back_and_presses_on() -> None:
    child = {"once": {"samples": 5}}
    assert _ends({"cooldown": {"trigger": child, "max_interval": "20s"}}, stream(60)) == [5, 25, 45]
    child = {"every": {"samples": 10}}
    assert _ends({"cooldown": {"trigger": child, "min_interval": "25s"}}, stream(70)) == [10, 35, 60]
    dropped = {"cooldown": {"trigger": child, "min_interval": "25s", "early": "drop"}}
    assert _ends(dropped, stream(70)) == [10, 40, 70]


def test_a_cooldown_needs_a_bound() -> None:
    with pytest.raises(ConfigError, match="needs at least one of"):
        build(Trigger, {"cooldown": {"trigger": "never"}})


# Cron ----------------------------------------------------------------------------------------------------------------


def test_cron_fires_at_sample_times_in_replay_and_once_after_a_gap() -> None:
    times = np.array([0, 1, 23, 25, 26, 100, 101]) * HOUR
    assert _ends({"cron": {"expression": "0 0 * * *"}}, Samples(np.arange(7), times)) == [3, 5]


def test_cron_follows_its_time_zone_through_daylight_saving() -> None:
    from datetime import UTC, datetime

    start = to_microseconds(datetime(2024, 3, 30, tzinfo=UTC))
    samples = Samples(np.arange(72), start + np.arange(72) * HOUR)
    ends = _ends({"cron": {"expression": "0 6 * * *", "timezone": "Europe/Zurich"}}, samples)
    assert ends == [5, 24 + 4, 48 + 4]


def test_cron_fires_by_the_wall_clock_in_production_even_without_samples() -> None:
    features = MemoryFeatures(np.zeros(10))
    trigger = build(Trigger, {"cron": {"expression": "0 * * * *"}})
    trigger.bind(features)
    features.now = 10 * 60 * SECOND
    assert list(trigger.update(stream(3))) == []
    features.now = HOUR + 1
    assert list(trigger.update(stream(10)[3:6])) == [2]
    assert list(trigger.update(stream(10)[6:7])) == []
    features.now = 2 * HOUR
    assert list(trigger.update(stream(10)[:0])) == [-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expression": "0 0 * *"}, "is not a cron expression"),
        ({"expression": "61 0 * * *"}, "is not a cron expression"),
        ({"expression": "0 0 * * *", "timezone": "Europe/Zurch"}, "no time zone is named 'Europe/Zurch'"),
    ],
)
def test_a_wrong_cron_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Trigger, {"cron": options})


# Deletion and requests -----------------------------------------------------------------------------------------------


def test_deletion_fires_when_enough_of_the_last_selection_is_gone() -> None:
    features = MemoryFeatures(np.zeros(400))
    trigger = build(Trigger, {"deletion": {"share": 0.1, "check_every": 50}})
    trigger.bind(features)
    assert list(trigger.update(stream(400)[:100])) == []
    trigger.inform(round_at(100, 0))
    features.deleted = set(range(9)) | set(range(200, 300))
    assert list(trigger.update(stream(400)[100:200])) == []
    features.deleted.add(50)
    assert list(trigger.update(stream(400)[:0])) == [-1]
    assert list(trigger.update(stream(400)[200:250])) == [49]
    trigger.inform(round_at(250, 1, start=100))
    assert list(trigger.update(stream(400)[250:300])) == [49]


def test_a_request_by_hand_is_a_line_in_the_runs_folder(tmp_path: Path) -> None:
    assert requests_in(tmp_path) == 0
    assert request_training(tmp_path, at=0, by="a test") == 1
    code = (
        "import sys; from pathlib import Path; from modyn.triggers.manual import request_training\n"
        "request_training(Path(sys.argv[1]), at=1, by='another process')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert requests_in(tmp_path) == 2
    with pytest.raises(NotFound):
        request_training(tmp_path / "no-run", at=0, by="a test")


def test_manual_answers_waiting_requests_with_one_round_and_none_twice() -> None:
    features = MemoryFeatures(np.zeros(10))
    trigger = build(Trigger, "manual")
    trigger.bind(features)
    features.requests = 2
    assert list(trigger.update(stream(10)[:4])) == [3]
    assert list(trigger.update(stream(10)[4:8])) == []
    again = build(Trigger, "manual")
    again.bind(features)
    again.load_state_dict(trigger.state_dict())
    assert list(again.update(stream(10)[8:])) == []
    features.requests = 3
    assert list(again.update(stream(10)[:0])) == [-1]


# Stream detectors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["adwin", "ddm", "eddm", "hddm-a", "hddm-w"])
def test_a_detector_finds_where_errors_set_in(detector: str) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    labels = (rng.random(n) < np.where(np.arange(n) < 2000, 0.1, 0.6)).astype(float)
    features = MemoryFeatures(np.zeros(n), labels=labels)
    features.deploy("run-1/0", model=lambda rows: np.tile([1.0, 0.0], (len(rows), 1)))
    ends = _ends({"stream-detector": {"detector": detector}}, stream(n), features)
    assert any(2000 < end <= 2600 for end in ends)


def test_detectors_of_errors_refuse_other_numbers() -> None:
    with pytest.raises(ConfigError, match="takes a stream of errors"):
        build(Trigger, {"stream-detector": {"detector": "ddm", "of": "loss"}})


# Simulation and words ------------------------------------------------------------------------------------------------


def test_a_simulation_fires_where_the_trigger_would_and_leaves_it_untouched() -> None:
    trigger = build(Trigger, _drift())
    state = trigger.state_dict()
    found = simulate(trigger, [stream(1000)[:333], stream(1000)[333:]], features=_steps())
    assert (
        [firing.key + 1 for firing in found.firings] == [100, 600] == Loop(_drift(), _steps()).run([stream(1000)]).ends
    )
    assert [firing.num_samples for firing in found.firings] == [100, 500]
    assert trigger.state_dict() == state
    assert found.num_samples == 1000
    assert list(found.table()["num_samples"]) == [100, 500]
    assert str(found.firings[1]) == "1: after sample 599 of 1970-01-01 00:09, 500 new"


def test_a_simulation_can_be_told_what_training_costs_and_which_checkpoint_serves() -> None:
    latency = build(Trigger, {"data-latency-cost": {"seconds_of_delay_per_training_second": 100.0, "first": 10}})
    cheap, dear = (
        len(simulate(latency, [stream(1000)], training_seconds=lambda _n, s=s: s).firings) for s in (1.0, 50.0)
    )
    assert cheap > dear
    features, rounds = _steps(), []
    found = simulate(
        build(Trigger, _drift(features="embedding")),
        [stream(1000)],
        features=features,
        deploy=lambda done: (rounds.append(done.number), features.deploy(f"finished/{done.number}"))[0],
    )
    assert rounds == [firing.number for firing in found.firings]


def test_a_border_at_a_batchs_edge_is_simulated_like_one_within() -> None:
    every = build(Trigger, {"every": {"interval": "10s"}})
    parts = [stream(35)[:10], stream(35)[10:20], stream(35)[20:]]
    assert [f.key for f in simulate(every, parts).firings] == [f.key for f in simulate(every, [stream(35)]).firings]


def test_a_month_of_flights_is_simulated_in_no_time() -> None:
    found = simulate(build(Trigger, {"every": {"interval": "1d"}}), [stream(300_000, every_s=96.0)])
    assert found.seconds < 1
    assert len(found.firings) == 333
    assert parse_duration("1d") / SECOND / 96 == 900


def test_a_firing_is_explained_in_words_with_the_checks_before_it() -> None:
    loop = Loop(_drift(), _steps()).run([stream(1000)])
    second = [note for note in loop.notes if 100 <= note["key"] <= 599]
    lines = why(second)
    assert lines[0] == (
        "1970-01-01 00:09, sample 599: drift fired: mean was 3, above its bound 1; "
        "moved most: column 0 by +3 standard deviations."
    )
    assert lines[1] == "Before it, 4 checks since the last round did not fire:"
    assert len(lines) == 5
    assert why([])[0].startswith("The trigger noted nothing")


def test_the_checks_before_a_firing_are_told_of_a_trigger_within_another_too() -> None:
    loop = Loop({"cooldown": {"trigger": _drift(), "min_samples": 10}}, _steps()).run([stream(1000)])
    lines = why([note for note in loop.notes if 100 <= note["key"] <= 599])
    assert lines[1].endswith("cooldown fired: the child fired.")
    assert lines[2] == "Before it, 4 checks since the last round did not fire:"
    assert "drift (a vote in cooldown) did not fire" in lines[3]


@pytest.mark.parametrize(
    "name",
    ["drift-warmup", "performance-lookahead", "data-latency-cost", "misclassification-cost", "nested", "cron", "ddm"],
)
def test_every_note_has_words(name: str) -> None:
    from tests.triggers.test_conformance import EXAMPLES, _stream

    samples, features = _stream(1)
    for note in Loop(EXAMPLES[name], features).run([samples]).notes:
        words = in_words(note)
        assert words.endswith(".")
        assert note["trigger"] in words
        assert "None" not in words
