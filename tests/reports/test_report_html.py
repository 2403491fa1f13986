"""The report is one safe, self-contained file that says what is undefined and what went wrong."""

import html
import json
import re
import time
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from modyn.errors import RunError
from modyn.reports import write_html
from modyn.reports.html import report_html
from modyn.run import Run
from modyn.runlog import RunLog
from tests.reports.journals import Journal, choosy_run, long_run, small_run

MEGABYTE = 1_000_000


def page_without_plotly(text: str) -> str:
    """The page, less Plotly's own script."""
    start = text.index("<script>") + len("<script>")
    return text[:start] + text[text.index("</script>", start) :]


def charts_of(text: str) -> dict[str, dict[str, Any]]:
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    charts: dict[str, dict[str, Any]] = json.loads(data[1])
    return charts


def test_one_window_shows_every_model_as_a_point(tmp_path: Path) -> None:
    journal = Journal(tmp_path, num_windows=1)
    journal.evaluated(journal.round(0), {"accuracy": [0.7]}, round=0)
    journal.evaluated(None, {"accuracy": [0.6]}, baseline="majority-class")
    chart = charts_of(report_html([journal.close()]))["score-over-time"]
    (figure,) = chart.values()
    assert len(figure["data"]) >= 2
    assert {trace["mode"] for trace in figure["data"]} <= {"lines+markers", "markers"}
    assert figure["layout"]["xaxis"]["range"] == ["2013-01-01 00:00:00", "2013-01-31 00:00:00"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    runs = tmp_path_factory.mktemp("runs")
    never = long_run(runs, "never", seed=2, every=12)
    return report_html([never, long_run(runs, "drift", seed=1, drift=True), long_run(runs, "monthly", seed=4)])


@pytest.mark.slow
def test_a_report_of_three_big_runs_is_made_in_seconds_and_stays_small(tmp_path: Path) -> None:
    metrics = [(f"metric-{m}", m < 4) for m in range(5)]
    runs = [long_run(tmp_path, f"run{n}", seed=n, num_rounds=50, metrics=metrics) for n in range(3)]
    before = time.perf_counter()
    path = write_html(runs, tmp_path / "report.html")
    assert time.perf_counter() - before < 8
    assert path.stat().st_size < 8 * MEGABYTE


def test_plotly_stands_in_the_file_once(page: str) -> None:
    assert len(re.findall(r"plotly\.js v\d", page)) == 1


def test_nothing_is_loaded_from_outside(page: str) -> None:
    text = page_without_plotly(page)
    assert not re.findall(r"https?:", text)
    assert not re.findall(r"\ssrc=|@import|url\(", text)
    assert "default-src 'none'" in text


def test_every_figure_is_valid_for_plotly(page: str, tmp_path: Path) -> None:
    for chart, figures in (charts_of(page) | selection_charts_of(choosy_run(tmp_path))).items():
        for choice, figure in figures.items():
            painted = re.sub(r'"\$[a-z0-9-]+"', '"#123456"', json.dumps(figure))
            parts = json.loads(painted)
            go.Figure(data=parts["data"], layout=parts["layout"])
            assert figure["caption"], f"{chart} {choice}"


def test_every_chart_that_the_issue_names_is_there(page: str) -> None:
    charts = set(charts_of(page))
    assert {"score-over-time", "score-against-cost", "firings", "trigger-1"} <= charts
    for number in range(3):
        assert {f"{kind}-{number}" for kind in ("matrix", "data", "costs", "selection", "ages", "loss")} <= charts


def test_every_metric_can_be_chosen_in_every_chart_of_scores(page: str) -> None:
    charts, metrics = charts_of(page), {"roc-auc", "accuracy", "log-loss"}
    assert set(charts["score-over-time"]) == metrics
    assert set(charts["matrix-1"]) == metrics
    assert {choice.partition("|")[0] for choice in charts["score-against-cost"]} == metrics


def test_a_run_has_one_colour_in_all_charts(page: str) -> None:
    charts = charts_of(page)
    line = next(t for t in charts["score-over-time"]["roc-auc"]["data"] if t["name"] == "drift")
    point = next(t for t in charts["score-against-cost"]["roc-auc|rounds"]["data"] if t["name"] == "drift")
    mark = next(t for t in charts["firings"]["*"]["data"] if t["name"] == "drift")
    assert {line["line"]["color"], point["marker"]["color"], mark["marker"]["color"]} == {"$run1"}


def test_undefined_cells_of_the_time_matrix_are_empty_crossed_and_explained(tmp_path: Path) -> None:
    figure = charts_of(report_html(small_run(tmp_path)))["matrix-0"]["accuracy"]
    heat, squares, crosses = figure["data"]
    assert [row[2] for row in heat["z"]] == [None, None, None]
    assert crosses["name"] == "undefined"
    assert all("undefined: only one class" in text for text in crosses["text"])
    assert len(crosses["text"]) == 3
    assert squares["y"] == [text.partition("<br>")[0] for text in crosses["text"]]


def test_undefined_scores_are_never_zero_on_the_curve(tmp_path: Path) -> None:
    line, lost, *_ = charts_of(report_html(small_run(tmp_path)))["score-over-time"]["accuracy"]["data"]
    assert line["y"] == [0.6, None, 0.8]
    assert "accuracy undefined: only one class" in lost["text"][0]


def test_windows_are_printed_half_open(page: str) -> None:
    assert "[2013-01-31, 2013-03-02)" in json.dumps(charts_of(page)["score-over-time"])


def test_the_trigger_chart_has_distances_bounds_and_trainings(page: str) -> None:
    figure = charts_of(page)["trigger-1"]["*"]
    drawn = [(trace["name"], trace.get("yaxis", "y")) for trace in figure["data"]]
    assert drawn == [
        ("measured", "y2"),
        ("bound", "y2"),
        ("beyond its bound", "y2"),
        ("measured", "y3"),
        ("trained", "y"),
    ]
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["distance", "p_value"]
    assert len(figure["data"][2]["x"]) == 12
    assert set(figure["data"][1]["y"]) == {0.058}


def test_the_trigger_chart_draws_each_quantity_once_and_tells_votes_from_trainings(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    numbers = {"distance": 0.2, "threshold": 0.01, "p_value": 0.005, "fired": True, "of": "p-value", "measured": 0.005}
    for key in range(3):
        place = {"key": key, "timestamp": key * 1_000_000}
        vote = {"trigger": "drift", "part_of": "cooldown", "fired": True, "distance": 0.2, "threshold": 0.01}
        journal.log.append(
            "trigger-checked", **place, **vote, metrics={"chi2": numbers}, num_reference=9, num_current=9
        )
        journal.log.append(
            "trigger-checked", **place, trigger="cooldown", fired=key == 2, reason="the child fired", allowed=True
        )
    journal.round(0)
    figure = charts_of(report_html(journal.close()))["trigger-0"]["*"]
    labels = [note["text"] for note in figure["layout"]["annotations"]]
    assert labels == ["chi2: p-value (log scale)", "chi2: distance"]
    assert figure["caption"].startswith("Each point is a check (3 checks of drift).")
    assert "what the whole trigger decided" in figure["caption"]
    assert [len(trace["x"]) for trace in figure["data"] if trace["name"] == "trained"] == [1]
    bound = next(trace for trace in figure["data"] if trace["name"] == "bound")
    assert bound["y"] == [0.01] * 3


def test_costs_add_up_over_rounds_and_stations(tmp_path: Path) -> None:
    data = charts_of(report_html(small_run(tmp_path, seconds=2.0)))["costs-0"]["*"]["data"]
    bars = {trace["name"]: trace["y"] for trace in data if trace["type"] == "bar"}
    sums = {trace["name"]: trace["y"] for trace in data if trace["type"] == "scatter"}
    assert bars == {"select": [0.1] * 3, "train": [2.0] * 3, "evaluate": [0.5] * 3, "store": [0.05] * 3}
    assert sums["train"] == [2.0, 4.0, 6.0]


def test_label_shares_of_a_round_add_up_to_one(page: str) -> None:
    bars = [t for t in charts_of(page)["selection-1"]["*"]["data"] if t["name"].startswith("label")]
    for shares in zip(*(bar["y"] for bar in bars), strict=True):
        assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_many_labels_are_gathered_under_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0, labels={str(n): 20 - n for n in range(15)})
    names = [t["name"] for t in charts_of(report_html(journal.close()))["selection-0"]["*"]["data"]]
    assert names[:11] == [*(f"label {n}" for n in range(10)), "5 other labels"]


def selection_charts_of(run: Run) -> dict[str, dict[str, Any]]:
    return {
        name: figures for name, figures in charts_of(report_html(run)).items() if name.startswith(("select", "ages"))
    }


def selection_charts(run: Run) -> dict[str, Any]:
    return {name: figures["*"] for name, figures in selection_charts_of(run).items()}


def test_what_was_selected_is_shown_per_class_and_per_age_beside_the_candidates(tmp_path: Path) -> None:
    shown = selection_charts(choosy_run(tmp_path))
    by_name = {trace["name"]: trace for chart in ("selection-0", "ages-0") for trace in shown[chart]["data"]}
    ages = ["this round&#x27;s data", "1 round old", "2 or 3 rounds old", "4 to 7 rounds old", "older"]
    assert list(by_name) == ["label 0", "label 1", *ages]
    assert by_name["label 1"]["y"][3] == pytest.approx(1 - 33 / 100)
    assert by_name["label 1"]["text"][3] == "round 3, label 1: 67.0% (67 samples)<br>25.0% of the candidates"
    assert by_name["2 or 3 rounds old"]["y"][3] == pytest.approx(2 * 25 / 100)
    assert "(50 samples)<br>50.0% of the candidates" in by_name["2 or 3 rounds old"]["text"][3]
    for shares in zip(*(by_name[name]["y"] for name in ages), strict=True):
        assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert by_name["older"]["y"][8] == pytest.approx(0.1, abs=0.02)


def test_overlap_samples_never_used_and_weights_are_shown(tmp_path: Path) -> None:
    figure = selection_charts(choosy_run(tmp_path))["selecting-0"]
    by_name = {trace["name"]: trace for trace in figure["data"]}
    assert set(by_name["selected"]["y"]) == {0.25}
    assert by_name["selected before too"]["y"][0] is None
    assert all(0.2 <= share <= 0.5 for share in by_name["selected before too"]["y"][1:])
    assert by_name["never used"]["y"][:2] == [0.75, pytest.approx(0.635)]
    assert "weights 0.200 to 4.000" in by_name["median weight"]["text"][2]
    assert figure["layout"]["yaxis2"]["title"]["text"] == "weight"
    plain = selection_charts(choosy_run(tmp_path, "plain", weighted=False))["selecting-0"]
    assert "yaxis2" not in plain["layout"]
    assert "weight" not in plain["caption"]


def test_widely_spread_weights_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    spread = {"min": 1.0, "q25": 2.0, "median": 5.0, "q75": 40.0, "max": 900.0, "mean": 50.0}
    journal.round(0, selected={"weights": spread})
    assert selection_charts(journal.close())["selecting-0"]["layout"]["yaxis2"]["type"] == "log"


def test_a_run_that_takes_everything_has_no_chart_of_how_it_selected(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0, selected={"num_candidates": 100, "weights": None})
    assert set(selection_charts(journal.close())) == {"selection-0", "ages-0"}


def test_rounds_that_chose_within_batches_say_what_is_shown(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0, selected={"batch_share": 0.25})
    assert "trained on 0.25 of each large batch" in selection_charts(journal.close())["selection-0"]["caption"]


def test_unlabelled_samples_still_have_ages(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0, selected={"labels": None, "arrived": {"0": 100}, "candidates_arrived": {"0": 100}})
    shown = selection_charts(journal.close())
    assert set(shown) == {"ages-0"}
    assert [trace["name"] for trace in shown["ages-0"]["data"]] == ["this round&#x27;s data"]


def test_journals_from_before_these_fields_still_have_a_report(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0)
    assert "from the newest to the oldest" in selection_charts(journal.close())["ages-0"]["caption"]


def test_what_users_write_cannot_become_html(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    pipeline = {"name": evil, "trigger": {evil: {evil: evil}}, "selector": evil}
    journal = Journal(tmp_path, "evil", metrics=[(evil, True)], pipeline=pipeline)
    checkpoint = journal.round(0, labels={evil: 1})
    journal.round(1, labels={evil: 1})
    journal.log.append("trigger-checked", key=1, timestamp=0, **{evil: 1.0})
    journal.evaluated(checkpoint, {evil: [0.5, None, 0.5, 0.5]}, reason=evil)
    journal.evaluated(None, {evil: [0.5, None, 0.5, 0.5]}, baseline=evil, reason=evil)
    journal.log.append("warning", message=evil)
    journal.log.append("run-failed", error=evil)
    run = journal.close()
    for text in (report_html(run), report_html([run, small_run(tmp_path)])):
        rest = page_without_plotly(text)
        assert "<img" not in rest
        assert "<script>alert" not in rest
        assert html.escape(evil) in rest
        assert rest.count("<script") == 3
        for figures in charts_of(text).values():
            for figure in figures.values():
                assert "<img" not in json.dumps([figure["data"], figure["layout"]])


def test_a_failed_run_says_so_and_why_before_anything_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.round(0)
    journal.log.append("run-failed", error="round 1: the loss became NaN")
    text = report_html(journal.close())
    assert 'class="banner failed"' in text
    assert text.index("round 1: the loss became NaN") < text.index('id="summary"')


@pytest.mark.parametrize("status", ["running", "stopped", "interrupted"])
def test_a_run_that_did_not_finish_says_so(tmp_path: Path, status: str) -> None:
    journal = Journal(tmp_path)
    journal.round(0)
    if status == "stopped":
        journal.log.append("run-stopped", reason="interrupted by the user")
    if status == "running":
        text = report_html(Run(RunLog.find(tmp_path, "flights-1")))
        journal.log.close()
    else:
        text = report_html(journal.close())
    assert f'class="banner {status}"' in text


def test_a_finished_run_has_no_banner(tmp_path: Path) -> None:
    assert 'role="status"' not in report_html(small_run(tmp_path))


def test_a_run_that_never_began_has_a_report(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path, "empty")
    log.close()
    text = report_html(Run(log))
    assert "Nothing was evaluated" in text
    assert "No round was started" in text


def test_config_versions_seed_commit_and_warnings_are_shown(page: str) -> None:
    for text in ("interval: 30d", "2.14.1", "0123abc", "window 6 has one class only"):
        assert text in page
    assert "<dt>seed</dt><dd>7</dd>" in page


def test_a_report_is_written_into_new_folders(tmp_path: Path) -> None:
    path = small_run(tmp_path).report(tmp_path / "new" / "folder" / "report.html")
    assert path.read_text().startswith("<!doctype html>")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        write_html(small_run(tmp_path), tmp_path / "file" / "report.html")


def test_the_same_journals_give_the_same_file(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    assert report_html(run) == report_html(Run(RunLog.find(tmp_path, run.id)))


def test_a_last_window_beyond_the_stream_does_not_thin_the_data_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    windows = [dict(window) for window in journal.windows]
    windows[-1]["end"] += 30 * 86_400_000_000
    journal.log.append("windows", windows=windows)
    figure = charts_of(report_html(journal.close()))["data-0"]["*"]
    assert figure["data"][0]["y"][-1] == pytest.approx(103 / 30, rel=1e-4)


def test_overlapping_windows_show_data_by_round(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    start, width = journal.windows[0]["start"], 60 * 86_400_000_000
    windows = [
        {"start": start + n * width // 2, "end": start + n * width // 2 + width, "num_samples": 9} for n in range(3)
    ]
    journal.log.append("windows", windows=windows)
    journal.round(0)
    figure = charts_of(report_html(journal.close()))["data-0"]["*"]
    assert "in each round" in figure["caption"]
    assert figure["data"][0]["y"] == [pytest.approx(100 / 30, rel=1e-4)]
