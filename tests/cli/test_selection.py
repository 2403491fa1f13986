"""``modyn selection show``, as a user types it, on real runs."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import modyn as package
from modyn.datasets import Dataset
from modyn.runlog import RunLog
from modyn.selectors import stored
from modyn.workspace import Workspace
from tests.cli.test_commands import Modyn, modyn

__all__ = ["modyn"]

Write = Callable[..., Path]


def run(pipeline_file: Write, selector: dict) -> str:
    path = pipeline_file(("training:", f"selector: {json.dumps(selector)}\ntraining:"))
    return package.Pipeline.load(path).run().id


def lines_of(out: str) -> list[list[str]]:
    """The table's rows, cell by cell."""
    return [line.split() for line in out.splitlines() if line.strip() and line.split()[0].isdigit()]


def test_what_a_round_selected_is_listed_with_scores_times_and_labels(
    modyn: Modyn, pipeline_file: Write, stream: Workspace
) -> None:
    made = run(pipeline_file, {"loss": {"budget": "10%"}})
    code, out, err = modyn("selection", "show", made, 2)
    assert (code, err) == (0, "")
    assert out.startswith(f"{made}, round 2: 60 of 600 candidates, selected by loss\n")
    assert "20 of 60 shown; --most N shows more" in out
    rows = lines_of(out)[:20]
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    keys, known = stored.scores_of(stream.runs / made, 2)
    samples = Dataset.open(stream, "drifting").samples()
    for key, score, day, _, label in rows:
        assert float(score) == pytest.approx(known[keys == int(key)][0], abs=6e-4)
        assert np.datetime64(int(samples.timestamps[int(key)]), "us").astype("M8[D]") == np.datetime64(day)
        assert int(label) == samples.labels[int(key)]
    assert max(known) == pytest.approx(scores[0], abs=6e-4)
    assert len(lines_of(modyn("selection", "show", made, 2, "--most", 60)[1])) == 60


def test_weights_are_listed_the_highest_first(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    made = run(pipeline_file, {"craig": {"budget": 12}})
    code, out, _ = modyn("selection", "show", "drifting", 1)
    assert code == 0
    assert "score" not in out
    weights = [float(row[1]) for row in lines_of(out)]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == 400
    assert len(weights) == 12
    assert made == "drifting-1"


def test_a_choice_within_batches_and_one_made_anew_say_so(
    modyn: Modyn, pipeline_file: Write, stream: Workspace
) -> None:
    made = run(pipeline_file, {"loss": {"budget": "50%", "at": "batch"}})
    _, out, _ = modyn("selection", "show", made, 1)
    folder = stream.runs / made / "selections"
    drawn = [stored.read(folder / f"1-{epoch}.arrow").keys for epoch in (0, 1)]
    both, either = np.intersect1d(*drawn), np.union1d(*drawn)
    assert f"{len(either)} of 400 candidates" in out
    assert "0.5 of each large batch was trained on, chosen while training" in out
    _, out, _ = modyn("selection", "show", made, 1, "--most", 400)
    rows = lines_of(out)
    assert sorted(int(row[0]) for row in rows) == either.tolist()
    assert {int(row[0]) for row in rows if row[2] == "2"} == set(both.tolist())
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    made = run(pipeline_file, {"loss": {"budget": "10%", "reselect_every": 1}})
    _, out, _ = modyn("selection", "show", made, 1)
    assert "Selected anew once while it trained" in out
    assert all(re.fullmatch(r"\d+ +[\d.e-]+ +1970.*", line.strip()) for line in out.splitlines()[3:-1]), (
        "all have scores"
    )


def test_deleted_samples_and_a_removed_dataset_are_told(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    made = run(pipeline_file, {"newest": {"budget": 3}})
    Dataset.open(stream, "drifting").delete(np.array([999]))
    code, out, _ = modyn("selection", "show", made, 4)
    assert code == 0
    assert ["999", "deleted", "since"] in lines_of(out)
    assert out.count("1970-01-30") == 2
    Dataset.remove(stream, "drifting")
    code, out, _ = modyn("selection", "show", made, 4)
    assert code == 0
    assert "dataset drifting is gone" in out
    assert [row[0] for row in lines_of(out)] == ["997", "998", "999"]


def test_class_names_stand_for_labels(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    samples = Dataset.open(stream, "drifting").samples()
    columns = Dataset.open(stream, "drifting").reader().read(samples.keys)
    Dataset.remove(stream, "drifting")
    named = Dataset.create(stream, "drifting", label_classes=["calm", "stormy"])
    named.append(columns, timestamps=samples.timestamps, labels=samples.labels)
    made = run(pipeline_file, {"newest": {"budget": 10}})
    _, out, _ = modyn("selection", "show", made, 0)
    assert [row[-1] for row in lines_of(out)] == [("calm", "stormy")[n] for n in samples.labels[190:200]]


def test_wrong_runs_and_rounds_are_one_clear_line(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    made = run(pipeline_file, {"newest": {"budget": 10}})
    code, _, err = modyn("selection", "show", "driftin-1", 0)
    assert code == 2
    assert err.startswith("modyn: there is no run 'driftin-1'. Did you mean 'drifting-1'?")
    code, _, err = modyn("selection", "show", made, 5)
    assert (code, err) == (2, "modyn: run drifting-1 has no round 5; it has rounds 0 to 4\n")
    assert modyn("selection", "show", made, "first")[0] == 2
    assert modyn("selection", "show", made, 0, "--most", 0)[0] == 2
    path = stream.runs / made / "selections" / "1.arrow"
    path.write_bytes(b"no arrow")
    code, _, err = modyn("selection", "show", made, 1)
    assert code == 2
    assert "1.arrow cannot be read" in err
    path.unlink()
    code, _, err = modyn("selection", "show", made, 1)
    assert code == 2
    assert "does not have the selection of round 1 any more" in err


def test_a_round_that_has_not_selected_yet_is_told(modyn: Modyn, workspace: Workspace) -> None:
    log = RunLog.create(workspace.runs, "new")
    log.append("run-started", dataset="drifting")
    code, _, err = modyn("selection", "show", "new-1", 0)
    assert (code, err) == (2, "modyn: run new-1 has no rounds yet\n")
    log.append("round-started", round=0)
    code, _, err = modyn("selection", "show", "new-1", 0)
    assert (code, err) == (2, "modyn: round 0 of run new-1 has not selected anything yet\n")
    log.close()
