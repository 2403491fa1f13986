"""A run's tables, against values worked out by hand."""

from pathlib import Path

import pandas as pd
import pytest

from modyn.errors import NotFound
from modyn.run import TABLES, Run
from modyn.runlog import RunLog
from tests.reports.journals import DAY, JAN, Journal, small_run


def mean(run: Run, model: str, metric: str = "accuracy") -> float:
    scores = run.scores.set_index(["model", "metric"])
    return float(scores.loc[(model, metric), "mean"])


def test_the_score_of_a_run_is_the_mean_over_windows_of_its_active_model(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    assert mean(run, "active") == pytest.approx((0.6 + 0.8) / 2)
    assert mean(run, "trained") == pytest.approx((0.7 + 0.8) / 2)
    assert mean(run, "never-retrained") == pytest.approx(0.6)
    assert mean(run, "majority-class") == pytest.approx(0.5)
    assert mean(run, "no-change") == pytest.approx((0.55 + 0.55 + 0.4) / 3)


def test_undefined_windows_are_left_out_of_the_mean_and_counted(tmp_path: Path) -> None:
    active = small_run(tmp_path).scores.set_index("model").loc["active"]
    assert (active["num_windows"], active["num_undefined"]) == (2, 1)


def test_an_undefined_score_keeps_its_reason(tmp_path: Path) -> None:
    table = small_run(tmp_path).composite
    active = table[table["model"] == "active"].set_index("window")
    assert active.loc[0, "reason"] == "no checkpoint yet"
    assert active.loc[2, "reason"] == "only one class"
    assert active["value"].isna().tolist() == [True, False, True, False]


def test_rounds_have_what_each_station_logged(tmp_path: Path) -> None:
    rounds = small_run(tmp_path, seconds=3.0).rounds
    assert rounds["round"].tolist() == [0, 1, 2]
    last = rounds.iloc[2]
    assert (last["num_samples"], last["num_candidates"], last["num_selected"], last["num_trained"]) == (
        100,
        300,
        100,
        200,
    )
    assert last["end_time"] == pd.Timestamp("2013-04-01", tz="UTC")
    assert last["checkpoint"] == "flights-1-c2"
    assert last["epochs"] == 2
    assert last["seconds"] == pytest.approx(0.1 + 3.0 + 0.05 + 0.5)
    assert last["seconds_load"] == 0.0


def test_retraining_seconds_leave_evaluation_out(tmp_path: Path) -> None:
    run = small_run(tmp_path, seconds=2.0)
    assert run.seconds == pytest.approx(3 * 2.65)
    assert run.retraining_seconds == pytest.approx(3 * 2.15)


def test_costs_of_a_round_that_was_not_finished_are_no_retraining(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0, seconds=2.0)
    journal.round(1, seconds=9.0, finish=False)
    run = journal.close()
    assert run.retraining_seconds == pytest.approx(2.15)
    assert run.seconds == pytest.approx(2.65 + 9.65)


def test_times_are_utc_and_exact_to_the_microsecond(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0)
    newest = journal.close().selections["newest"].iloc[0]
    assert newest == pd.Timestamp(JAN + 30 * DAY - 1, unit="us", tz="UTC")


def test_times_beyond_the_year_2262_can_be_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    far = 32_503_680_000_000_000  # the year 3000
    journal.log.append("windows", windows=[{"start": far, "end": far + DAY, "num_samples": 1}])
    assert journal.close().windows["start"].iloc[0].year == 3000


def test_a_run_without_its_composite_event_derives_it_from_the_rounds(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    checkpoints = [journal.round(n) for n in range(2)]
    journal.evaluated(checkpoints[0], {"accuracy": [0.9, 0.6, 0.6, 0.6]})
    journal.evaluated(checkpoints[1], {"accuracy": [0.9, 0.8, 0.7, 0.7]})
    journal.log.append("run-stopped", reason="interrupted by the user")
    run = journal.close()
    table = run.composite
    active = table[table["model"] == "active"]["checkpoint"].tolist()
    trained = table[table["model"] == "trained"]["checkpoint"].tolist()
    assert active == [None, "flights-1-c0", "flights-1-c1", "flights-1-c1"]
    assert trained == ["flights-1-c0", "flights-1-c1", "flights-1-c1", "flights-1-c1"]
    assert (run.status, run.why) == ("stopped", "interrupted by the user")


def test_a_checkpoint_that_was_not_evaluated_on_a_window_is_undefined_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    checkpoint = journal.round(0)
    journal.evaluated(checkpoint, {"accuracy": [0.9, 0.6]})
    table = journal.close().composite
    active = table[table["model"] == "active"].set_index("window")
    assert active.loc[2, "reason"] == "not evaluated"


def test_the_last_score_of_a_checkpoint_on_a_window_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    checkpoint = journal.round(0)
    journal.evaluated(checkpoint, {"accuracy": [0.1, 0.1, 0.1, 0.1]})
    journal.evaluated(checkpoint, {"accuracy": [0.2, 0.2, 0.2, 0.2]})
    assert journal.close().evaluations["value"].tolist() == [0.2] * 4


def test_an_unfinished_round_is_shown_as_such_and_not_counted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0)
    journal.round(1, finish=False)
    run = journal.close()
    assert run.rounds["finished"].tolist() == [True, False]
    assert run.num_rounds == 1


def test_costs_of_a_finished_round_are_not_counted_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0, seconds=2.0)
    assert journal.close().costs.groupby("station")["seconds"].sum()["train"] == pytest.approx(2.0)


