"""The commands, as a user types them."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modyn.runlog import RunLog
from modyn.training.options import Training
from modyn.workspace import Workspace

Write = Callable[..., Path]
Modyn = Callable[..., tuple[int, str, str]]


@pytest.fixture
def modyn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Modyn:
    """Runs a command line; gives its exit code and what it printed to each stream."""
    from modyn.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modyn", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGTERM, before)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.mark.parametrize("command", [["policies", "trigger"], ["simulate"]], ids=" ".join)
def test_who_stops_reading_is_not_told_of_it(
    pipeline_file: Write, stream: Workspace, workspace: Workspace, command: list[str]
) -> None:
    here, there = os.pipe()
    os.close(here)
    arguments = [*command, *([str(pipeline_file())] if command == ["simulate"] else [])]
    ended = subprocess.run(
        [sys.executable, "-m", "modyn", *arguments], stdout=there, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(there)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_of_several_pipelines_the_one_that_fails_is_named(
    modyn: Modyn, pipeline_file: Write, stream: Workspace
) -> None:
    path = pipeline_file()
    wrong = path.with_name("wrong.yaml")
    wrong.write_text(path.read_text().replace("parsers.py:features", "parsers.py:fetures"))
    code, out, err = modyn("run", "--quiet", path, wrong, path)
    assert code == 2
    assert f"{wrong} is where it ended, after 1 of 3" in out
    assert "'./parsers.py:fetures': ./parsers.py has nothing named 'fetures'. Did you mean 'features'?" in err


def test_a_check_looks_at_what_the_trigger_looks_at(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file(("{every: {samples: 200}}", "{once: {}}"))
    right = "trigger={cooldown: {min_samples: 5, trigger: {drift: {features: 'column:serial'}}}}"
    for setting, code, told in (
        (right, 0, "ok  trigger cooldown"),
        (right.replace("serial", "zz"), 2, "trigger.cooldown.trigger.drift.features: the trigger looks at column 'zz'"),
        ("trigger={drift: {features: './parsers.py:nope'}}", 2, "./parsers.py has nothing named 'nope'"),
    ):
        found, out, err = modyn("check", path, "--set", setting)
        assert found == code
        assert told in out + err


def test_a_pipeline_is_checked_run_shown_reported_and_removed(
    modyn: Modyn, pipeline_file: Write, stream: Workspace, tmp_path: Path
) -> None:
    path = pipeline_file()
    code, out, _ = modyn("check", path)
    assert code == 0
    assert "dataset drifting: 1,000 samples over [1970-01-01 00:00" in out
    code, out, _ = modyn("run", path, "--set", "training.epochs=1")
    assert code == 0
    assert "drifting-1 (drifting): finished, 5 rounds" in out
    code, out, _ = modyn("run", path, "--name", "other", "--quiet", "--report", tmp_path / "r.html")
    assert code == 0
    assert f"Report: {tmp_path / 'r.html'}" in out
    code, out, _ = modyn("runs", "ls")
    assert out.index("other-1") < out.index("drifting-1")
    code, out, _ = modyn("runs", "show", "drifting")
    assert code == 0
    assert "never-retrained" in out
    assert re.search(r"^training was \w+-bound \(waiting for data \d+%, moving it \d+%, forward", out, re.MULTILINE)
    code, out, _ = modyn("report", "drifting-1", "other-1", "-o", tmp_path / "both.html")
    assert code == 0
    assert (tmp_path / "both.html").stat().st_size < 8 * 2**20
    code, out, _ = modyn("runs", "rm", "drifting-1", "--yes")
    assert (code, out) == (0, "removed drifting-1\n")
    assert not (stream.models / "drifting-1").exists()
    code, _, err = modyn("runs", "show", "drifting-1")
    assert code == 2
    assert err.startswith("modyn: there is no run 'drifting-1'.")


def test_several_pipelines_are_run_and_compared(modyn: Modyn, pipeline_file: Write, tmp_path: Path) -> None:
    first = pipeline_file()
    second = pipeline_file(
        ("name: drifting", "name: once"), ("{every: {samples: 200}}", "{once: {samples: 200}}"), name="once.yaml"
    )
    code, out, _ = modyn("run", first, second, "--report", tmp_path / "r.html")
    assert code == 0
    assert "majority class" in out
    assert "once-1" in out


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            ("trigger: {every", "trigger: {evry"),
            "drifting.yaml:6: trigger.evry: no trigger is named 'evry'. Did you mean 'every'?",
        ),
        (
            ("samples: 200", "samples: -1"),
            "drifting.yaml:6: trigger.every.samples: input should be greater than 0; got -1",
        ),
        (("seed: 7", "sed: 7"), "no option is named 'sed' here. Did you mean 'seed'?"),
        (("dataset: drifting", "dataset: nowhere"), "nowhere"),
        (("./parsers.py", "./parser.py"), "there is no file"),
        (("mlp: {inputs", "mpl: {inputs"), "Did you mean 'mlp'?"),
        (("adamw", "adamww"), "Did you mean 'adamw'?"),
        (("roc-auc", "rocauc"), "Did you mean 'roc-auc'?"),
        (("inputs: 2", "inputs: 3"), "3"),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_bad_input_is_one_clear_line_and_exit_code_2(
    modyn: Modyn, pipeline_file: Write, command: str, replaced: tuple[str, str], message: str
) -> None:
    code, _, err = modyn(command, pipeline_file(replaced))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert err.startswith("modyn: ")
    assert len(err.splitlines()) <= 2


def test_a_missing_pipeline_file_is_told(modyn: Modyn, workspace: Workspace) -> None:
    code, _, err = modyn("run", "nothing.yaml")
    assert (code, err) == (2, "modyn: there is no file nothing.yaml.\n")


def test_an_unknown_command_or_option_exits_2(modyn: Modyn) -> None:
    assert modyn("rn")[0] == 2
    assert modyn("run", "--nme", "x")[0] == 2


def test_policies_are_listed_and_explained(modyn: Modyn) -> None:
    code, out, _ = modyn("policies")
    assert code == 0
    assert {"trigger", "selector", "metric", "windows"} <= set(out.split())
    code, out, _ = modyn("policies", "trigger", "every")
    assert code == 0
    assert ">>> list(Every(samples=4)" in out
    assert "train each so many samples" in out
    assert "BeforeValidator" not in out
    code, _, err = modyn("policies", "triger")
    assert code == 2
    assert "Did you mean 'trigger'?" in err
    code, _, err = modyn("policies", "trigger", "evry")
    assert code == 2
    assert "Did you mean 'every'?" in err


def test_the_sections_of_a_pipeline_file_are_explained_like_policies(modyn: Modyn) -> None:
    code, out, _ = modyn("policies", "training")
    assert code == 0
    options = {line.split("  ")[0]: line for line in out.splitlines()}
    for name in Training.model_fields:
        assert name in options
    assert "integer > 0" in options["batch_size"]
    assert " 64 " in options["batch_size"]
    assert "0.999" in options["ema.decay"]
    _, listed, _ = modyn("policies")
    for section in ("pipeline", "parser", "training", "evaluation", "stream"):
        assert f"\n  {section} " in listed
        code, out, _ = modyn("policies", section)
        assert code == 0
        assert out.startswith(f"{section}  ")
    _, out, _ = modyn("policies", "training", "early_stopping")
    assert "early_stopping.patience" in out
    assert "batch_size" not in out
    code, _, err = modyn("policies", "training", "batchsize")
    assert (code, err) == (2, "modyn: training has no option 'batchsize'. Did you mean 'batch_size'?\n")


def test_the_schema_is_json(modyn: Modyn) -> None:
    code, out, _ = modyn("schema")
    assert code == 0
    assert json.loads(out)["title"] == "Pipeline"


def test_a_policys_prose_is_broken_only_where_the_console_ends(modyn: Modyn) -> None:
    _, out, _ = modyn("policies", "trigger", "cron")
    lines = out.split("Options")[0].splitlines()
    short = [line for line, after in itertools.pairwise(lines) if 0 < len(line) < 130 and after]
    assert not short


def test_a_starter_pipeline_fits_its_dataset_and_runs(modyn: Modyn, stream: Workspace) -> None:
    code, out, _ = modyn("init", "drifting", "-o", "starter")
    assert code == 0
    assert "wrote starter/drifting.yaml" in out
    code, out, err = modyn("check", "starter/drifting.yaml")
    assert code == 0, err
    code, out, err = modyn("run", "starter/drifting.yaml")
    assert code == 0, err
    code, _, err = modyn("init", "drifting", "-o", "starter")
    assert code == 2
    assert "exists already" in err


def test_a_workspace_that_cannot_be_made_is_told(
    modyn: Modyn, pipeline_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pipeline_file()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MODYN_WORKSPACE", str(tmp_path / "file" / "space"))
    code, _, err = modyn("run", path)
    assert code == 2
    assert "the workspace" in err
    assert "cannot be used" in err


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_stops_cleanly_and_the_run_goes_on_later(
    modyn: Modyn, pipeline_file: Write, stream: Workspace, sent: signal.Signals
) -> None:
    path = pipeline_file()
    command = [
        sys.executable,
        "-c",
        "from modyn.cli import main; main()",
        "run",
        str(path),
        "--set",
        "training.epochs=15",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    for line in process.stdout:
        if "round 1 " in line:
            process.send_signal(sent)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert RunLog.find(stream.runs, "drifting").status == "stopped"
    code, out, _ = modyn("resume", "drifting", "--quiet")
    assert code == 0
    assert "finished, 5 rounds" in out


def test_ctrl_c_gives_130_wherever_and_however_often_it_comes(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text("""
import atexit, os, signal
from modyn import cli

