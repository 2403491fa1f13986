"""Production mode: runs that follow their dataset. What happens while they wait is done by an observer, in their own thread."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import modyn
from modyn import passing
from modyn.datasets import Dataset
from modyn.errors import DataError, NotFound, RunError
from modyn.evaluation import windows
from modyn.following import Follow
from modyn.runlog import Event, RunLog
from modyn.selectors import stored
from modyn.sources import add
from modyn.sources.csv import Csv
from modyn.triggers.manual import request_training
from modyn.types import to_microseconds
from modyn.workspace import Workspace
from tests.conftest import DAY, PARSER, drifting
from tests.test_pipeline import Write, results_of, weights_of

MARCH = to_microseconds(datetime(2026, 3, 1))


def append(dataset: Dataset, rows: slice) -> None:
    columns, timestamps, labels = drifting()
    dataset.append({n: c[rows] for n, c in columns.items()}, timestamps=timestamps[rows], labels=labels[rows])


@pytest.fixture
def growing(workspace: Workspace) -> Dataset:
    """The dataset ``drifting`` with its first 300 samples."""
    dataset = Dataset.create(workspace, "drifting")
    append(dataset, slice(0, 300))
    return dataset


@pytest.fixture
def pipeline_file(growing: Dataset, pipeline_file: Write) -> Write:
    return pipeline_file


@pytest.fixture
def stream(growing: Dataset, workspace: Workspace) -> Workspace:
    return workspace


def following(
    pipeline: modyn.Pipeline | str,
    steps: Iterator[object],
    *,
    on: str = "waiting",
    now: Callable[[], int] | None = None,
) -> modyn.Run:
    """Follow (or resume, by id); each time that the run waits, or whatever ``on`` says, take a step; stop after the last one."""
    how = Follow(poll_s=0.001, **({} if now is None else {"now": now}))

    def step(event: Event) -> None:
        if event.kind == on and next(steps, how) is how:
            how.stop.set()

    if isinstance(pipeline, str):
        return modyn.Pipeline.resume(pipeline, observers=[step], how=how)
    return pipeline.follow(observers=[step], how=how)


def the_rest(dataset: Dataset, step: int = 150) -> Iterator[None]:
    for start in range(300, 1000, step):
        append(dataset, slice(start, min(start + step, 1000)))
        yield


def log_of(run: modyn.Run, workspace: Workspace) -> RunLog:
    return RunLog.find(workspace.runs, run.id)


def test_following_trains_as_replaying_the_same_samples_does(
    pipeline_file: Write, stream: Workspace, growing: Dataset
) -> None:
    pipeline = modyn.Pipeline.load(pipeline_file())
    run = following(pipeline, the_rest(growing))
    assert run.status == "stopped"
    assert run.rounds["num_samples"].tolist() == [200] * 5
    assert weights_of(stream, run.id) == weights_of(stream, pipeline.run().id)


@pytest.mark.slow
@pytest.mark.parametrize(
    "replaced",
    [
        ("training:", "selector: {rho-loss: {budget: 50%, holdout: twin}}\ntraining:"),
        ("training:", "selector: {loss: {budget: 50%, at: batch}}\ntraining:"),
        ("./parsers.py:features", "{per_sample: ./parsers.py:one}"),
        ("{slices: {every: 5d}}", "{sliding: {every: 3d, interval: [-2d, +2d]}}"),
        (
            "{every: {samples: 200}}",
            "{misclassification-cost: {seconds_of_delay_per_training_second: 1000, check_every: 50}}",
        ),
    ],
    ids=["rho-loss", "within-batches", "workers", "sliding", "cost"],
)
def test_whatever_is_followed_stopped_and_resumed_ends_as_its_replay(
    pipeline_file: Write, stream: Workspace, growing: Dataset, replaced: tuple[str, str]
) -> None:
    pipeline = modyn.Pipeline.load(pipeline_file(replaced), {"training.workers": 2})
    steps = the_rest(growing, step=100)
    first = following(pipeline, iter([next(steps), next(steps)]))
    run, replay = following(first.id, steps), pipeline.run()
    if "cost" not in replaced[1]:  # which weighs seconds as they were measured
        assert weights_of(stream, run.id) == weights_of(stream, replay.id)
    values = run.composite.dropna(subset=["value"]).groupby("model")["window"].unique()
    assert list(values["never-retrained"]) == list(values["active"])


def test_a_run_that_was_stopped_follows_on(pipeline_file: Write, stream: Workspace, growing: Dataset) -> None:
    pipeline, steps = modyn.Pipeline.load(pipeline_file()), the_rest(growing)
    first = following(pipeline, iter([next(steps)]))
    resumed = following(first.id, steps)
    assert len(resumed.rounds) == 5
    assert weights_of(stream, first.id) == weights_of(stream, pipeline.run().id)


def test_each_window_is_scored_once_it_is_over_by_the_checkpoints_that_belong_to_it_and_the_first(
    pipeline_file: Write, stream: Workspace, growing: Dataset
) -> None:
    run = following(modyn.Pipeline.load(pipeline_file()), the_rest(growing))
    found = run.evaluations[run.evaluations["metric"] == "accuracy"]
    scored = found[found["checkpoint"].notna()]
    assert not scored.duplicated(["checkpoint", "window"]).any()
    assert set(scored["window"]) == {0, 1, 2, 3, 4}  # the sixth of 5 days ends after the last sample
    assert scored.groupby("window").size().max() == 3
    never = run.composite[(run.composite["model"] == "never-retrained") & (run.composite["metric"] == "accuracy")]
    active = run.composite[(run.composite["model"] == "active") & (run.composite["metric"] == "accuracy")]
    over = active["value"].notna().to_numpy()
    assert never["value"].notna().tolist() == over.tolist()
    assert set(never.loc[over, "checkpoint"]) == {f"{run.id}/0"}
    assert set(found["baseline"].dropna()) == {"majority-class", "no-change"}
    assert run.scores.shape[0] > 0
    told = run.rounds.set_index("checkpoint")["score_accuracy"]
    later = scored[scored["checkpoint"].isin(told.index) & (scored["value"] == scored["checkpoint"].map(told))]
    assert len(later) >= 3  # the rounds' scores are those on their next window, which came after them


def test_the_sources_are_followed_too(
    pipeline_file: Write, workspace: Workspace, growing: Dataset, tmp_path: Path
) -> None:
    columns, timestamps, labels = drifting()
    path = tmp_path / "rows.csv"

    def write(rows: range) -> None:
        with path.open("a") as file:
            for i in rows:
                file.write(f"{columns['a'][i]},{columns['b'][i]},{i},{timestamps[i]},{labels[i]}\n")

    Dataset.remove(workspace, "drifting")
    path.write_text("a,b,serial,at,y\n")
    write(range(250))
    dataset = Dataset.create(workspace, "drifting")
    source = Csv(path=str(path), label="y", timestamp="at", time_unit="us", settle="0s")
    add(dataset, source)
    file = pipeline_file()
    (tmp_path / "parsers.py").write_text(PARSER.replace("axis=1))", "axis=1)).float()"))  # CSV has doubles
    run = following(modyn.Pipeline.load(file), map(write, (range(250, 700), range(700, 1000))))
    assert run.rounds["num_samples"].tolist() == [200] * 5
    assert dataset.num_samples == 1000


def test_cron_goes_by_the_wall_clock_even_if_nothing_arrives(
    pipeline_file: Write, stream: Workspace, growing: Dataset
) -> None:
    clock = [MARCH]

    def nights() -> Iterator[None]:
        for _ in range(3):
            clock[0] += DAY
            yield
        append(growing, slice(300, 310))
        yield
        clock[0] += DAY
        yield

    file = pipeline_file(("{every: {samples: 200}}", "{cron: {expression: '0 3 * * *'}}"))
    run = following(modyn.Pipeline.load(file), nights(), now=lambda: clock[0])
    assert run.rounds["num_samples"].tolist() == [300, 0, 0, 10]


def test_training_can_be_asked_for_while_a_run_waits(pipeline_file: Write, stream: Workspace) -> None:
    pipeline = modyn.Pipeline.load(pipeline_file(("{every: {samples: 200}}", "manual")))
    folder = stream.runs / "drifting-1"
    run = following(pipeline, iter(lambda: request_training(folder, at=0, by="a test") > 1, True))
    assert len(run.rounds) == 1


def test_samples_deleted_while_a_round_goes_on_are_trained_on_no_more(
    pipeline_file: Write, stream: Workspace, growing: Dataset
) -> None:
    def deletions() -> Iterator[None]:
        growing.delete([3, 150])
        yield
        while True:
            yield

    deleting = deletions()
    how = Follow(poll_s=0.001)

    def observe(event: Event) -> None:
        if event.kind == "selected":
            next(deleting)
        if event.kind == "waiting":
            how.stop.set()

    run = modyn.Pipeline.load(pipeline_file()).follow(observers=[observe], how=how)
    log = log_of(run, stream)
    assert not np.isin([3, 150], stored.read(log.folder / "selections" / "0.arrow").keys).any()
    assert run.rounds["num_trained"].tolist() == [198]
    warned = [event["message"] for event in log.events("warning")]
    assert warned == ["2 selected samples were deleted before they were read; going on without them"]


def test_following_nothing_says_so(pipeline_file: Write, workspace: Workspace, growing: Dataset) -> None:
    growing.delete(growing.keys())
    with pytest.raises(DataError, match="no samples yet"):
        modyn.Pipeline.load(pipeline_file()).follow()


@pytest.mark.slow
def test_a_following_run_that_was_killed_goes_on_to_the_same_weights(
    pipeline_file: Write, stream: Workspace, growing: Dataset, tmp_path: Path
) -> None:
    pipeline_file()
    program = """