def test_numbers_of_the_trigger_are_columns_nested_ones_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log.append("trigger-checked", key=9, timestamp=JAN, fired=True, mmd={"distance": 0.5, "threshold": 0.4})
    table = journal.close().triggers
    assert table.loc[0, "mmd.distance"] == 0.5
    assert table.loc[0, "timestamp"] == pd.Timestamp("2013-01-01", tz="UTC")


@pytest.mark.parametrize("events", ["none", "started", "begun round"])
def test_every_table_of_a_run_with_little_in_it_can_be_read(tmp_path: Path, events: str) -> None:
    if events == "none":
        log = RunLog.create(tmp_path, "empty")
        log.close()
        run = Run(log)
    else:
        journal = Journal(tmp_path)
        if events == "begun round":
            journal.log.append(
                "round-started",
                round=0,
                trigger="every",
                start_key=0,
                end_key=1,
                start_time=None,
                end_time=None,
                num_samples=0,
            )
        run = journal.close()
    for table in TABLES:
        getattr(run, table)
        run.to_arrow(table)
    assert run.status == "interrupted"
    assert "interrupted" in repr(run)


def test_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    with run.log.path.open("ab") as file:
        file.write(b'{"seq":99,"at":1,"kind":"round-sta')
    assert Run(RunLog.find(tmp_path, run.id)).rounds.equals(run.rounds)


def test_a_run_in_progress_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert Run(RunLog.find(tmp_path, "flights-1")).status == "running"
    journal.log.close()


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log.append("run-failed", error="the loss is NaN")
    run = journal.close()
    assert (run.status, run.why) == ("failed", "the loss is NaN")


def test_a_resumed_run_no_longer_says_why_it_stopped(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log.append("run-stopped", reason="interrupted by the user")
    journal.start()
    assert journal.finish(0).why == ""


@pytest.mark.parametrize("table", TABLES)
def test_every_table_goes_to_arrow_with_the_same_columns(tmp_path: Path, table: str) -> None:
    run = small_run(tmp_path)
    assert run.to_arrow(table).column_names == list(getattr(run, table).columns)


def test_arrow_tables_hold_dicts_as_text(tmp_path: Path) -> None:
    labels = small_run(tmp_path).to_arrow("selections")["labels"]
    assert labels[0].as_py() == '{"0": 60, "1": 40}'


def test_a_misspelt_table_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Did you mean 'rounds'"):
        small_run(tmp_path).to_arrow("round")


def test_repr_tells_status_rounds_and_scores(tmp_path: Path) -> None:
    text = repr(small_run(tmp_path))
    assert "flights-1 (flights): finished, 3 rounds, 8.0 s" in text
    assert "active          accuracy 0.700" in text


def test_the_notebook_view_escapes_names(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    run.started["pipeline"]["name"] = "<script>alert(1)</script>"
    assert "<script>" not in run._repr_html_()