@cli.app.command("wait")
def wait():
    exec("raise KeyboardInterrupt")  # python -m remembers an interrupt that came while source text ran

atexit.register(os.kill, os.getpid(), signal.SIGINT)
cli.main()
""")
    command = [sys.executable, "-m", "interrupted", "wait"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "modyn: stopped\n")


def test_an_error_in_the_users_code_is_not_called_a_fault_in_modyn(
    modyn: Modyn, pipeline_file: Write, stream: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "from modyn.selectors.pickers import Picker\n\n\nclass Own(Picker):\n    'Mine.'\n\n"
        "    def take(self, signal, budget, rng):\n        return {}['missing']\n"
    )
    coreset = "selector: {coreset: {budget: 20, signal: embedding, picker: './own.py:Own'}}"
    path = pipeline_file(("seed: 7", f"{coreset}\nseed: 7"))
    code, _, err = modyn("run", path, "-q")
    assert code == 2
    assert "own.py, line 8, return {}['missing']: KeyError: 'missing'" in err
    assert "fault in Modyn" not in err


def test_the_version_is_printed(modyn: Modyn) -> None:
    code, out, _ = modyn("--version")
    assert code == 0
    assert out.startswith("modyn 0.")


def test_a_damaged_journal_is_listed_as_such_and_can_be_removed(
    modyn: Modyn, pipeline_file: Write, stream: Workspace
) -> None:
    path = pipeline_file(("{every: {samples: 200}}", "never"))
    modyn("run", path, "-q"), modyn("run", path, "-q")
    journal = stream.runs / "drifting-1" / "events.jsonl"
    journal.write_bytes(b"[1]\n" + journal.read_bytes())
    code, out, _ = modyn("runs", "ls")
    assert code == 0
    assert "damaged" in out
    assert "drifting-2" in out
    code, _, err = modyn("runs", "show", "drifting-1")
    assert code == 2
    assert "does not begin an event" in err
    assert modyn("runs", "rm", "drifting-1", "-y")[0] == 0


@pytest.mark.parametrize("path", ["nowhere/deep/r.html", "folder"])
def test_a_report_that_cannot_be_written_is_told_before_any_training(
    modyn: Modyn, pipeline_file: Write, stream: Workspace, tmp_path: Path, path: str
) -> None:
    (tmp_path / "folder").mkdir()
    code, _, err = modyn("run", pipeline_file(), "--report", tmp_path / path)
    assert code == 2
    assert "the report cannot be written" in err
    assert not list(stream.runs.glob("*/events.jsonl"))


def test_the_workspace_can_be_named_after_the_command(modyn: Modyn, workspace: Workspace, tmp_path: Path) -> None:
    code, out, _ = modyn("runs", "ls", "--workspace", tmp_path / "other")
    assert (code, "There are no runs yet" in out) == (0, True)
    assert os.environ["MODYN_WORKSPACE"] == str(tmp_path / "other")


def test_what_finished_before_a_failure_is_shown(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    first = pipeline_file()
    second = pipeline_file(("name: drifting", "name: bad"), ("features", "explosive"), name="bad.yaml")
    code, out, err = modyn("run", first, second)
    assert code == 2
    assert "drifting-1 (drifting): finished, 5 rounds" in out
    assert "what it had finished is kept; go on with: modyn resume bad-1" in out
    assert "the loss is" in err


def test_a_failure_that_resuming_would_only_meet_again_names_no_run_to_resume(
    modyn: Modyn, pipeline_file: Write, stream: Workspace
) -> None:
    code, out, err = modyn("run", pipeline_file(("outputs: 2", "outputs: 1")))
    assert code == 2
    assert "is not a class of the model" in err
    assert "resume" not in out


def test_a_run_that_trained_nothing_says_so(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file()
    code, out, _ = modyn("run", path, "--set", "trigger={every: {samples: 5000}}")
    assert code == 0
    assert f"drifting-1 trained nothing: its trigger never fired; modyn simulate {path}" in out
    assert "trained nothing" not in modyn("run", path)[1]


def test_a_score_is_undefined_only_where_a_window_comes_after(
    modyn: Modyn, pipeline_file: Write, stream: Workspace
) -> None:
    modyn("run", pipeline_file(), "-q", "--set", "trigger={every: {samples: 500}}")
    rows = [line for line in modyn("runs", "show", "drifting")[1].splitlines() if line.split()[:1] in (["0"], ["1"])]
    assert len(rows) == 2
    assert not any("undefined" in row for row in rows)


def test_only_a_run_that_waits_to_be_asked_is_asked_to_train(
    modyn: Modyn, pipeline_file: Write, stream: Workspace
) -> None:
    modyn("run", pipeline_file(), "-q")
    code, _, err = modyn("triggers", "fire", "drifting")
    assert code == 2
    assert "run drifting-1 is finished: asking it to train would do nothing" in err


def test_a_trigger_is_simulated_and_explained(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    path = pipeline_file()
    code, out, _ = modyn("simulate", path)
    assert code == 0
    assert "5 firings over 1,000 samples" in out
    assert "Mind" not in out
    modyn("run", path, "-q")
    code, out, _ = modyn("triggers", "explain", "drifting", "2")
    assert code == 0
    assert "drifting-1, round 2: 200 new samples, trigger every" in out
    assert modyn("triggers", "explain", "drifting", "9")[0] == 2


def test_a_simulation_says_what_it_was_not_told(modyn: Modyn, pipeline_file: Write, stream: Workspace) -> None:
    low = "{performance: {check_every: 200, criteria: {low: {threshold: {value: 0.1}}}}}"
    path = pipeline_file(("{every: {samples: 200}}", low))
    assert "Mind: 5 checks had no model to look at" in modyn("simulate", path)[1]
    modyn("run", path, "-q")
    assert "Mind" not in modyn("simulate", path, "--run", "drifting")[1]
    costs = "{data-latency-cost: {seconds_of_delay_per_training_second: 1e9}}"
    path = pipeline_file(("{every: {samples: 200}}", costs))
    path.write_text(path.read_text().replace("1e9}", "1e9, first: 200}"))
    assert "Mind: a training was said to cost nothing" in modyn("simulate", path)[1]
    assert "Mind" not in modyn("simulate", path, "--training-seconds", 5)[1]


def test_a_parser_that_names_no_column_is_told_the_nearest(modyn: Modyn, pipeline_file: Write, tmp_path: Path) -> None:
    path = pipeline_file()
    (tmp_path / "parsers.py").write_text("def features(columns):\n    return columns['serail']\n")
    code, _, err = modyn("check", path)
    assert code == 2
    assert "no such column. Did you mean 'serial'?" in err


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_parser_that_ends_the_program_is_one_clear_line(
    modyn: Modyn, pipeline_file: Write, tmp_path: Path, command: str
) -> None:
    path = pipeline_file()
    (tmp_path / "parsers.py").write_text("def features(columns):\n    raise SystemExit(0)\n")
    code, _, err = modyn(command, path)
    assert code == 2
    assert err.splitlines()[-1].startswith(
        "modyn: parsers.py, line 2, raise SystemExit(0): this ends the whole program"
    )
