"""The sentences at the top claim what the numbers carry, and no more."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from modyn.reports import compare
from modyn.reports.summary import summary
from modyn.run import Run
from tests.reports.journals import Journal, small_run


def run_of(
    runs: Path,
    active: Sequence[float | None],
    never: Sequence[float | None],
    *,
    metric: str = "accuracy",
    higher: bool = True,
    guess: float = 0.5,
) -> Run:
    """A run of two checkpoints, the second of which is active in every window but the first two."""
    count = len(active) + 2
    journal = Journal(runs, "run", num_windows=count, metrics=[(metric, higher)])
    first, second = journal.round(0), journal.round(1)
    journal.evaluated(first, {metric: [0.9, 0.9, *never]})
    journal.evaluated(second, {metric: [0.9, 0.9, *active]})
    journal.evaluated(None, {metric: [guess] * count}, baseline="majority-class")
    journal.composite([None, None, *[second] * len(active)], [first, second, *[second] * len(active)])
    return journal.finish(2)


def said_of(run: Run) -> str:
    return summary(compare(run)).splitlines()[0]


def test_an_improvement_is_told_with_both_means_the_windows_and_the_cost(tmp_path: Path) -> None:
    text = said_of(run_of(tmp_path, [0.7, 0.72, 0.7, 0.72], [0.6, 0.61, 0.6, 0.61]))
    assert "improved the mean accuracy from 0.605 (its first checkpoint, never retrained) to 0.710" in text
    assert "better in 4 of 4 windows, with 2 trainings in 4.3 s" in text


def test_a_lower_loss_is_an_improvement(tmp_path: Path) -> None:
    text = said_of(run_of(tmp_path, [0.3, 0.3, 0.31], [0.5, 0.5, 0.52], metric="log-loss", higher=False, guess=0.6))
    assert "improved the mean log-loss from 0.507" in text
    assert "Guessing without a model scores higher, which is worse: majority class 0.600" in text


def test_a_loss_is_said_plainly(tmp_path: Path) -> None:
    assert "made the model worse" in said_of(run_of(tmp_path, [0.6, 0.61, 0.6], [0.7, 0.7, 0.71]))


def test_differences_within_their_spread_are_not_called_differences(tmp_path: Path) -> None:
    text = said_of(run_of(tmp_path, [0.7, 0.6, 0.7, 0.6], [0.6, 0.7, 0.61, 0.68]))
    assert "made no clear difference" in text
    assert "better in 2 of 4 windows" in text


def test_equal_scores_are_no_difference(tmp_path: Path) -> None:
    assert "made no clear difference" in said_of(run_of(tmp_path, [0.7, 0.7, 0.7], [0.7, 0.7, 0.7]))


def test_two_windows_are_too_few_to_tell(tmp_path: Path) -> None:
    assert "too few to tell" in said_of(small_run(tmp_path))


def test_a_model_that_does_not_beat_guessing_is_called_out(tmp_path: Path) -> None:
    text = said_of(run_of(tmp_path, [0.7, 0.7, 0.71], [0.6, 0.6, 0.6], guess=0.9))
    assert "a guess without a model does as well or better: majority class 0.900" in text


def test_windows_without_a_defined_score_are_left_out_and_said_so(tmp_path: Path) -> None:
    text = said_of(run_of(tmp_path, [0.7, None, 0.72, 0.7], [0.6, None, 0.61, 0.6]))
    assert "better in 3 of 3 windows" in text
    assert "Left out: 1 window without a defined accuracy" in text


def test_a_run_undefined_everywhere_gets_no_score(tmp_path: Path) -> None:
    assert "has no defined accuracy in any window" in said_of(run_of(tmp_path, [None, None], [None, None]))


def test_a_run_without_a_finished_round_is_not_judged(tmp_path: Path) -> None:
    assert "has finished no training" in said_of(Journal(tmp_path).close())


def test_a_run_trained_once_is_not_said_to_be_retrained(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    checkpoint = journal.round(0)
    journal.evaluated(checkpoint, {"accuracy": [0.9, 0.6, 0.6, 0.6]})
    journal.composite([None, checkpoint, checkpoint, checkpoint], [checkpoint] * 4)
    text = said_of(journal.finish(1))
    assert "trained once, in 2.1 s, and scored a mean accuracy of 0.600 over 3 windows" in text
    assert "improved" not in text


def test_several_runs_are_told_with_their_front(tmp_path: Path) -> None:
    text = summary(
        compare([small_run(tmp_path, "good", seconds=1.0), small_run(tmp_path, "bad", gain=0.01, seconds=9.0)])
    )
    assert "on the Pareto front of accuracy against seconds of retraining: good." in text
    assert "Beaten (something else is at least as good for no more seconds): bad." in text


def test_the_policies_are_told_as_the_pipeline_has_them(tmp_path: Path) -> None:
    assert "(when: every (interval 30d); on: all)" in said_of(small_run(tmp_path))


def test_summary_without_metrics_says_so(tmp_path: Path) -> None:
    assert summary(compare(Journal(tmp_path, metrics=[]).close())).startswith("Nothing was evaluated")


@pytest.mark.parametrize("metric", ["accuracy", "log-loss"])
def test_a_metric_can_be_chosen(tmp_path: Path, metric: str) -> None:
    journal = Journal(tmp_path, metrics=[("accuracy", True), ("log-loss", False)])
    assert "nothing to judge" in summary(compare(journal.close()), metric)
