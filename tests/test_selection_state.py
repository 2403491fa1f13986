from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modyn.errors import Damaged
from modyn.selectors import History, stored
from modyn.selectors.describe import describe
from modyn.selectors.usage import Usage
from modyn.types import Samples, Selection


def samples(*keys: int) -> Samples:
    return Samples(np.array(keys), np.array(keys) * 10, np.array(keys) % 3)


@given(keys=st.lists(st.integers(0, 300), unique=True), weighted=st.booleans())
def test_a_selection_is_read_back_as_stored(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], weighted: bool
) -> None:
    selection = Selection(np.sort(np.array(keys, dtype=np.int64)), np.ones(len(keys), np.float32) if weighted else None)
    path = tmp_path_factory.mktemp("s") / "0.arrow"
    path.write_bytes(stored.to_bytes(selection))
    again = stored.read(path)
    np.testing.assert_array_equal(again.keys, selection.keys)
    assert (again.weights is None) == (selection.weights is None)


def test_a_selection_of_everything_is_stored_in_little_space() -> None:
    assert len(stored.to_bytes(Selection(np.arange(10**6)))) < 2_000


def test_a_file_that_is_no_selection_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.arrow").write_bytes(b"no")
    with pytest.raises(Damaged, match=r"0\.arrow cannot be read"):
        stored.read(tmp_path / "0.arrow")


def test_candidates_know_when_they_arrived_and_how_often_they_were_used() -> None:
    usage = Usage()
    usage.record(3, Selection(np.array([0, 2])))
    usage.record(5, Selection(np.array([2, 3])))
    candidates = usage.candidates(samples(0, 1, 2, 3, 5, 6), History(), end_key=7)
    assert candidates.round == 2
    assert candidates.arrived.tolist() == [0, 0, 0, 1, 2, 2]
    assert candidates.times_used.tolist() == [1, 0, 2, 1, 0, 0]
    assert candidates.last_used.tolist() == [0, -1, 1, 1, -1, -1]


@pytest.mark.parametrize(
    ("history", "keys"),
    [
        ("all", [0, 1, 2, 3, 5, 6]),
        ("round", [5, 6]),
        ({"last": 2}, [3, 5, 6]),
        ({"last": 9}, [0, 1, 2, 3, 5, 6]),
        ({"samples": 4}, [2, 3, 5, 6]),
        ({"time": "30us"}, [5, 6]),
    ],
)
def test_history_limits_the_candidates(history: object, keys: list[int]) -> None:
    usage = Usage()
    usage.record(3, Selection(np.array([0])))
    usage.record(5, Selection(np.array([0])))
    candidates = usage.candidates(samples(0, 1, 2, 3, 5, 6), History.model_validate(history), end_key=7)
    assert candidates.keys.tolist() == keys


def test_a_sample_used_twice_in_one_round_counts_one_round() -> None:
    usage = Usage()
    usage.record(3, Selection(np.array([1, 1, 2])))
    assert usage.candidates(samples(0, 1, 2), History(), end_key=3).times_used.tolist() == [0, 1, 1]


def test_a_selection_is_described_in_numbers() -> None:
    usage = Usage()
    usage.record(3, Selection(np.array([0, 1, 2])))
    candidates = usage.candidates(samples(0, 1, 2, 3, 4), History(), end_key=5)
    weights = np.array([1, 2, 3], np.float32)
    told = describe(candidates, Selection(np.array([1, 3, 4]), weights), Selection(np.array([0, 1, 2])))
    assert told == {
        "num_candidates": 5,
        "num_selected": 3,
        "oldest": 10,
        "newest": 40,
        "new_share": pytest.approx(2 / 3),
        "labels": {"1": 2, "0": 1},
        "candidate_labels": {"0": 2, "1": 2, "2": 1},
        "arrived": {"0": 1, "1": 2},
        "candidates_arrived": {"0": 3, "1": 2},
        "overlap": pytest.approx(1 / 3),
        "never_used": 0,
        "weights": {"min": 1, "q25": 1.5, "median": 2, "q75": 2.5, "max": 3, "mean": 2},
    }
