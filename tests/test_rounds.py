"""The rounds of a run, where one was begun more than once."""

from modyn import rounds
from modyn.runlog import Event


def events(*kinds: tuple[str, int, int | None]) -> list[Event]:
    return [
        Event(seq, seq, kind, number, {} if epoch is None else {"epoch": epoch})
        for seq, (kind, number, epoch) in enumerate(kinds)
    ]


def test_a_round_that_is_trained_anew_has_the_epochs_of_the_last_time() -> None:
    told = events(
        ("round-started", 0, None), ("epoch", 0, 0), ("epoch", 0, 1), ("epoch", 0, 2), ("epoch", 0, 0), ("epoch", 0, 1)
    )  # fmt: skip
    assert [event.seq for event in rounds.last_epochs(told)] == [4, 5]
    assert rounds.row(0, told, {})["epochs"] == 2


def test_what_a_skipped_round_leaves_behind_is_not_part_of_the_next() -> None:
    told = events(
        ("round-started", 0, None), ("epoch", 0, 0), ("epoch", 0, 1), ("selected", 0, None), ("round-started", 0, None), ("epoch", 0, 0),
        ("round-started", 1, None), ("epoch", 1, 0),
    )  # fmt: skip
    assert [event.seq for event in rounds.last_epochs(told)] == [5, 7]
    assert [event.seq for event in rounds.by_number(told)[0]] == [4, 5]
