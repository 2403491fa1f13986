"""The user's own code: what it may import, and what is told of it."""

import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import modyn
from modyn import policy
from modyn.errors import ConfigError, RunError
from modyn.runlog import RunLog
from modyn.training.parsing import Parser
from modyn.training.source import digest_of
from modyn.triggers import Trigger
from modyn.usercode import Importable, told_if_it_exits, with_neighbours
from modyn.workspace import Workspace

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder ``code`` with a file that imports its neighbours in every way."""
    code = tmp_path / "code"
    (code / "deep").mkdir(parents=True)
    (code / "loose").mkdir()
    (code / "shapes.py").write_text("import sizes\nSIDE = sizes.SIZE + 1\nclass Square: pass\n")
    (code / "sizes.py").write_text("SIZE = 2\n")
    (code / "deep" / "__init__.py").write_text("from deep.inner import ONE\n")
    (code / "deep" / "inner.py").write_text("import sizes\nfrom . import other\nONE = other.ONE\n")
    (code / "deep" / "other.py").write_text("ONE = 1\n")
    (code / "loose" / "part.py").write_text("PART = 5\n")
    (code / "later.py").write_text("def late(): return 7\n")
    (code / "main.py").write_text(
        "import json\nimport deep.inner as inner, shapes\nfrom deep import ONE\nfrom loose.part import PART\nfrom shapes import SIDE, Square\n"
        "def area(): return SIDE * SIDE * ONE + PART\n"
        "def afterwards():\n    import later\n    return later.late() + inner.ONE\n"
    )
    return code


def loaded(folder: Path, name: str) -> object:
    return Importable(f"./{folder.name}/main.py:{name}", folder.parent).load()


def test_a_file_imports_what_lies_beside_it_at_once_and_later(folder: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    assert loaded(folder, "area")() == 14  # type: ignore[operator]
    assert loaded(folder, "afterwards")() == 8  # type: ignore[operator]
    assert sys.path == path
    new = set(sys.modules) - modules
    assert all(name.startswith("modyn_files_") for name in new), new


def test_files_of_one_name_in_two_folders_stay_apart(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "main.py").write_text("from sizes import SIZE\ndef area(): return SIZE\n")
    (other / "sizes.py").write_text("SIZE = 100\n")
    assert [loaded(folder, "area")(), loaded(other, "area")()] == [14, 100]  # type: ignore[operator]


def test_a_changed_neighbour_is_imported_again_and_all_agree_on_it(folder: Path) -> None:
    assert loaded(folder, "area")() == 14  # type: ignore[operator]
    assert loaded(folder, "area") is loaded(folder, "area")
    (folder / "sizes.py").write_text("SIZE = 1 + 8\n")
    assert loaded(folder, "area")() == 105  # type: ignore[operator]
    shapes = Importable("./shapes.py:Square", folder).load()
    assert loaded(folder, "Square") is shapes


def test_the_standard_library_comes_first_and_what_is_missing_is_told(folder: Path) -> None:
    (folder / "json.py").write_text("1 / 0")
    (folder / "odd.py").write_text("import json\nimport nowhere_at_all\n")
    with pytest.raises(ConfigError, match=r"importing '\./odd\.py' failed: .*No module named 'nowhere_at_all'"):
        Importable("./odd.py:x", folder).load()


def test_a_module_of_the_program_is_not_imported_a_second_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    import shapes  # type: ignore[import-not-found]

    try:
        assert loaded(folder, "Square") is shapes.Square
    finally:
        for name in ("shapes", "sizes"):
            del sys.modules[name]


def test_a_policy_of_a_neighbour_is_named_by_its_file(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "from modyn.triggers import Trigger\nclass Mine(Trigger):\n    'Never.'\n    def update(self, batch):\n        yield from ()\n"
    )
    (folder / "all.py").write_text("from mine import Mine\n")
    built = policy.build(Trigger, "./code/all.py:Mine", base_dir=folder.parent)
    assert policy.to_document(built) == "./code/mine.py:Mine"


@pytest.mark.slow
def test_a_spawned_process_finds_the_neighbours_too(folder: Path) -> None:
    parser = Parser(Importable("./code/main.py:area", folder.parent))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_called, (parser.function,)) == 14
        square = loaded(folder, "Square")
        assert pool.apply(_made, (square,)) == "Square"


def _called(function: Importable) -> object:
    return function.load()()


def _made(cls: type) -> str:
    return type(cls()).__name__


def test_another_process_finds_a_class_of_a_neighbour_by_name(folder: Path) -> None:
    kept = pickle.dumps(loaded(folder, "Square"))
    program = f"import modyn.usercode, pickle; print(pickle.loads({kept!r})().__class__.__name__)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "Square\n"


def test_the_files_that_a_file_imports_are_known_without_running_it(folder: Path) -> None:
    found = [str(path.relative_to(folder)) for path in with_neighbours(folder / "main.py")]
    inner = ["deep/__init__.py", "deep/inner.py", "deep/other.py"]
    assert found == [*inner, "later.py", "loose/part.py", "main.py", "shapes.py", "sizes.py"]
    (folder / "sizes.py").write_text("import main\nthis is no Python")
    assert len(with_neighbours(folder / "main.py")) == 8


@pytest.mark.parametrize("changed", ["main.py", "shapes.py", "deep/other.py", "later.py"])
def test_what_is_kept_of_parsing_depends_on_the_neighbours(folder: Path, changed: str) -> None:
    parser = Parser(Importable("./code/main.py:area", folder.parent))
    before = digest_of(parser)
    assert before is not None
    assert digest_of(parser) == before
    (folder / changed).write_text((folder / changed).read_text() + "\n# another\n")
    assert digest_of(parser) != before


def test_a_run_keeps_the_neighbours_and_does_not_go_on_with_others(
    pipeline_file: Write, stream: Workspace, tmp_path: Path
) -> None:
    file = pipeline_file()
    (tmp_path / "scaling.py").write_text("FACTOR = 1.0\n")
    parsers = tmp_path / "parsers.py"
    parsers.write_text("import scaling\n" + parsers.read_text())
    with pytest.raises(KeyboardInterrupt):
        modyn.Pipeline.load(file).run(observers=[_stop_at_the_second_round])
    kept = RunLog.find(stream.runs, "drifting").folder / "code"
    assert sorted(path.name for path in kept.iterdir()) == ["parsers.py", "scaling.py"]
    (tmp_path / "scaling.py").write_text("FACTOR = 2.0\n")
    with pytest.raises(RunError, match=r"scaling\.py has changed since it began"):
        modyn.Pipeline.resume("drifting-1")


def _stop_at_the_second_round(event: object) -> None:
    if getattr(event, "kind", None) == "round-started" and getattr(event, "round", None) == 1:
        raise KeyboardInterrupt


EXITS = "import sys\nimport torch\n\ndef features(columns):\n    sys.exit('no such column')\n"


@pytest.mark.parametrize(
    "text", ["import sys\nsys.exit(3)\n", "import argparse\nargparse.ArgumentParser().error('no')\n"]
)
def test_a_file_that_ends_the_program_when_imported_is_told(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Importable("./script.py:x", tmp_path).load()
    told = str(caught.value)
    assert told.startswith("importing './script.py': script.py, line 2, "), told
    assert told.endswith("this ends the whole program; what a pipeline names must raise an error instead")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_whose_code_ends_the_program_fails_with_a_line(
    pipeline_file: Write, stream: Workspace, tmp_path: Path, workers: int
) -> None:
    file = pipeline_file()
    (tmp_path / "parsers.py").write_text(EXITS)
    pipeline = modyn.Pipeline.load(file, [f"training.workers={workers}"])
    with pytest.raises(ConfigError, match=r"^parsers\.py, line 5, sys\.exit\('no such column'\): .*\(no such column\)"):
        pipeline.run()
    assert RunLog.find(stream.runs, "drifting").status == "failed"


def test_a_program_that_ends_itself_is_not_hindered() -> None:
    with pytest.raises(SystemExit), told_if_it_exits():
        sys.exit(3)
