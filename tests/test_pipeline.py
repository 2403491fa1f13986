import gc
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import modyn
from modyn.datasets import Dataset
from modyn.errors import BadSample, ConfigError, DataError, ModynError, NotFound, RunError, TrainingError
from modyn.models.store import ModelStore
from modyn.runlog import Event, RunLog
from modyn.selectors import stored
from modyn.workspace import Workspace

Write = Callable[..., Path]


def weights_of(workspace: Workspace, run: str) -> list[str]:
    return [
        hashlib.sha256((workspace.models / run / str(c.round) / "weights.safetensors").read_bytes()).hexdigest()
        for c in ModelStore(workspace).checkpoints(run)
    ]


def results_of(log: RunLog) -> list[object]:
    """What a run found, without what its clock said."""
    kinds = ("trigger-checked", "round-started", "selected", "stored", "evaluated", "composite")
    found: list[object] = [
        (e.kind, e.round, {k: v for k, v in e.fields.items() if k not in ("checkpoint", "active", "trained")})
        for e in log.events(*kinds)
    ]
    return found


def test_a_run_trains_at_each_firing_and_scores_every_checkpoint_on_every_window(
    pipeline_file: Write, stream: Workspace
) -> None:
    run = modyn.Pipeline.load(pipeline_file()).run()
    assert run.status == "finished"
    assert run.rounds["num_samples"].tolist() == [200] * 5
    assert run.rounds["num_trained"].tolist() == [200, 400, 600, 800, 1000]
    scored = run.evaluations[run.evaluations["baseline"].isna()]
    assert len(scored) == 5 * 6 * 2
    assert scored["value"].notna().all()
    assert set(run.costs["station"]) == {"trigger", "select", "load", "train", "store", "evaluate"}


def test_a_pipeline_is_printed_in_a_line(pipeline_file: Write, stream: Workspace) -> None:
    assert (
        str(modyn.Pipeline.load(pipeline_file()))
        == "pipeline 'drifting' on dataset 'drifting': trigger every, selector all"
    )


def test_each_checkpoint_knows_its_lineage(pipeline_file: Write, stream: Workspace) -> None:
    run = modyn.Pipeline.load(pipeline_file(("epochs: 2", "epochs: 1, start: latest"))).run()
    kept = list(ModelStore(stream).checkpoints(run.id))
    assert [c.parent for c in kept] == [None, *(f"{run.id}/{n}" for n in range(4))]
    assert [c.dataset_version for c in kept] == [Dataset.open(stream, "drifting").version] * 5
    assert all(a.data_until < b.data_until for a, b in pairwise(kept))
    assert set(ModelStore(stream).weights(kept[0].id))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(
    pipeline_file: Write, stream: Workspace
) -> None:
    path = pipeline_file()
    first, second = modyn.Pipeline.load(path).run(), modyn.Pipeline.load(path).run()
    other = modyn.Pipeline.load(path, ["seed=8"]).run()
    assert weights_of(stream, first.id) == weights_of(stream, second.id) != weights_of(stream, other.id)
    assert results_of(RunLog.find(stream.runs, first.id)) == results_of(RunLog.find(stream.runs, second.id))


def test_one_pipeline_can_be_run_twice_in_one_process(pipeline_file: Write, stream: Workspace) -> None:
    pipeline = modyn.Pipeline.load(pipeline_file())
    first, second = pipeline.run(), pipeline.run()
    assert len(first.rounds) == len(second.rounds) == 5
    assert weights_of(stream, first.id) == weights_of(stream, second.id)


def test_a_selection_is_what_was_trained_on(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("training:", "selector: {uniform: {budget: 25%, history: {last: 2}}}\ntraining:"))
    run = modyn.Pipeline.load(path).run()
    folder = stream.runs / run.id / "selections"
    selections = [stored.read(folder / f"{n}.arrow") for n in range(5)]
    assert [len(s) for s in selections] == [50, 100, 100, 100, 100]
    assert [(s.keys.min() >= 200 * (n - 1)) and (s.keys.max() < 200 * (n + 1)) for n, s in enumerate(selections)] == [
        True
    ] * 5


