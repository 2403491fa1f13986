"""Runs side by side, and the Pareto front."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from modyn.errors import RunError
from modyn.reports import compare, pareto_front
from modyn.reports.terminal import comparison_table
from tests.reports.journals import Journal, long_run, small_run

points = st.lists(st.tuples(st.integers(0, 5), st.one_of(st.integers(0, 5), st.just(float("nan")))), max_size=12)


@given(points)
def test_a_point_is_on_the_front_unless_another_is_as_good_in_both_and_better_in_one(
    pairs: list[tuple[int, float]],
) -> None:
    front = pareto_front([c for c, _ in pairs], [s for _, s in pairs])
    for (cost, score), on_front in zip(pairs, front, strict=True):
        beaten = any(c <= cost and s >= score and (c < cost or s > score) for c, s in pairs)
        assert on_front == (score == score and not beaten)


@given(points)
def test_there_is_a_front_if_any_score_is_defined(pairs: list[tuple[int, float]]) -> None:
    front = pareto_front([c for c, _ in pairs], [s for _, s in pairs])
    assert front.any() == any(s == s for _, s in pairs)


@given(points)
def test_lower_is_better_mirrors_higher_is_better(pairs: list[tuple[int, float]]) -> None:
    costs, scores = [c for c, _ in pairs], [s for _, s in pairs]
    mirrored = pareto_front(costs, [-s for s in scores], higher_is_better=False)
    assert np.array_equal(pareto_front(costs, scores), mirrored)


def test_a_comparison_has_runs_above_and_baselines_below(tmp_path: Path) -> None:
    table = compare([small_run(tmp_path, "a"), small_run(tmp_path, "b", gain=0.05, seconds=1.0)]).table
    assert table["name"].tolist() == ["a", "b", "never retrained", "majority class", "no change"]
    assert table["kind"].tolist()[:2] == ["run", "run"]


def test_first_checkpoints_that_differ_are_named_by_their_runs(tmp_path: Path) -> None:
    table = compare([long_run(tmp_path, "a", seed=1), long_run(tmp_path, "b", seed=2)]).table
    assert table["name"].tolist()[2:4] == ["a (first checkpoint)", "b (first checkpoint)"]


def test_a_run_trained_once_stands_for_the_first_checkpoint_that_it_equals(tmp_path: Path) -> None:
    once = Journal(tmp_path, "once")
    checkpoint = once.round(0)
    once.evaluated(checkpoint, {"accuracy": [0.9, 0.6, None, 0.6]})
    once.composite([None, checkpoint, checkpoint, checkpoint], [checkpoint] * 4)
    table = compare([once.finish(1), small_run(tmp_path, "often")]).table
    assert "never-retrained" not in table["model"].tolist()


def test_scores_and_costs_of_a_comparison_are_those_of_the_runs(tmp_path: Path) -> None:
    table = compare(small_run(tmp_path, "a", gain=0.1, seconds=2.0)).table.set_index("name")
    assert table.loc["a", "accuracy"] == pytest.approx(0.7)
    assert table.loc["a", "accuracy trained"] == pytest.approx(0.75)
    assert table.loc["a", "retraining_seconds"] == pytest.approx(6.45)
    assert table.loc["a", "seconds_train"] == pytest.approx(6.0)
    assert table.loc["a", "samples_trained"] == 600
    assert table.loc["never retrained", "retraining_seconds"] == pytest.approx(2.15)
    assert table.loc["majority class", "rounds"] == 0


def test_baselines_are_averaged_over_the_same_windows_as_the_runs(tmp_path: Path) -> None:
    table = compare(small_run(tmp_path)).table.set_index("name")
    assert table.loc["no change", "accuracy"] == pytest.approx((0.55 + 0.4) / 2)


def test_the_front_leaves_out_the_costlier_and_worse_run(tmp_path: Path) -> None:
    comparison = compare(
        [small_run(tmp_path, "good", gain=0.1, seconds=1.0), small_run(tmp_path, "bad", gain=0.05, seconds=5.0)]
    )
    front = comparison.table.set_index("name")["front"]
    assert front["good"]
    assert not front["bad"]
    assert not front["majority class"]


def test_runs_of_one_name_are_called_by_their_ids(tmp_path: Path) -> None:
    table = compare([small_run(tmp_path, "a"), small_run(tmp_path, "a")]).table
    assert table["name"].tolist()[:2] == ["a-1", "a-2"]


def test_means_go_over_the_windows_that_all_runs_share(tmp_path: Path) -> None:
    late = Journal(tmp_path, "late")
    checkpoint = late.round(2)
    late.evaluated(checkpoint, {"accuracy": [0.9, 0.9, 0.9, 0.7]})
    late.composite([None, None, None, checkpoint], [checkpoint] * 4)
    comparison = compare([small_run(tmp_path, "early"), late.finish(1)])
    table = comparison.table.set_index("name")
    assert table.loc["early", "accuracy"] == pytest.approx(0.8)
    assert table.loc["late", "accuracy"] == pytest.approx(0.7)
    assert table.loc["early", "accuracy windows"] == 1
    assert any("1 of 3 windows" in note for note in comparison.notes)


def test_runs_of_different_datasets_are_said_not_to_be_comparable(tmp_path: Path) -> None:
    other = small_run(tmp_path, "other")
    dict.__setitem__(other.started, "dataset", "taxis")  # type: ignore[arg-type]
    assert any("not comparable" in note for note in compare([small_run(tmp_path), other]).notes)


def test_runs_that_share_no_metric_are_compared_by_cost_alone(tmp_path: Path) -> None:
    other = Journal(tmp_path, "other", metrics=[("mae", False)])
    other.round(0)
    comparison = compare([small_run(tmp_path), other.finish(1)])
    assert comparison.headline is None
    assert "The runs share no metric." in comparison.notes
    assert "trainings" in repr(comparison)


def test_an_unfinished_run_is_named_in_the_notes_and_in_the_table(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "half")
    journal.round(0)
    journal.log.append("run-stopped", reason="interrupted by the user")
    comparison = compare([small_run(tmp_path), journal.close()])
    assert any("half (stopped)" in note for note in comparison.notes)
    assert "stopped" in repr(comparison)


def test_comparing_nothing_is_refused() -> None:
    with pytest.raises(RunError, match="no run"):
        compare([])


def test_the_terminal_table_fits_eighty_columns_and_shows_every_score(tmp_path: Path) -> None:
    runs = [long_run(tmp_path, "flights-monthly", seed=1), long_run(tmp_path, "flights-all", seed=2)]
    console = Console(width=80, record=True, file=StringIO())
    comparison = compare(runs)
    console.print(comparison_table(comparison))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= 80
    for metric in comparison.metrics:
        assert f"{comparison.table[metric].iloc[0]:.3f}" in text


def test_a_narrow_terminal_leaves_out_columns_rather_than_breaking_names(tmp_path: Path) -> None:
    runs = [long_run(tmp_path, name, seed=1) for name in ("flights-performance", "flights-monthly-with-much")]
    comparison = compare(runs)
    shown = {}
    for width in (70, 100, 160):
        console = Console(width=width, record=True, file=StringIO())
        console.print(comparison_table(comparison, width=width))
        shown[width] = console.export_text()
        assert "flights-performance" in shown[width]
        assert "flights-monthly-with-much" in shown[width]
        assert all(f"{comparison.table[metric].iloc[0]:.3f}" in shown[width] for metric in comparison.metrics)
    assert "evaluation" in shown[160]
    assert "evaluation" not in shown[70]


def test_runs_of_one_pipeline_go_by_what_they_were_called(tmp_path: Path) -> None:
    runs = [small_run(tmp_path, name) for name in ("weekly", "daily")]
    for run in runs:
        dict.__setitem__(run.started["pipeline"], "name", "flights")
    assert list(compare(runs).table["name"][:2]) == ["weekly", "daily"]
    assert list(compare([runs[0], small_run(tmp_path, "weekly")]).table["name"][:2]) == ["weekly-1", "weekly-2"]


def test_names_with_markup_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(tmp_path, "plain")
    monkeypatch.setattr(type(run), "called", "[bold red]x[/]")
    console = Console(width=100, record=True, file=StringIO())
    console.print(comparison_table(compare(run)))
    assert "[bold red]x[/]" in console.export_text()


def test_the_notebook_view_escapes_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(tmp_path)
    monkeypatch.setattr(type(run), "called", "<img src=x>")
    shown = compare(run)._repr_html_()
    assert "&lt;img" in shown
    assert "<img" not in shown
