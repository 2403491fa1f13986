"""Children that check at borders of time: within a combination each check takes place and is noted once, as it would alone."""

from typing import Any

import numpy as np
import pytest

from modyn.policy import build
from modyn.triggers import Trigger
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
    return {k: v for k, v in note.items() if k != "part_of"}


@every_trigger
@pytest.mark.parametrize("seed", range(3))
def test_beside_a_trigger_that_never_fires_each_does_what_it_does_alone(name: str, seed: int) -> None:
    alone = Loop(EXAMPLES[name], _stream(seed)[1]).run([_stream(seed)[0]])
    beside = Loop({"any-of": {"triggers": ["never", EXAMPLES[name]]}}, _stream(seed)[1]).run([_stream(seed)[0]])
    assert beside.ends == alone.ends
    votes = [note for note in beside.notes if note.get("part_of")]
    assert [_unmarked(note) for note in votes if note["part_of"] == "any-of"] == [_unmarked(n) for n in alone.notes]


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