def test_a_warm_up_round_takes_everything(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("training:", "selector: {uniform: {budget: 10%, warmup_rounds: 2}}\ntraining:"))
    assert modyn.Pipeline.load(path).run().rounds["num_selected"].tolist() == [200, 400, 60, 80, 100]


def test_the_stream_can_be_limited_in_time(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("seed: 7", "stream: {start: 1970-01-11, end: 1970-01-21}"))
    run = modyn.Pipeline.load(path).run()
    assert run.rounds["num_samples"].tolist() == [200]
    with pytest.raises(
        ConfigError, match=r"stream: no sample of dataset 'drifting' lies at or after 1980.*; it spans \[1970-01-01"
    ):
        modyn.Pipeline.load(path, ["stream.start=1980-01-01", "stream.end=null"]).run()


def test_deleted_samples_are_neither_trained_on_nor_scored(pipeline_file: Write, stream: Workspace) -> None:
    Dataset.open(stream, "drifting").delete(np.arange(0, 1000, 2))
    run = modyn.Pipeline.load(pipeline_file()).run()
    assert run.rounds["num_trained"].tolist() == [200, 400]
    for number in (0, 1):
        assert (stored.read(stream.runs / run.id / "selections" / f"{number}.arrow").keys % 2 == 1).all()
    assert run.windows["num_samples"].sum() == 500


def test_never_training_is_a_run_with_baselines_only(pipeline_file: Write, stream: Workspace) -> None:
    run = modyn.Pipeline.load(pipeline_file(("{every: {samples: 200}}", "never"))).run()
    assert run.status == "finished"
    assert len(run.rounds) == 0
    assert set(run.evaluations["baseline"]) == {"majority-class", "no-change"}
    assert run.id in repr(run)


@pytest.mark.parametrize("checkpoints", ["active", "trained"])
def test_scoring_only_the_composite_model_gives_the_same_composite_scores(
    pipeline_file: Write, stream: Workspace, checkpoints: str
) -> None:
    whole = modyn.Pipeline.load(pipeline_file()).run()
    part = modyn.Pipeline.load(pipeline_file(("metrics:", f"checkpoints: {checkpoints}, metrics:"))).run()
    assert len(part.evaluations) < len(whole.evaluations)

    def means(run: modyn.Run) -> list[float]:
        scores = run.scores
        return scores[scores["model"] == checkpoints]["mean"].tolist()

    assert means(part) == means(whole)


def test_scoring_after_the_run_gives_the_same_scores(pipeline_file: Write, stream: Workspace) -> None:
    during = modyn.Pipeline.load(pipeline_file()).run()
    after = modyn.Pipeline.load(pipeline_file(("metrics:", "when: after-run, metrics:"))).run()
    np.testing.assert_array_equal(during.evaluations["value"], after.evaluations["value"])


def test_a_single_class_window_is_undefined_and_not_zero(pipeline_file: Write, workspace: Workspace) -> None:
    path = pipeline_file(("dataset: drifting", "dataset: lonely"))
    n = 400
    columns = {"a": np.ones(n, np.float32), "b": np.ones(n, np.float32), "serial": np.arange(n)}
    labels = np.where(np.arange(n) < 200, np.arange(n) % 2, 1)
    Dataset.create(workspace, "lonely").append(columns, timestamps=np.arange(n) * 86_400 * 50_000, labels=labels)
    run = modyn.Pipeline.load(path, ["evaluation.windows.slices.every=10d"]).run()
    undefined = run.evaluations[run.evaluations["value"].isna() & run.evaluations["baseline"].isna()]
    assert set(undefined["reason"]) == {"all labels are 1"}
    assert set(undefined["metric"]) == {"roc-auc"}


