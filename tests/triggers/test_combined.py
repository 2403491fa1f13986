"""Children that check at borders of time: within a combination each check takes place and is noted once, as it would alone."""

from typing import Any

import numpy as np
import pytest

from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.explain import in_words, why
from modyn.triggers.memory_features import MemoryFeatures
from modyn.types import Samples
from tests.triggers.loop import Loop, chunks, round_at, stream
from tests.triggers.test_conformance import EXAMPLES, _stream, every_trigger

BY_TIME: dict[str, Any] = {
    "drift": {
        "features": "raw",
        "metrics": {"mean": {"metric": "mean-distance", "criterion": {"quantile": {"window": 3}}}},
        "check_every": "10s",
        "window": {"amount": {"reference": 40, "current": 40, "overlap": True}},
    }
}


def _own(notes: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [_unmarked(note) for note in notes if note["trigger"] == name]


def _unmarked(note: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in note.items() if k not in ("part_of", "name")}


@every_trigger
@pytest.mark.parametrize("seed", range(3))
def test_beside_a_trigger_that_never_fires_each_does_what_it_does_alone(name: str, seed: int) -> None:
    alone = Loop(EXAMPLES[name], _stream(seed)[1]).run([_stream(seed)[0]])
    beside = Loop({"any-of": {"triggers": ["never", EXAMPLES[name]]}}, _stream(seed)[1]).run([_stream(seed)[0]])
    assert beside.ends == alone.ends
    votes = [note for note in beside.notes if note.get("part_of")]
    assert [_unmarked(note) for note in votes] == [_unmarked(note) for note in alone.notes]


def test_a_check_at_a_border_takes_place_once_also_where_another_child_votes_there() -> None:
    children = [{"every": {"interval": "10s"}}, BY_TIME, {"once": {"samples": 1000}}]
    notes, calls = [], []
    for document in (BY_TIME, {"all-of": {"triggers": children}}):
        trigger, features = build(Trigger, document), MemoryFeatures(np.random.default_rng(0).normal(size=200))
        trigger.bind(features)
        list(trigger.update(stream(200)[:5]))
        trigger.inform(round_at(5, 0))
        list(trigger.update(stream(200)[5:]))
        notes.append(_own(trigger.explain(), "drift"))
        calls.append(features.calls)
    assert [note["key"] for note in notes[1]] == list(range(9, 199, 10))
    assert notes[0] == notes[1]
    assert calls[0] == calls[1]


def test_a_check_at_a_border_where_another_child_makes_a_round_is_made_again_after_it() -> None:
    document = {"any-of": {"triggers": [{"every": {"interval": "30s"}}, BY_TIME]}}
    rng = np.random.default_rng(0)
    loop = Loop(document, MemoryFeatures(rng.normal(size=200))).run([stream(200)])
    keys = [note["key"] for note in _own(loop.notes, "drift")]
    assert keys == sorted(keys)
    twice = {key for key in keys if keys.count(key) == 2}
    assert twice
    assert twice <= {end - 1 for end in loop.ends}
    assert max(keys.count(key) for key in keys) <= 2
    assert loop.ends == sorted(set(loop.ends))


@pytest.mark.parametrize("kind", ["any-of", "all-of", "majority"])
@pytest.mark.parametrize("memory", ["since-last-round", "this-check"])
def test_borders_that_meet_leave_the_same_rounds_however_the_stream_is_cut_and_resumed(kind: str, memory: str) -> None:
    performance = {"performance": {"check_every": "20s", "criteria": {"low": {"threshold": {"value": 0.6}}}}}
    inner = {"any-of": {"triggers": [{"every": {"interval": "30s"}}, BY_TIME]}}
    document = {kind: {"memory": memory, "triggers": [{"every": {"interval": "20s"}}, inner, performance]}}
    for seed in range(2):
        samples, features = _stream(seed)
        whole = Loop(document, features).run([samples])
        for parts in (chunks(samples, range(len(samples))), chunks(samples, [seed * 31 + 40, 180])):
            cut = Loop(document, _stream(seed)[1]).run(parts)
            assert (cut.ends, cut.notes) == (whole.ends, whole.notes)
        for saved in whole.states[::3]:
            going_on = whole.resumed(saved, document, _stream(seed)[1])
            rest: Samples = samples[saved[0] :]
            if len(rest):
                going_on.run([rest])
            assert going_on.ends == whole.ends
            assert going_on.notes == whole.notes[len(whole.notes) - len(going_on.notes) :]


def test_a_state_in_the_middle_of_a_border_is_that_before_it() -> None:
    trigger = build(Trigger, {"any-of": {"triggers": [{"every": {"interval": "10s"}}, BY_TIME]}})
    trigger.bind(MemoryFeatures(np.zeros(100)))
    firings = trigger.update(stream(100)[:15])
    assert next(firings) == 9
    first = trigger.state_dict()["children"][1]
    assert first["windows"]["now"] == 9_000_000


# Words ---------------------------------------------------------------------------------------------------------------


def _labels_and_values(shift_of: str, metric: str = "mean-distance") -> dict[str, Any]:
    judged = {"metric": metric, "criterion": {"threshold": {"value": 1.0}}}
    window = {"amount": {"reference": 100, "current": 50}}
    return {"drift": {"features": shift_of, "metrics": {"mmd": judged}, "check_every": 50, "window": window}}


def test_triggers_of_the_same_name_are_told_apart_in_notes_and_words() -> None:
    features = MemoryFeatures(
        np.where(np.arange(400) < 200, 0.0, 3.0), columns={"wind": np.where(np.arange(400) < 300, 0.0, 9.0)}
    )
    children = [_labels_and_values("raw"), {"all-of": {"triggers": [_labels_and_values("column:wind"), "never"]}}]
    children += [_labels_and_values("column:wind")]
    document = {"cooldown": {"min_samples": 10, "trigger": {"any-of": {"triggers": children}}}}
    loop = Loop(document, features).run([stream(400)])
    drifts = [note for note in loop.notes if note["trigger"] == "drift"]
    assert {(note.get("name"), note["part_of"]) for note in drifts} == {
        ("drift 0", "cooldown > any-of"),
        (None, "cooldown > any-of > all-of"),
        ("drift 2", "cooldown > any-of"),
    }
    assert any("drift 2 (a vote in cooldown > any-of) fired: mmd was 9" in in_words(note) for note in drifts)


def test_a_combination_within_a_numbered_one_says_which() -> None:
    inner = {"any-of": {"triggers": [BY_TIME]}}
    loop = Loop({"all-of": {"triggers": [inner, inner]}}, MemoryFeatures(np.zeros(100))).run([stream(100)])
    ways = {note["part_of"] for note in loop.notes if note["trigger"] == "drift"}
    assert ways == {"all-of > any-of 0", "all-of > any-of 1"}


def test_a_firing_that_was_kept_is_explained_by_the_check_that_asked_for_it() -> None:
    features = MemoryFeatures(np.where(np.arange(400) < 200, 0.0, 3.0))
    document = {"cooldown": {"min_samples": 225, "trigger": {"any-of": {"triggers": [_labels_and_values("raw")]}}}}
    loop = Loop(document, features).run([stream(400)])
    assert loop.ends == [50, 275]
    lines = why([note for note in loop.notes if 50 <= note["key"] < 275])
    assert lines[0].endswith("sample 274: cooldown fired: the child had fired too soon after the last round.")
    assert lines[1] == "That firing:"
    assert "sample 249: drift (a vote in cooldown > any-of) fired: mmd was 3, above its bound 1" in lines[2]
    assert lines[4].endswith("sample 249: cooldown did not fire: too soon after the last round.")
    assert lines[5] == "Before it, 4 checks since the last round did not fire:"


def test_a_firing_that_was_kept_within_a_combination_is_explained_too() -> None:
    features = MemoryFeatures(np.where(np.arange(400) < 200, 0.0, 3.0))
    cooldown = {"cooldown": {"min_samples": 225, "trigger": _labels_and_values("raw")}}
    loop = Loop({"any-of": {"triggers": [cooldown, "never"]}}, features).run([stream(400)])
    assert loop.ends == [50, 275]
    lines = why([note for note in loop.notes if 50 <= note["key"] < 275])
    assert lines[0].endswith(
        "sample 274: cooldown (a vote in any-of) fired: the child had fired too soon after the last round."
    )
    place = lines.index("The firing that cooldown had kept:")
    assert "sample 249: drift (a vote in any-of > cooldown) fired: mmd was 3, above its bound 1" in lines[place + 1]
    assert lines[place + 2].endswith(
        "sample 249: cooldown (a vote in any-of) did not fire: too soon after the last round."
    )


def test_a_vote_by_the_clock_belongs_to_the_firing_although_its_time_is_the_borders() -> None:
    loop = Loop({"any-of": {"triggers": [{"cron": {"expression": "* * * * *"}}]}}).run([stream(100, every_s=7)])
    lines = why([note for note in loop.notes if note["key"] < 10])
    assert lines[0].endswith("cron (a vote in any-of) fired: the time of '* * * * *'.")
    assert len(lines) == 2
