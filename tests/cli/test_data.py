"""``modyn data ...`` as a user types it."""

import io
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from modyn.cli import main
from modyn.datasets import Dataset
from modyn.sources import ledger
from modyn.workspace import Workspace


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "140")

    def start(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["modyn", "data", *words])
        previous = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGTERM, previous)
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return start


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    path = tmp_path / "flights.csv"
    rows = "".join(f"{i},{i % 2},2013-01-{i % 28 + 1:02},{'ann' if i % 5 else 'bob'}\n" for i in range(100))
    path.write_text("distance,late,time,who\n" + rows + "far,1,2013-01-01,cy\n7,1,2013-13-01,cy\n")
    os.utime(path, (1, 1))
    return path


def test_a_dataset_is_added_listed_shown_and_its_bad_samples_told(run: Run, flights: Path) -> None:
    added = run("add", "flights", str(flights), "--label", "late", "--timestamp", "time")
    assert added.returncode == 0
    first, last = added.stdout.splitlines()
    assert f"set aside: 2 samples; the first: {flights}, row 101: distance is not a whole number: 'far'" in first
    assert last.startswith("flights: 100 samples added, 2 quarantined, ")
    assert "flights" in run("ls").stdout
    shown = run("show", "flights").stdout
    for words in (
        "100",
        "2013-01-01 00:00:00 to 2013-01-28 00:00:00 UTC",
        f"csv {flights}",
        "distance",
        "2 samples (modyn data bad",
    ):
        assert words in shown
    assert json.loads(run("show", "flights", "--json").stdout)["quarantined"] == 2
    bad = run("bad", "flights").stdout
    assert "time is not a time" in bad
    assert "'2013-13-01'" in bad
    lines = [json.loads(line) for line in run("bad", "flights", "--json").stdout.splitlines()]
    assert [line["row"] for line in lines] == [101, 102]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.csv"], "missing.csv."),
        (
            ["flights.csv", "--label", "lat"],
            "has no column 'lat' (the label). Did you mean 'late'? Its columns: distance, late",
        ),
        (
            ["flights.csv", "--set", "delimitr=;"],
            "source.csv.delimitr: no option is named 'delimitr' here. Did you mean",
        ),
        (["flights.csv", "--format", "cvs"], "no source is named 'cvs'. Did you mean 'csv'?"),
        (["flights.csv", "--timestamp", "who"], "who is not a time: 'bob'"),
        (["flights.csv", "--timestamp", "distance"], "column 'distance' holds numbers: say time_unit"),
        (["flights.csv", "--set", "on_bad_sample=fail"], "row 101: distance is not a whole number: 'far'"),
        (["empty.csv"], "empty.csv is empty"),
        (["flights.csv", "--set", "columns=[]"], "source.csv.columns: needs at least 1 item"),
        (["flights.csv", "--set", "time_pattern=("], "source.csv.time_pattern: is not a regular expression"),
        (["flights.csv", "--link"], "cannot be linked"),
        (["flights.xyz"], "flights.xyz. Did you mean 'flights.csv'?"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    run: Run, flights: Path, workspace: Workspace, words: list[str], message: str
) -> None:
    (flights.parent / "empty.csv").touch()
    os.utime(flights.parent / "empty.csv", (1, 1))
    done = run("add", "new", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert Dataset.names(workspace) == []


def test_a_name_that_exists_is_refused_and_nothing_is_lost(run: Run, flights: Path) -> None:
    run("add", "flights", str(flights))
    again = run("add", "flights", str(flights))
    assert again.returncode == 2
    assert "there is a dataset 'flights' already: --extend adds to it" in again.stderr
    assert "101" in run("ls").stdout
    assert "0 samples added" in run("add", "flights", str(flights), "--extend").stdout


def test_watching_once_takes_new_rows_and_retrying_takes_fixed_ones(run: Run, flights: Path) -> None:
    run("add", "flights", str(flights), "--label", "late", "--timestamp", "time")
    with flights.open("a") as file:
        file.write("5,0,2013-02-01,dan\n")
    os.utime(flights, (2, 2))
    assert "flights: 1 sample added" in run("watch", "flights", "--once").stdout
    assert "0 samples added, 2 still unusable" in run("retry", "flights").stdout


def test_watching_ends_at_ctrl_c(run: Run, flights: Path, workspace: Workspace) -> None:
    run("add", "flights", str(flights), "--label", "late", "--timestamp", "time", "--set", "settle=0s")
    with flights.open("a") as file:
        file.write("5,0,2013-02-01,dan\n")
    command = [
        sys.executable,
        "-u",
        "-c",
        "from modyn.cli import main; main()",
        "data",
        "watch",
        "flights",
        "--interval",
        "100ms",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("flights: 1 sample added")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_samples_are_deleted_by_condition_key_file_and_id_and_purged(
    run: Run, flights: Path, workspace: Workspace
) -> None:
    run("add", "flights", str(flights), "--label", "late", "--timestamp", "time", "--set", "id=who")
    assert "20 samples deleted" in run("delete", "flights", "--id-column", "who", "--ids", "bob", "--yes").stdout
    assert "3 samples deleted" in run("delete", "flights", "--keys", "0-3", "--yes").stdout
    assert run("delete", "flights", "label == 1", "--yes").returncode == 0
    dataset = Dataset.open(workspace, "flights")
    assert set(dataset.samples().labels.tolist()) == {0}  # type: ignore[union-attr]
    purged = run("purge", "flights", "--yes")
    assert purged.returncode == 0
    assert "'far'" not in run("bad", "flights").stdout
    assert "0 samples added" in run("watch", "flights", "--once").stdout
    assert "samples deleted" in run("delete", "flights", "--source-file", "flights.csv", "--yes").stdout
    assert dataset.num_samples == 0
    assert "everything is as it was written" in run("verify", "flights").stdout
    assert run("compact", "flights").returncode == 0


def test_what_is_found_is_what_the_same_words_delete(run: Run, workspace: Workspace) -> None:
    dataset = Dataset.create(workspace, "d")
    dataset.append(
        {"cam": ["n", "s"] * 50}, timestamps=np.arange(100) * 3_600_000_000, labels=["a", "a", "b", "b"] * 25
    )
    words = ("d", "cam == n", "label == b")
    shown = run("find", *words, "--limit", "2").stdout.splitlines()
    assert [line.split() for line in shown[1:3]] == [
        ["2", "1970-01-01", "02:00:00", "b"],
        ["6", "1970-01-01", "06:00:00", "b"],
    ]
    assert shown[-1] == "d: 25 of 100 samples found, the first 2 shown"
    assert len(run("find", "d", "key >= 0", "--json").stdout.splitlines()) == 100  # all: for programs
    assert run("find", "d", "key >= 0").stdout.splitlines()[-1] == "d: 100 of 100 samples found, the first 50 shown"
    lines = [json.loads(line) for line in run("find", *words, "--keys", "0-10", "--json").stdout.splitlines()]
    assert lines == [
        {"key": key, "time": f"1970-01-01T0{hour}:00:00+00:00", "label": "b"} for key, hour in ((2, 2), (6, 6))
    ] + [{"key": 10, "time": "1970-01-01T10:00:00+00:00", "label": "b"}]
    assert "25 samples deleted" in run("delete", *words, "--yes").stdout
    assert run("find", *words).stdout == "d: 0 of 75 samples found\n"
    assert "say which samples" in run("find", "d").stderr
    assert "Did you mean 'cam'?" in run("find", "d", "kam == n").stderr


def test_a_sample_without_a_label_is_found_too(run: Run, workspace: Workspace) -> None:
    dataset = Dataset.create(workspace, "d")
    dataset.append({"x": [1, 2]}, timestamps=[0, 0])
    assert "label" not in run("find", "d", "x == 1").stdout
    dataset.label([0], [7])
    assert [json.loads(line)["label"] for line in run("find", "d", "x > 0", "--json").stdout.splitlines()] == [7, None]
    assert "not known yet" in run("find", "d", "x == 2").stdout


def test_deleting_asks_first_and_needs_to_know_what(run: Run, flights: Path, workspace: Workspace) -> None:
    run("add", "flights", str(flights))
    assert "say which samples" in run("delete", "flights").stderr
    unasked = run("delete", "flights", "--keys", "1")
    assert unasked.returncode == 2
    assert unasked.stderr == (
        "modyn: Delete 1 of the 101 samples of flights? There is no terminal to ask on: say --yes\n"
    )
    for wrong in ("one", "²", "5-", "7-3"):
        assert "--keys: " in run("delete", "flights", "--keys", wrong).stderr
    assert "ends before it begins" in run("delete", "flights", "--keys", "7-3").stderr
    assert "no live sample is meant" in run("delete", "flights", "--keys", f"101-{10**30}", "--yes").stdout
    (flights.parent / "ids").write_bytes(b"\xff")
    ids = ["--id-column", "who", "--ids", f"@{flights.parent / 'ids'}"]
    assert "is not UTF-8 text" in run("delete", "flights", *ids).stderr
    assert Dataset.open(workspace, "flights").num_samples == 101


class Terminal(io.StringIO):
    """A terminal on which somebody has typed."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("words", "question", "left"),
    [
        (["delete", "flights", "--keys", "7"], "Delete 1 of the 100 samples of flights?", 99),
        (["retention", "flights", "90d"], "Delete 100 of the 100 samples of flights that are older than 90d?", 0),
        (["purge", "flights"], "Remove the bytes of 1 deleted sample of flights for good, and what is kept of 2", 100),
        (["rm", "flights"], "Remove dataset flights with 100 samples?", None),
    ],
)
def test_what_cannot_be_undone_is_asked_about(
    run: Run,
    flights: Path,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    question: str,
    left: int | None,
) -> None:
    run("add", "flights", str(flights), "--label", "late", "--timestamp", "time")
    dataset = Dataset.open(workspace, "flights")
    if words[0] == "purge":
        dataset.append({"distance": [1], "who": ["ann"]}, timestamps=[0], labels=[0])
        dataset.delete([100])
    refused = run(*words)
    assert refused.returncode == 2
    assert question in refused.stderr
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    declined = run(*words)
    assert question in declined.stdout + declined.stderr
    assert declined.returncode == 130
    assert (dataset.num_samples, dataset.num_deleted) == (100, int(words[0] == "purge"))
    assert dataset.summary().retention_us is None
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run(*words).returncode == 0
    assert left is None or (dataset.num_samples, words[0] == "purge" and dataset.num_deleted) == (left, 0)


def test_labels_that_are_not_known_yet_are_shown_as_such(run: Run, workspace: Workspace) -> None:
    dataset = Dataset.create(workspace, "orders")
    dataset.append({"x": [1, 2, 3]}, timestamps=[0, 1, 2])
    dataset.label([0], [7])
    shown = run("show", "orders").stdout
    assert "not known yet" in shown
    assert "None" not in shown


def test_label_rows_that_are_set_aside_are_not_called_samples(run: Run, workspace: Workspace, tmp_path: Path) -> None:
    dataset = Dataset.create(workspace, "d")
    dataset.append({"order": [1, 2]}, timestamps=[1, 2])
    (tmp_path / "labels.csv").write_text("order,y\n1,4\n9,5\n")
    out = run("label", "d", str(tmp_path / "labels.csv"), "--id", "order", "--label", "y", "--set", "settle=0s").stdout
    assert out.startswith("set aside: 1 label row; the first: ")
    assert "set aside  1 label row (modyn data bad d)" in run("show", "d").stdout
    assert "d: 1 label row set aside" in run("bad", "d").stdout
    (tmp_path / "more.csv").write_text("order,at\n3,1\n4,soon\n")
    more = ("add", "d", str(tmp_path / "more.csv"), "--extend", "--timestamp", "at", "--set", "time_unit=s")
    assert run(*more, "--set", "settle=0s").stdout.startswith("set aside: 1 sample; the first: ")
    assert "d: 1 sample and 1 label row set aside" in run("bad", "d").stdout
    assert "what is kept of 1 sample and 1 label row set aside" in run("purge", "d").stderr


def test_a_dataset_whose_linked_file_is_lost_is_shown_and_purged(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(32)))
    os.utime(path, (1, 1))
    options = ["--set", "record_size=8", "--set", "label_type=int32"]
    assert run("add", "d", str(path), "--link", *options).returncode == 0
    path.unlink()
    shown = run("show", "d")
    assert shown.returncode == 0
    assert "samples    4" in shown.stdout
    assert "a.bin: the linked file is missing" in "".join(line.strip() for line in shown.stdout.splitlines())
    assert json.loads(run("show", "d", "--json").stdout)["lost"] == [f"{path}: the linked file is missing"]
    assert "1 sample deleted" in run("delete", "d", "--keys", "2", "--yes").stdout
    assert f"linked  {path} is yours and still holds the bytes" in run("purge", "d", "--yes").stdout
    assert "samples    3" in run("show", "d").stdout


def test_looking_at_a_dataset_that_came_from_no_file_writes_nothing(run: Run, workspace: Workspace) -> None:
    Dataset.create(workspace, "d").append({"x": [1]}, timestamps=[0])
    assert run("show", "d").returncode == 0
    assert run("bad", "d").stdout == "d: nothing set aside\n"
    assert "took no samples from files" in run("find", "d", "--source-file", "x.csv").stderr
    assert run("purge", "d").returncode == 0
    assert not ledger.is_there(workspace)


def test_the_commands_of_the_page_on_sources_work_in_order(
    run: Run, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "data/flights/1.csv": b"time_hour,late,distance\n2013-01-01 05:00,1,70\n",
        "orders/1.csv": b"order,at\n7,2013-01-01\n8,2013-01-02\n",
        "returns/1.csv": b"order,returned\n8,1\n",
        "day_0.bin": bytes(2 * 160),
        "ticks.bin": b"".join(struct.pack("<iqf", n, 1_700_000_000 + n, n / 2) for n in range(3)),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1, 1))
    parquet.write_table(pa.table({"k": [0], "returned": [0]}), "late.parquet")
    os.utime("late.parquet", (1, 1))
    page = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    commands = [shlex.split(line, comments=True) for line in page.splitlines() if line.startswith("modyn data ")]
    assert len(commands) >= 8
    for _, _, *words in commands:
        done = run(*words, *(("--once",) if words[0] == "watch" else ()))
        assert done.returncode == 0, (words, done.stderr)
        assert "set aside:" not in done.stdout
    assert Dataset.open(workspace, "orders").samples().labels.tolist() == [0, 1]  # type: ignore[union-attr]
    ticks = Dataset.open(workspace, "ticks")
    assert ticks.samples().timestamps.tolist() == [(1_700_000_000 + n) * 10**6 for n in range(3)]
    assert ticks.reader().read(ticks.keys())["price"].tolist() == [0.0, 0.5, 1.0]


def test_the_package_runs_as_the_command() -> None:
    told = subprocess.run([sys.executable, "-m", "modyn", "--version"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_retention_deletes_what_is_older(run: Run, flights: Path) -> None:
    run("add", "flights", str(flights), "--timestamp", "time")
    refused = run("retention", "flights", "90d")
    assert refused.returncode == 2
    assert "Delete 100 of the 100 samples of flights that are older than 90d?" in refused.stderr
    assert "kept for 90d, 100 samples deleted" in run("retention", "flights", "90d", "--yes").stdout
    assert "kept for 30d, 0 samples deleted" in run("retention", "flights", "30d").stdout  # nothing to ask about
    assert run("retention", "flights", "0d").returncode == 2
    assert run("retention", "flights", "ninety").returncode == 2
    assert run("retention", "flights", "for-ever").returncode == 0


def test_a_removed_dataset_leaves_nothing_and_its_name_is_free(run: Run, flights: Path) -> None:
    run("add", "flights", str(flights))
    assert "removed" in run("rm", "flights", "--yes").stdout
    assert "There are no datasets yet" in run("ls").stdout
    assert "101 samples added" in run("add", "flights", str(flights)).stdout


QUEUE = """
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field
from modyn.sources import Cursor, Rows, Source

class Queue(Source):
    \"\"\"Reads numbers from a queue that has as many as a file says.\"\"\"

    length: str = Field(description="the file")

    def rows_after(self, start, layout):
        end = int(Path(self.length).read_text())
        if end > start.row:
            numbers = np.arange(start.row, end)
            yield Rows(pa.table({"x": numbers, "y": numbers % 2}), numbers, Cursor(end, end))
"""


def test_a_source_of_ones_own_goes_on_where_it_stopped(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(QUEUE)
    length = tmp_path / "length"
    length.write_text("3")
    words = ["--format", "./mine.py:Queue", "--label", "y", "--set", f"length={length}"]
    assert "queue: 3 samples added" in run("add", "queue", *words).stdout
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("MODYN_WORKSPACE", str(tmp_path / "workspace"))
    assert "queue: 0 samples added" in run("watch", "queue", "--once").stdout
    length.write_text("5")
    assert "queue: 2 samples added" in run("watch", "queue", "--once").stdout
    assert "PATH" in run("add", "other").stderr


def test_a_column_that_is_not_there_is_told_however_often_its_file_is_named(run: Run, flights: Path) -> None:
    labels = flights.parent / "labels.csv"
    labels.write_text("who,returned,paid\nann,1,0\nbob,0,1\n")
    os.utime(labels, (1, 1))
    run("add", "flights", str(flights), "--label", "late")
    words = ["label", "flights", str(labels), "--id", "who", "--label"]
    assert "100 labels delivered" in run(*words, "returned").stdout
    assert "flights: 0 labels delivered" in run(*words, "returned").stdout
    wrong = run(*words, "retuned")
    assert wrong.returncode == 2
    assert "has no column 'retuned' (the label). Did you mean 'returned'? Its columns: who, returned" in wrong.stderr
    other = run(*words, "paid").stderr
    assert "already, with other options (label: returned)" in other
    assert f"modyn data watch flights --once --source {labels} --set option=value" in other
    several = run("watch", "flights", "--once", "--set", "label=paid").stderr
    assert f"has 2 sources, and could mean any: say --source with one of {flights}, {labels}" in several
    change = ["watch", "flights", "--once", "--source", "labels.csv", "--set"]
    assert "Did you mean 'paid'?" in run(*change, "label=pad").stderr
    assert run(*change, "label=paid").returncode == 0
    assert "does not take from nothing.csv" in run(*change[:4], "nothing.csv", "--set", "label=paid").stderr


def test_a_file_of_samples_may_be_a_file_of_labels_too(run: Run, flights: Path, workspace: Workspace) -> None:
    run("add", "flights", str(flights), "--set", "columns=[who, distance]")
    assert "101 labels delivered" in run("label", "flights", str(flights), "--id", "who", "--label", "late").stdout


def test_a_column_that_lacks_in_a_later_file_is_told_with_all_that_are_there(run: Run, flights: Path) -> None:
    run("add", "flights", str(flights))
    later = flights.parent / "later.csv"
    later.write_text("distance,late,when,who\n1,0,2013-01-01,ann\n")
    os.utime(later, (1, 1))
    told = run("add", "flights", str(later), "--extend").stdout
    assert "has no column 'time' (the payload). Its columns: distance, late, when, who" in told


def test_the_pattern_of_a_time_needs_no_quotes(run: Run, flights: Path) -> None:
    words = ["--timestamp", "time", "--set", "time_format=%Y-%m-%d"]
    assert "100 samples added" in run("add", "flights", str(flights), *words).stdout
