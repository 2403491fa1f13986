import json
import multiprocessing
import subprocess
from pathlib import Path

import numpy as np
import pytest

from modyn.errors import Damaged, NotFound, RunError
from modyn.runlog import RunLog
from modyn.workspace import naming
from tests.datasets.test_damage import mounted


def finished(runs: Path, rounds: int = 2) -> RunLog:
    with RunLog.create(runs, "r") as log:
        log.append("run-started", run=log.run_id)
        log.append("windows", windows=[])
        for number in range(rounds):
            log.append("cost", round=number, station="train", seconds=1.0, num_samples=3)
            log.append("round-finished", round=number)
        log.append("cost", round=rounds, station="train", seconds=1.0, num_samples=3)
    return log


def test_events_are_read_back_as_written(tmp_path: Path) -> None:
    log = finished(tmp_path)
    assert [e.seq for e in log.events()] == list(range(7))
    assert [e.round for e in log.events("round-finished")] == [0, 1]
    assert list(log.table("cost")["seconds"]) == [1.0, 1.0, 1.0]


def test_numpy_values_are_written_as_plain_json(tmp_path: Path) -> None:
    with RunLog.create(tmp_path, "r") as log:
        log.append("warning", message=np.int64(3), more=np.arange(2))
    assert json.loads(log.path.read_text())["more"] == [0, 1]


def test_a_torn_last_line_is_ignored_and_cut_off_when_the_run_goes_on(tmp_path: Path) -> None:
    log = finished(tmp_path)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"seq": 7, "at": 3, "ki')
    assert len(list(log.events())) == 7
    with log:
        log.open()
        log.append("warning", message="on")
    assert [e.seq for e in log.events()] == list(range(8))
    assert log.path.read_bytes().startswith(whole)


def test_going_on_from_the_last_finished_round_drops_what_was_only_begun(tmp_path: Path) -> None:
    log = finished(tmp_path)
    with log:
        log.open(keep_until="round-finished")
    assert [e.kind for e in log.events()][-1] == "round-finished"
    assert len(list(log.events())) == 6


def test_going_on_without_a_finished_round_keeps_the_opening(tmp_path: Path) -> None:
    log = finished(tmp_path, rounds=0)
    with log:
        log.open(keep_until="round-finished")
    assert [e.kind for e in log.events()] == ["run-started", "windows"]


def test_a_damaged_line_in_the_middle_is_told_with_its_place(tmp_path: Path) -> None:
    log = finished(tmp_path)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0] + b"garbage\n" + b"".join(lines[1:]))
    with pytest.raises(Damaged, match=rf"events\.jsonl: byte {len(lines[0])} does not begin an event"):
        list(log.events())


def test_only_one_process_writes_a_journal(tmp_path: Path) -> None:
    with RunLog.create(tmp_path, "r") as log:
        with pytest.raises(RunError, match="is being written by another process"):
            RunLog(log.folder).open()
        assert RunLog(log.folder).status == "running"
    assert RunLog(log.folder).status == "interrupted"


def _create(runs: Path, results: "multiprocessing.Queue[str]") -> None:
    with RunLog.create(runs, "same") as log:
        results.put(log.run_id)


def test_processes_that_start_at_once_get_different_runs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_create, args=(tmp_path, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {f"same-{n}" for n in range(1, 5)}


@pytest.mark.parametrize(
    ("kind", "status"), [("run-finished", "finished"), ("run-stopped", "stopped"), ("run-failed", "failed")]
)
def test_the_status_is_that_of_the_last_ending(tmp_path: Path, kind: str, status: str) -> None:
    log = finished(tmp_path)
    with log:
        log.open()
        log.append(kind)
    assert log.status == status


def test_a_run_is_found_by_its_id_or_as_the_latest_of_its_name(tmp_path: Path) -> None:
    finished(tmp_path), finished(tmp_path)
    assert RunLog.find(tmp_path, "r-1").run_id == "r-1"
    assert RunLog.find(tmp_path, "r").run_id == "r-2"
    with pytest.raises(NotFound, match=r"there is no run 'r-3'\. Did you mean"):
        RunLog.find(tmp_path, "r-3")
    with pytest.raises(NotFound):
        RunLog.find(tmp_path, "../r-1")


def test_an_event_of_no_known_kind_or_with_nan_is_refused(tmp_path: Path) -> None:
    with RunLog.create(tmp_path, "r") as log:
        with pytest.raises(ValueError, match="is not a kind of event"):
            log.append("evnt")
        with pytest.raises(ValueError, match="JSON"):
            log.append("warning", message=float("nan"))
    assert list(log.events()) == []


def test_observers_see_events_and_progress_but_only_events_are_written(tmp_path: Path) -> None:
    seen: list[str] = []
    with RunLog.create(tmp_path, "r") as log:
        log.observers.append(lambda event: seen.append(event.kind))
        log.append("warning", message="a")
        log.progress("training", epoch=0)
    assert seen == ["warning", "training"]
    assert [e.kind for e in log.events()] == ["warning"]


def test_a_write_to_a_full_disk_names_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left on device: .*events\.jsonl"),
        naming(tmp_path / "events.jsonl"),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_a_run_that_never_began_leaves_nothing_on_a_full_disk(tmp_path):
    log = RunLog.create(tmp_path, "r")
    log._file.close()
    log._file = open("/dev/full", "ab")  # noqa: SIM115
    with pytest.raises(OSError, match=r"events\.jsonl"):
        log.append("run-started", run=log.run_id)
    log.discard()
    assert not log.folder.exists()
    with RunLog.create(tmp_path, "r") as again:
        assert again.run_id == log.run_id


def test_a_run_can_be_removed_to_make_room_on_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m"):
        runs = tmp_path / "disk" / "runs"
        with RunLog.create(runs, "flights") as log:
            log.append("run-started")
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={tmp_path / 'disk' / 'filler'}", "bs=4k"],
            check=False,
            stderr=subprocess.DEVNULL,
        )
        log.remove()
        assert not log.folder.exists()
        with RunLog.create(runs, "flights") as second:
            assert second.run_id == "flights-2"