import os, signal, sys
import modyn
from modyn.following import Follow
rounds = []
def observe(event):
    rounds.append(event.kind)
    if rounds.count("trained") == 2:
        os.kill(os.getpid(), signal.SIGKILL)
modyn.Pipeline.load("drifting.yaml").follow(observers=[observe], how=Follow(poll_s=0.01))
"""
    append(growing, slice(300, 500))
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGKILL
    for _ in the_rest_from(growing, 500):
        pass
    run = following("drifting-1", iter(()))
    assert weights_of(stream, run.id) == weights_of(stream, modyn.Pipeline.load(tmp_path / "drifting.yaml").run().id)


def the_rest_from(dataset: Dataset, start: int) -> Iterator[None]:
    append(dataset, slice(start, 1000))
    yield


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_resume_follows_on(pipeline_file: Write, stream: Workspace, tmp_path: Path) -> None:
    pipeline_file()
    for command in (["follow", "drifting.yaml", "--interval", "50ms"], ["resume", "drifting"]):
        process = subprocess.Popen(
            [Path(sys.executable).with_name("modyn"), *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        log = stream.runs / "drifting-1" / "events.jsonl"
        sign = '"round-finished"' if command[0] == "follow" else '"resumed":true'
        while process.poll() is None and not (log.exists() and sign in log.read_text()):
            pass
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, output
        assert "modyn resume drifting-1" in output
        assert RunLog.find(stream.runs, "drifting-1").status == "stopped"
    assert results_of(RunLog.find(stream.runs, "drifting-1"))


def test_labels_that_come_later_are_trained_on_and_scored_once_they_are_known(
    pipeline_file: Write, workspace: Workspace, growing: Dataset
) -> None:
    columns, timestamps, labels = drifting()
    Dataset.remove(workspace, "drifting")
    dataset = Dataset.create(workspace, "drifting")
    dataset.append({n: c[:300] for n, c in columns.items()}, timestamps=timestamps[:300])
    dataset.label(np.arange(250), labels[:250])

    def steps() -> Iterator[None]:
        for start in range(300, 1000, 100):  # labels follow 50 samples behind
            rows = slice(start, start + 100)
            dataset.append({n: c[rows] for n, c in columns.items()}, timestamps=timestamps[rows])
            yield
            dataset.label(np.arange(start - 50, start + 50), labels[start - 50 : start + 50])
            yield

    file = pipeline_file(
        (
            "{every: {samples: 200}}",
            "{any-of: {triggers: [{every: {samples: 200}}, {performance: {check_every: 100, criteria: {low: {threshold: {value: 0.1}}}}}]}}",
        )
    )
    run = following(modyn.Pipeline.load(file), steps())
    log = log_of(run, workspace)
    assert run.rounds["num_samples"].tolist() == [100, 100, 200, 200, 200, 200]
    assert run.rounds["num_trained"].tolist() == [100, 200, 250, 450, 650, 850]  # what was known when the round began
    for number in range(6):
        assert (stored.read(log.folder / "selections" / f"{number}.arrow").keys < 1000).all()
    checked = [e for e in log.events("trigger-checked") if e["trigger"] == "performance" and e.fields.get("score")]
    assert {e["num_samples"] for e in checked} <= {50, 100}  # of the labels delivered since the check before
    assert len(checked) >= 3
    scored = run.evaluations[run.evaluations["checkpoint"].notna() & (run.evaluations["metric"] == "accuracy")]
    assert set(scored["window"]) >= {0, 1, 2, 3}
    assert run.windows["num_samples"].tolist()[:4] == [167, 167, 166, 167]


def test_a_replay_leaves_out_what_has_no_label(pipeline_file: Write, workspace: Workspace, growing: Dataset) -> None:
    append(growing, slice(300, 600))
    growing.label([0], [1])  # from now on labels may be missing
    columns, timestamps, _ = drifting()
    growing.append({n: c[600:900] for n, c in columns.items()}, timestamps=timestamps[600:900])
    run = modyn.Pipeline.load(pipeline_file()).run()
    assert run.rounds["num_samples"].tolist() == [200] * 4
    assert run.rounds["num_trained"].tolist() == [200, 400, 600, 600]
    assert run.evaluations["value"].notna().any()


def scored_windows(run: modyn.Run) -> list[int]:
    found = run.evaluations
    return sorted(set(found.loc[found["checkpoint"].notna() & found["value"].notna(), "window"]))


def test_windows_keep_their_numbers_while_samples_expire(
    pipeline_file: Write, workspace: Workspace, growing: Dataset
) -> None:
    growing.set_retention(7 * DAY)
    end = [300]

    def steps() -> Iterator[None]:
        for start in range(300, 1000, 50):
            append(growing, slice(start, start + 50))
            end[0] = start + 50
            yield

    run = following(modyn.Pipeline.load(pipeline_file()), steps(), now=lambda: end[0] * 30 * DAY // 1000)
    assert growing.num_samples < 300
    assert run.windows["start"].diff().dropna().dt.days.eq(5).all()
    assert run.windows["start"][0].timestamp() == 0
    assert scored_windows(run) == [0, 1, 2, 3, 4]
    assert not run.evaluations.duplicated(["checkpoint", "baseline", "window", "metric"]).any()
    sizes = [len(event["windows"]) for event in log_of(run, workspace).events("windows")]
    assert max(sizes[1:]) <= 4  # those since the round before, and the one that has begun
    assert not list(log_of(run, workspace).events("composite"))
    active = run.composite[run.composite["model"] == "active"].dropna(subset=["value"])
    assert set(active["window"]) == {2, 3, 4}


def test_everything_may_expire_and_the_run_goes_on(
    pipeline_file: Write, workspace: Workspace, growing: Dataset
) -> None:
    pipeline = modyn.Pipeline.load(
        pipeline_file(("{every: {samples: 200}}", "{any-of: {triggers: [{every: {samples: 200}}, manual]}}"))
    )

    def steps() -> Iterator[None]:
        yield
        growing.delete(growing.keys())
        yield
        request_training(workspace.runs / "drifting-1", at=0, by="a test")
        yield
        yield

    first = following(pipeline, steps())
    assert first.status == "stopped"
    assert len(first.rounds[first.rounds["finished"]]) == 1
    second = following(first.id, iter([None]))
    assert second.status == "stopped"
    third = following(first.id, the_rest(growing))
    assert third.rounds["finished"].sum() == 4
    assert third.rounds["start_key"].tolist() == [0, 200, 500, 700]
    assert (third.rounds["end_key"] >= third.rounds["start_key"]).all()
    assert (workspace.root / "r.html") == third.report(workspace.root / "r.html")


def test_asking_for_training_after_the_newest_samples_are_deleted_trains_on_what_is_left(
    pipeline_file: Write, workspace: Workspace, growing: Dataset
) -> None:
    file = pipeline_file(("{every: {samples: 200}}", "{any-of: {triggers: [{every: {samples: 300}}, manual]}}"))

    def steps() -> Iterator[None]:
        growing.delete(np.arange(150, 300))
        yield
        request_training(workspace.runs / "drifting-1", at=0, by="a test")
        yield

    run = following(modyn.Pipeline.load(file), steps())
    assert run.rounds[["start_key", "end_key", "num_trained"]].to_numpy().tolist() == [[0, 300, 300], [300, 300, 150]]


def test_what_comes_while_windows_are_scored_is_shown_to_the_trigger(
    pipeline_file: Write, workspace: Workspace, growing: Dataset
) -> None:
    state = {"scored": 0}
    how = Follow(poll_s=0.001)

    def observe(event: Event) -> None:
        if event.kind == "evaluate" and not state["scored"]:
            state["scored"] = 1
            growing.delete([2])  # of the first window: it is found when the window is read
            append(growing, slice(300, 1000))
        if event.kind == "waiting":
            how.stop.set()

    run = modyn.Pipeline.load(pipeline_file()).follow(observers=[observe], how=how)
    assert state["scored"]
    assert run.rounds["num_samples"].tolist() == [200] * 5 or run.rounds["end_key"].tolist() == [
        200,
        400,
        600,
        800,
        1000,
    ]


def test_a_trigger_that_fires_when_there_is_nothing_to_select_does_not_end_the_run(
    pipeline_file: Write, stream: Workspace, growing: Dataset
) -> None:
    clock = [MARCH]

    def nights() -> Iterator[None]:
        for _ in range(3):
            clock[0] += DAY
            yield
        for _ in range(20):  # nothing is tried again and again
            yield
        append(growing, slice(300, 310))
        yield
        clock[0] += DAY
        yield

    file = pipeline_file(
        ("{every: {samples: 200}}", "{cron: {expression: '0 3 * * *'}}"),
        ("training:", "selector: {all: {history: round}}\ntraining:"),
    )
    run = following(modyn.Pipeline.load(file), nights(), now=lambda: clock[0])
    assert run.rounds["num_samples"].tolist() == [300, 10]
    assert run.rounds["finished"].all()
    log = log_of(run, stream)
    assert [e["message"] for e in log.events("warning")] == [
        "the trigger fired and nothing was selected, so nothing was trained"
    ]
    assert len(list(log.events("round-started"))) == 4


def test_scores_since_the_last_round_outlive_a_resume_after_which_the_samples_are_gone(
    pipeline_file: Write, workspace: Workspace, growing: Dataset
) -> None:
    file = pipeline_file(("{every: {samples: 200}}", "{every: {samples: 300}}"))

    def steps() -> Iterator[None]:
        for start in range(300, 590, 58):
            append(growing, slice(start, start + 58))
            yield
        yield

    first = following(modyn.Pipeline.load(file), steps())
    assert len(first.rounds) == 1
    before = first.evaluations
    assert scored_windows(first) == [0, 1, 2]
    growing.delete(np.arange(590))
    for _ in range(2):
        again = following(first.id, iter([None]))
        assert again.evaluations.equals(before)
    seqs = [event.seq for event in log_of(again, workspace).events()]
    assert seqs == list(range(len(seqs)))


def scores_told(events: list[Event]) -> list[tuple[int | None, float]]:
    return [(event.round, event["scores"]["accuracy"]) for event in events if event.kind == "scored"]


def test_progress_is_told_the_newest_score_of_the_serving_checkpoint(
    pipeline_file: Write, stream: Workspace, growing: Dataset
) -> None:
    told: list[Event] = []
    how, steps = Follow(poll_s=0.001), the_rest(growing, step=60)

    def observe(event: Event) -> None:
        told.append(event)
        if event.kind == "waiting" and next(steps, how) is how:
            how.stop.set()

    run = modyn.Pipeline.load(pipeline_file()).follow(observers=[observe], how=how)
    rows = run.composite[(run.composite["model"] == "active") & (run.composite["metric"] == "accuracy")]
    active = {(r["round"], r["value"]) for r in rows.dropna(subset=["value"]).to_dict("records")}
    found = scores_told(told)
    assert found
    assert set(found) <= active


def test_a_round_whose_samples_are_all_deleted_before_they_are_read_is_skipped(
    pipeline_file: Write, stream: Workspace, growing: Dataset
) -> None:
    how, steps = Follow(poll_s=0.001), the_rest(growing)

    def observe(event: Event) -> None:
        if event.kind == "selected" and event.round == 0 and growing.num_samples == 300:
            growing.delete(np.arange(200))
        if event.kind == "waiting" and next(steps, how) is how:
            how.stop.set()

    run = modyn.Pipeline.load(pipeline_file()).follow(observers=[observe], how=how)
    assert run.status == "stopped"
    assert run.rounds["start_key"].tolist()[0] == 200 or run.rounds["end_key"].tolist()[0] > 200
    assert run.rounds["finished"].all()
    warned = run.warnings["message"].tolist()
    assert warned == [
        "200 selected samples were deleted before they were read; going on without them",
        "the trigger fired and nothing was selected, so nothing was trained",
    ]


@pytest.mark.parametrize("kind", ["waiting", "selected", "epoch", "stored", "evaluate"])
def test_a_dataset_that_is_removed_ends_the_run_with_a_line(
    pipeline_file: Write, workspace: Workspace, growing: Dataset, kind: str
) -> None:
    def observe(event: Event) -> None:
        if event.kind == kind and "drifting" in Dataset.names(workspace):
            Dataset.remove(workspace, "drifting")

    with pytest.raises(
        RunError, match=r"^dataset 'drifting' was removed while run drifting-1 was using it: .*cannot be resumed"
    ):
        modyn.Pipeline.load(pipeline_file()).follow(observers=[observe], how=Follow(poll_s=0.001))
    assert RunLog.find(workspace.runs, "drifting").status == "failed"
    with pytest.raises(NotFound, match="there is no dataset 'drifting'"):
        modyn.Pipeline.resume("drifting-1")
    append(Dataset.create(workspace, "drifting"), slice(0, 300))
    with pytest.raises(RunError, match="another has that name now"):
        modyn.Pipeline.resume("drifting-1")


def test_more_windows_than_can_be_looked_at_do_not_end_a_run(
    pipeline_file: Write, workspace: Workspace, growing: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MOST", 8)
    file = pipeline_file(("every: 5d", "every: 2d"))
    pipeline, steps = modyn.Pipeline.load(file), the_rest(growing)
    first = following(pipeline, iter([next(steps)]))
    second = following(first.id, steps)
    assert len(second.windows) == 15
    assert scored_windows(second) == list(range(14))
    monkeypatch.setattr(passing, "MOST_WINDOWS", 15)
    append_at(growing, to_microseconds(datetime(2200, 1, 1)))
    third = following(first.id, iter([None]), now=lambda: to_microseconds(datetime(2200, 1, 2)))
    assert third.status == "stopped"
    assert len(third.windows) <= 21
    assert sum("later ones are not scored" in message for message in third.warnings["message"]) == 1


def test_a_sample_from_the_future_ends_no_window(pipeline_file: Write, workspace: Workspace, growing: Dataset) -> None:
    """By whose time every window would be over before its samples have come; they are scored as if it were not there."""
    seen: list[list[int]] = []

    def steps() -> Iterator[None]:
        append_at(growing, to_microseconds(datetime(2200, 1, 1)))
        yield
        for _ in the_rest(growing, 100):
            seen.append(scored_windows(modyn.Run(RunLog.find(workspace.runs, "drifting"))))
            yield

    run = following(modyn.Pipeline.load(pipeline_file()), steps())
    assert run.status == "stopped"
    assert seen[0] == [0]
    assert max(seen[3]) < 4
    assert scored_windows(run) == [0, 1, 2, 3, 4]
    assert len(run.windows) <= 6
    assert sum("in the future" in message for message in run.warnings["message"]) == 1
    resumed = following(run.id, iter([None]))
    assert scored_windows(resumed) == [0, 1, 2, 3, 4]


def test_samples_ahead_of_the_clock_count_once_their_time_has_come(
    pipeline_file: Write, workspace: Workspace, growing: Dataset
) -> None:
    """As where local times are taken for UTC: nothing else comes that would end their windows."""
    _, timestamps, _ = drifting()
    clock, seen = [int(timestamps[0]) - DAY], list[list[int]]()

    def steps() -> Iterator[None]:
        for _ in the_rest(growing):
            yield
        for moment in (int(timestamps[600]), int(timestamps[-1]) + DAY):
            seen.append(scored_windows(modyn.Run(RunLog.find(workspace.runs, "drifting"))))
            clock[0] = moment
            yield

    run = following(modyn.Pipeline.load(pipeline_file()), steps(), now=lambda: clock[0])
    assert run.status == "stopped"
    assert seen == [[], [0, 1, 2]]
    assert scored_windows(run) == [0, 1, 2, 3, 4]


def append_at(dataset: Dataset, moment: int) -> None:
    columns, _, labels = drifting(1)
    dataset.append(columns, timestamps=np.array([moment]), labels=labels)