@pytest.mark.parametrize(
    ("replaced", "error", "message"),
    [
        (("features", "wide"), ModynError, "3"),
        (("features", "lost"), ModynError, "sample"),
        (("features", "choosy"), BadSample, "sample 431"),
        (("features", "nothing"), ConfigError, "has nothing named 'nothing'"),
        (("outputs: 2", "outputs: 1"), ModynError, "1"),
        (("dataset: drifting", "dataset: driftin"), NotFound, "Did you mean 'drifting'?"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    pipeline_file: Write, stream: Workspace, replaced: tuple[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        modyn.Pipeline.load(pipeline_file(replaced)).run()
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_nan_loss_stops_the_round_and_keeps_the_earlier_ones(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("features", "explosive"))
    with pytest.raises(TrainingError, match="round 2"):
        modyn.Pipeline.load(path).run()
    run = modyn.Run(RunLog.find(stream.runs, "drifting"))
    assert run.status == "failed"
    assert run.rounds["finished"].tolist()[:2] == [True, True]
    assert len(list(ModelStore(stream).checkpoints(run.id))) == 2
    run.report(stream.root / "failed.html")


def test_an_empty_dataset_is_told(pipeline_file: Write, workspace: Workspace) -> None:
    Dataset.create(workspace, "empty")
    with pytest.raises(DataError, match="dataset 'empty' has no samples yet; add some with: modyn data add"):
        modyn.Pipeline.load(pipeline_file(("dataset: drifting", "dataset: empty"))).run()


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "kind", ["round-started", "selected", "trained", "stored", "evaluated", "composite", "round-finished"]
)
@pytest.mark.parametrize("start", ["latest", pytest.param("scratch", marks=pytest.mark.slow)])
def test_a_run_cut_off_anywhere_goes_on_to_the_same_results(
    pipeline_file: Write, stream: Workspace, kind: str, start: str
) -> None:
    path = pipeline_file(("epochs: 2", f"epochs: 1, start: {start}"))
    whole = modyn.Pipeline.load(path).run(name="whole")

    def stop(event: Event) -> None:
        if event.kind == kind and event.round == 3:
            raise Stop

    with pytest.raises(Stop):
        modyn.Pipeline.load(path).run(name="cut", observers=[stop])
    again = modyn.Pipeline.resume("cut")
    assert again.status == "finished"
    assert weights_of(stream, "cut-1") == weights_of(stream, whole.id)
    assert results_of(RunLog.find(stream.runs, "cut-1")) == results_of(RunLog.find(stream.runs, whole.id))


def test_samples_that_came_after_a_run_began_do_not_enter_it_when_it_goes_on(
    pipeline_file: Write, stream: Workspace
) -> None:
    path = pipeline_file()

    def stop(event: Event) -> None:
        if event.kind == "trained" and event.round == 1:
            dataset = Dataset.open(stream, "drifting")
            dataset.append(
                {"a": np.ones(400, np.float32), "b": np.ones(400, np.float32), "serial": np.arange(400)},
                timestamps=np.full(400, 40 * 86_400 * 10**6),
                labels=np.ones(400, np.int64),
            )
            raise Stop

    with pytest.raises(Stop):
        modyn.Pipeline.load(path).run(observers=[stop])
    assert len(modyn.Pipeline.resume("drifting").rounds) == 5


def test_a_finished_run_cannot_be_resumed(pipeline_file: Write, stream: Workspace) -> None:
    run = modyn.Pipeline.load(pipeline_file()).run()
    with pytest.raises(RunError, match=f"run {run.id} is finished: there is nothing to resume, or left to score"):
        modyn.Pipeline.resume(run.id)


def test_ctrl_c_marks_the_run_stopped_and_keeps_its_rounds(pipeline_file: Write, stream: Workspace) -> None:
    def interrupt(event: Event) -> None:
        if event.kind == "trained" and event.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        modyn.Pipeline.load(pipeline_file()).run(observers=[interrupt])
    run = modyn.Run(RunLog.find(stream.runs, "drifting"))
    assert run.status == "stopped"
    assert (run.rounds["finished"] == True).sum() == 2  # noqa: E712 - a column of booleans and missing values
    run.report(stream.root / "stopped.html")


KILL = """
import os, signal, sys
import modyn
def kill(event):
    if event.kind == sys.argv[2] and event.round == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
modyn.Pipeline.load(sys.argv[1]).run(name="killed", observers=[kill])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "number"), [("selected", 0), ("epoch", 2), ("stored", 3), ("cost", 1), ("round-finished", 4)]
)
def test_a_run_killed_goes_on_to_the_same_results(
    pipeline_file: Write, stream: Workspace, kind: str, number: int
) -> None:
    path = pipeline_file()
    whole = modyn.Pipeline.load(path).run(name="whole")
    died = subprocess.run([sys.executable, "-c", KILL, str(path), kind, str(number)], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL
    assert RunLog.find(stream.runs, "killed").status == "interrupted"
    assert modyn.Pipeline.resume("killed").status == "finished"
    assert weights_of(stream, "killed-1") == weights_of(stream, whole.id)
    assert results_of(RunLog.find(stream.runs, "killed-1")) == results_of(RunLog.find(stream.runs, whole.id))


def test_a_run_keeps_what_it_was_made_with(pipeline_file: Write, stream: Workspace) -> None:
    run = modyn.Pipeline.load(pipeline_file(), ["training.epochs=1"]).run()
    started = next(RunLog.find(stream.runs, run.id).events("run-started"))
    assert started["pipeline"]["training"]["epochs"] == 1
    assert started["pipeline"]["selector"]["all"]["history"] is not None
    assert started["seed"] == 7
    assert {"python", "modyn", "torch", "numpy"} <= set(started["versions"])
    assert "features" in (stream.runs / run.id / "code" / "parsers.py").read_text()


def test_a_per_sample_parser_gives_the_same_scores_as_a_batch_parser(pipeline_file: Write, stream: Workspace) -> None:
    batch = modyn.Pipeline.load(pipeline_file()).run()
    each = modyn.Pipeline.load(
        pipeline_file(
            ("./parsers.py:features", "{per_sample: ./parsers.py:one}"), ("device: cpu", "device: cpu, workers: 0")
        )
    ).run()
    assert weights_of(stream, batch.id) == weights_of(stream, each.id)


@pytest.mark.slow
def test_runs_in_two_processes_at_once_do_not_disturb_each_other(pipeline_file: Write, stream: Workspace) -> None:
    code = "import modyn, sys; modyn.Pipeline.load(sys.argv[1]).run()"
    both = [subprocess.Popen([sys.executable, "-c", code, str(pipeline_file())], env=os.environ) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert weights_of(stream, "drifting-1") == weights_of(stream, "drifting-2")


def test_a_run_whose_users_code_has_changed_does_not_go_on(
    pipeline_file: Write, stream: Workspace, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if event.kind == "trained" and event.round == 1:
            raise Stop

    with pytest.raises(Stop):
        modyn.Pipeline.load(pipeline_file()).run(observers=[stop])
    parsers = tmp_path / "parsers.py"
    kept = parsers.read_text()
    parsers.write_text(kept + "\n")
    with pytest.raises(RunError, match=r"parsers\.py has changed since it began\. Restore it from .*code/parsers\.py"):
        modyn.Pipeline.resume("drifting")
    parsers.unlink()
    with pytest.raises(RunError, match=r"parsers\.py is gone since it began"):
        modyn.Pipeline.resume("drifting")
    parsers.write_text(kept)
    assert modyn.Pipeline.resume("drifting").status == "finished"


def test_a_run_that_never_began_leaves_nothing_behind(pipeline_file: Write, stream: Workspace) -> None:
    first = modyn.Pipeline.load(pipeline_file()).run()
    for replaced in (("dataset: drifting", "dataset: nowhere"), ("features", "nothing")):
        with pytest.raises(ModynError):
            modyn.Pipeline.load(pipeline_file(replaced)).run()
    assert RunLog.find(stream.runs, "drifting").run_id == first.id
    assert [p.name for p in stream.runs.iterdir()] == [first.id]


def test_the_id_of_a_removed_run_is_not_given_again(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("{every: {samples: 200}}", "never"))
    ids = [modyn.Pipeline.load(path).run().id for _ in range(2)]
    RunLog.find(stream.runs, ids[-1]).remove()
    assert modyn.Pipeline.load(path).run().id == "drifting-3"


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (np.array([-1, 1]), "from -1 to 1"),
        (np.array([0.5, 1.0]), "from 0.5 to 1"),
        (np.ones((2, 2), np.int64), "2 columns"),
    ],
)
def test_labels_that_are_no_classes_are_told_before_any_training(
    pipeline_file: Write, workspace: Workspace, labels: np.ndarray, got: str
) -> None:
    columns = {"a": np.ones(400, np.float32), "b": np.ones(400, np.float32), "serial": np.arange(400)}
    whole = np.tile(labels, (200, 1) if labels.ndim == 2 else 200)
    Dataset.create(workspace, "odd").append(columns, timestamps=np.arange(400) * 10**9, labels=whole)
    with pytest.raises(ModynError) as caught:
        modyn.Pipeline.load(pipeline_file(("dataset: drifting", "dataset: odd"))).run()
    assert f"roc-auc needs whole-number class labels >= 0, one a sample; the dataset's are {got}" in str(caught.value)


def test_classes_without_number_are_run_without_baselines(pipeline_file: Write, workspace: Workspace) -> None:
    columns = {"a": np.ones(400, np.float32), "b": np.ones(400, np.float32), "serial": np.arange(400)}
    Dataset.create(workspace, "many").append(
        columns, timestamps=np.arange(400) * 10**9, labels=np.arange(400) + 5_000_000
    )
    run = modyn.Pipeline.load(
        pipeline_file(("dataset: drifting", "dataset: many"), ("{every: {samples: 200}}", "never"))
    ).run()
    assert run.warnings["message"].tolist() == ["no baselines: the labels reach 5,000,399, more than 10,000 classes"]


def test_a_stopped_run_is_scored_on_command_and_still_goes_on(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("metrics:", "when: after-run, metrics:"))
    whole = modyn.Pipeline.load(path).run(name="whole")

    def stop(event: Event) -> None:
        if event.kind == "trained" and event.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        modyn.Pipeline.load(path).run(name="cut", observers=[stop])
    assert modyn.Run(RunLog.find(stream.runs, "cut")).evaluations["checkpoint"].isna().all()
    scored = modyn.Pipeline.evaluate("cut")
    assert scored.status == "stopped"
    assert scored.evaluations["checkpoint"].nunique() == 2
    again = modyn.Pipeline.resume("cut")
    np.testing.assert_array_equal(again.evaluations["value"], whole.evaluations["value"])


def test_a_sample_with_a_clock_far_off_is_warned_of(pipeline_file: Write, stream: Workspace) -> None:
    columns = {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32), "serial": np.arange(1)}
    far = np.array([10 * 365 * 86_400 * 10**6])
    Dataset.open(stream, "drifting").append(columns, timestamps=far, labels=np.ones(1, np.int64))
    run = modyn.Pipeline.load(pipeline_file(), ["evaluation.windows.slices.every=1y"]).run()
    assert "1 of 1,001 samples lie far from all others in time" in run.warnings["message"].item()


def test_a_workspace_given_by_its_path_is_closed_again(pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("{every: {samples: 200}}", "never"))
    modyn.Pipeline.load(path).run(stream.root)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        modyn.Pipeline.load(path).run(stream.root)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("stream_", "place"),
    [
        ("{start: 2030-01-01}", r"at or after 2030-01-01 00:00:00"),
        ("{end: 1960-01-01}", r"before 1960-01-01 00:00:00"),
    ],
)
def test_a_stream_open_at_one_end_that_holds_nothing_says_which(
    pipeline_file: Write, stream: Workspace, stream_: str, place: str
) -> None:
    pipeline = modyn.Pipeline.load(pipeline_file(("seed: 7", f"seed: 7\nstream: {stream_}")))
    with pytest.raises(ConfigError, match=rf"lies {place}; it spans \[1970-01-01"):
        pipeline.run()
