"""What every trigger owes the loop; each trigger with an example below is tried on random streams, cut in random places."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modyn import policy
from modyn.triggers import Trigger
from modyn.types import Samples

EXAMPLES = [
    "never",
    {"once": {"samples": 5}},
    {"once": {"interval": "10us"}},
    {"every": {"samples": 1}},
    {"every": {"samples": 7}},
    {"every": {"interval": "9us"}},
    {"every": {"interval": "9us", "start": "1970-01-01T00:00:00"}},
]

times = st.lists(st.integers(0, 25), min_size=1, max_size=60).map(lambda gaps: np.cumsum(gaps))
late = st.lists(st.integers(0, 200), min_size=1, max_size=60).map(np.array)
cuts = st.lists(st.integers(0, 60), max_size=8)


def stream(timestamps: Any) -> Samples:
    return Samples(np.arange(len(timestamps)), np.asarray(timestamps, dtype=np.int64), np.arange(len(timestamps)) % 2)


def chunks(samples: Samples, at: Iterable[int]) -> list[Samples]:
    edges = [0, *sorted({c for c in at if 0 < c < len(samples)}), len(samples)]
    return [samples[a:b] for a, b in pairwise(edges)]


def firings(trigger: Trigger, batches: Iterable[Samples]) -> list[int]:
    """The ends, as keys (exclusive), after which the trigger trains."""
    return [int(b.keys[p]) + 1 if p >= 0 else int(b.keys[0]) for b in batches for p in trigger.update(b)]


@pytest.mark.parametrize("document", EXAMPLES, ids=str)
@settings(max_examples=60, deadline=None)
@given(timestamps=times | late, at=cuts)
def test_chunking_never_matters(document: Any, timestamps: Any, at: list[int]) -> None:
    samples = stream(timestamps)
    whole = firings(policy.build(Trigger, document), [samples])
    assert firings(policy.build(Trigger, document), chunks(samples, at)) == whole
    assert firings(policy.build(Trigger, document), chunks(samples, range(len(samples)))) == whole


@pytest.mark.parametrize("document", EXAMPLES, ids=str)
@settings(max_examples=60, deadline=None)
@given(timestamps=times | late)
def test_firings_rise_and_lie_within_the_stream(document: Any, timestamps: Any) -> None:
    ends = firings(policy.build(Trigger, document), [stream(timestamps)])
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(timestamps) for end in ends)


@pytest.mark.parametrize("document", EXAMPLES, ids=str)
@settings(max_examples=60, deadline=None)
@given(timestamps=times | late, data=st.data())
def test_its_state_taken_at_any_yield_goes_on_as_if_nothing_had_happened(
    document: Any, timestamps: Any, data: Any
) -> None:
    samples = stream(timestamps)
    whole = firings(policy.build(Trigger, document), [samples])
    stop = data.draw(st.integers(0, len(whole)))
    first, ends, cursor = policy.build(Trigger, document), [], 0
    state = first.state_dict()
    for position in first.update(samples):
        if len(ends) == stop:
            break
        cursor = position + 1
        ends.append(cursor)
        state = first.state_dict()
    second = policy.build(Trigger, document)
    second.load_state_dict(state)
    rest = samples[cursor:] if stop else samples
    assert ends + firings(second, [rest] if len(rest) else []) == whole


@pytest.mark.parametrize("document", EXAMPLES, ids=str)
def test_an_empty_batch_changes_nothing(document: Any) -> None:
    trigger = policy.build(Trigger, document)
    assert list(trigger.update(stream(np.zeros(0, dtype=np.int64)))) == []
