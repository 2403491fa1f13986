"""What is noted while nothing comes: production shows a trigger an empty batch every few seconds."""

import numpy as np

from modyn.policy import build
from modyn.triggers import Trigger
from modyn.triggers.memory_features import MemoryFeatures
from tests.triggers.loop import round_at, stream


def test_deletion_notes_only_what_is_new_in_quiet_times() -> None:
    features = MemoryFeatures(np.zeros(200))
    trigger = build(Trigger, {"deletion": {"samples": 3, "check_every": 50}})
    trigger.bind(features)
    list(trigger.update(stream(100)))
    trigger.inform(round_at(100, 0))
    told, fired = [], []
    for look in range(12):
        features.deleted = {0: set(), 5: {1}, 9: {1, 2, 3}}.get(look, features.deleted)
        fired += [look for _ in trigger.update(stream(100)[:0])]
        told += [(look, note["distance"]) for note in trigger.explain()]
        if fired == [look]:
            trigger.inform(round_at(100, 1))
    assert told == [(5, 1), (9, 3)]
    assert fired == [9]
    assert list(trigger.update(stream(150)[100:])) == []
    assert [note["distance"] for note in trigger.explain()] == [0]
