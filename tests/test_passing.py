"""The windows of a followed run: what is known of them by parts is what is known of all samples at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modyn.evaluation.windows import EvaluationWindows
from modyn.evaluation.windows.slices import Slices
from modyn.evaluation.windows.sliding import Sliding
from modyn.evaluation.windows.static import Static
from modyn.following import Growing
from modyn.passing import Passing
from modyn.types import UNKNOWN_LABEL, Samples

S = 10**6
POLICIES = [
    Slices(every="10s"),
    Sliding(every="7s", interval=["-20s", "+5s"]),
    Static(intervals=[["1970-01-01T00:00:05", "1970-01-01T00:00:50"], ["1970-01-01T00:00:20", "1970-01-01T00:00:25"]]),
]


def samples_at(seconds: list[int], first_key: int = 0, unknown: bool = False) -> Samples:
    labels = np.where([unknown and s % 3 == 0 for s in seconds], UNKNOWN_LABEL, 1) if seconds else np.zeros(0, np.int64)
    return Samples(first_key + np.arange(len(seconds)), np.array(seconds, np.int64) * S, labels)


def serving(passing: Passing, active: int, trained: int) -> dict[str, np.ndarray]:
    number = len(passing.windows)
    return {"active": np.full(number, active), "trained": np.full(number, trained)}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
@given(parts=st.lists(st.lists(st.integers(0, 120), max_size=6), min_size=1, max_size=5), moment=st.integers(0, 150))
def test_what_comes_by_parts_is_known_as_if_it_had_come_at_once(
    policy: EvaluationWindows, parts: list[list[int]], moment: int
) -> None:
    whole = Passing(policy, 0, now=lambda: 2**62, warn=pytest.fail)
    whole.begin(samples_at([s for part in parts for s in part], unknown=True))
    by_parts = Passing(policy, 0, now=lambda: 2**62, warn=pytest.fail)
    growing = Growing(samples_at([], unknown=True))
    by_parts.begin(growing.samples)
    for part in parts:
        fresh = samples_at(part, len(growing.samples), unknown=True)
        by_parts.count(fresh, growing.append(fresh))
    assert by_parts.windows == whole.windows
    assert by_parts.due(moment * S, serving(by_parts, 2, 3)) == whole.due(moment * S, serving(whole, 2, 3))


def test_a_window_is_due_once_for_each_of_its_checkpoints() -> None:
    passing = Passing(Slices(every="10s"), 0, now=lambda: 2**62, warn=pytest.fail)
    passing.begin(samples_at([1, 2, 11, 25]))
    assert passing.due(9 * S, serving(passing, 0, 0)) == {}
    assert passing.due(20 * S, serving(passing, -1, 0)) == {0: [0, 1]}
    assert passing.due(20 * S, serving(passing, 2, 2)) == {2: [0, 1]}
    assert passing.due(40 * S, serving(passing, 2, 3)) == {0: [2], 2: [2], 3: [0, 1, 2]}
    assert passing.due(40 * S, serving(passing, 2, 3)) == {}


def test_growing_samples_leave_what_was_given_before_as_it_was() -> None:
    growing = Growing(samples_at([1, 2]))
    given_before = [growing.samples]
    given_before += [growing.append(samples_at([number], 2 + number)) for number in range(20)]
    for size, samples in enumerate(given_before, start=2):
        assert samples.keys.tolist() == list(range(size))
        assert len(samples.labels if samples.labels is not None else ()) == size
    unlabelled = growing.append(Samples(np.array([22]), np.array([0])))
    assert (len(unlabelled), unlabelled.labels) == (23, None)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_further_windows_are_those_that_laying_out_all_gives(policy: EvaluationWindows) -> None:
    laid_out = policy.lay_out(3 * S, 100 * S)
    for number in range(len(laid_out) + 2):
        assert policy.further(3 * S, 100 * S, number) == laid_out[number:]


def test_windows_that_lie_in_the_future_are_laid_out_and_counted_when_their_time_has_come() -> None:
    clock = [12 * S]
    passing = Passing(Slices(every="10s"), 0, now=lambda: clock[0], warn=pytest.fail)
    samples = samples_at([1, 2, 11, 25, 26, 1000])
    passing.begin(samples)
    assert [window.end // S for window in passing.windows] == [10, 20]
    clock[0] = 30 * S
    passing.go_on(samples)
    assert [window.end // S for window in passing.windows] == [10, 20, 30]
    assert passing.due(30 * S, serving(passing, 0, 0)) == {0: [0, 1, 2]}
