"""The cache of parsed inputs: kept across rounds and runs, never in the way of a change, a deletion, a crash or a full disk."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modyn.datasets import Dataset
from modyn.errors import DataError, NotFound
from modyn.policy import Importable
from modyn.training import cache as caches
from modyn.training.cache import MemoryRows, ParsedCache, on_disk
from modyn.training.kept import KeptRows, prune
from modyn.training.options import Training
from modyn.training.parsing import Parser
from modyn.training.source import digest_of
from modyn.training.trainer import Trainer
from modyn.types import Selection
from modyn.workspace import Workspace
from tests.training.toys import mlp, same

CODE = """
import pathlib
import helper

def parse(columns, *, seen, times=2.0):
    with pathlib.Path(seen).open("a") as file:
        file.write(f"{len(columns['x'])}\\n")
    return columns["x"] * helper.SCALE * times
"""


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(7)
    dataset = Dataset.create(Workspace(tmp_path / "workspace"), "toys")
    x = rng.normal(size=(600, 8)).astype(np.float32)
    dataset.append({"x": x}, timestamps=np.arange(600), labels=(x[:, 0] > 0).astype(np.int64))
    return dataset


@pytest.fixture
def code(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "parsers.py").write_text(CODE)
    (folder / "helper.py").write_text("SCALE = 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    return folder


def parser_in(code, **options):
    return Parser(Importable("./parsers.py:parse", code), options={"seen": str(code / "seen"), **options})


def trained(dataset, parser, *, cache="disk", keys=None, workers=0):
    fit = Trainer(
        Training.model_validate({"batch_size": 64, "cache": cache, "workers": workers, "epochs": 2}),
        model=mlp(),
        parser=parser,
        reader=dataset.reader(),
        seed=3,
    )
    fitted = fit.fit(Selection(dataset.keys() if keys is None else keys), round=0)
    fit.close()
    return fitted.weights


def num_parsed(code):
    """Samples that were parsed since the last call, but for the few that are only looked at."""
    sizes = [int(line) for line in (code / "seen").read_text().split()]
    (code / "seen").write_text("")
    return sum(size for size in sizes if size > caches.LOOKED_AT)


def folders(dataset):
    return sorted(path for path in (dataset.workspace.caches / dataset.name).glob("*/*"))


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_later_run_parses_nothing_again(dataset, code, kind):
    first = trained(dataset, parser_in(code), cache=kind)
    assert num_parsed(code) == 600
    assert same(first, trained(dataset, parser_in(code), cache=kind))
    assert num_parsed(code) == 0
    assert same(first, trained(dataset, parser_in(code), cache="none"))
    caches._in_memory.clear()


def test_only_what_is_new_is_parsed(dataset, code):
    trained(dataset, parser_in(code), keys=np.arange(400))
    assert num_parsed(code) == 400
    trained(dataset, parser_in(code), keys=np.arange(200, 600))
    assert num_parsed(code) == 200


@pytest.mark.parametrize("change", ["source", "helper", "options"])
def test_another_parser_has_a_cache_of_its_own(dataset, code, change):
    before = trained(dataset, parser_in(code))
    num_parsed(code)
    options = {}
    if change == "source":
        (code / "parsers.py").write_text(CODE.replace("times\n", "times * 3\n"))
    elif change == "helper":
        (code / "helper.py").write_text("SCALE = 1.0  # another source\n")
    else:
        options = {"times": 5.0}
    now = trained(dataset, parser_in(code, **options))
    assert num_parsed(code) == 600
    assert same(before, now) == (change == "helper")
    assert len(folders(dataset)) == 2


def test_caches_of_parsers_used_long_ago_are_removed_but_not_those_in_use(tmp_path):
    rows = [KeptRows(tmp_path / "d" / str(number), named=True) for number in range(7)]
    del rows[2:6]
    assert sorted(prune(tmp_path / "d" / "6")) == ["2"]
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["0", "1", "3", "4", "5", "6"]


def test_a_deleted_sample_is_never_served(dataset, code):
    trained(dataset, parser_in(code))
    keys = dataset.keys()
    dataset.delete([17])
    with pytest.raises(NotFound, match="sample 17 of dataset 'toys' is deleted"):
        trained(dataset, parser_in(code), keys=keys)


def test_a_deleted_sample_without_label_is_never_served(tmp_path, code):
    dataset = Dataset.create(Workspace(tmp_path / "workspace"), "unlabelled")
    dataset.append({"x": np.ones((600, 8), np.float32)}, timestamps=np.arange(600))
    fit = Trainer(
        Training.model_validate({"batch_size": 64, "cache": "memory"}),
        model=mlp(),
        parser=parser_in(code),
        reader=dataset.reader(),
        seed=3,
    )
    weights = fit.new_model(0).state_dict()
    assert len(fit.predict(weights, np.arange(600))) == 600
    dataset.delete([17])
    with pytest.raises(NotFound, match="sample 17"):
        fit.predict(weights, np.arange(600))
    caches._in_memory.clear()


def test_a_purge_removes_the_cache_also_from_under_a_trainer_at_work(dataset, code):
    fit = Trainer(
        Training.model_validate({"batch_size": 64, "cache": "disk"}),
        model=mlp(),
        parser=parser_in(code),
        reader=dataset.reader(),
        seed=3,
    )
    fit.fit(Selection(dataset.keys()), round=0)
    dataset.delete([17])
    assert dataset.purge().caches_removed
    assert not (dataset.workspace.caches / "toys").exists()
    num_parsed(code)
    fit.fit(Selection(dataset.keys()), round=1)
    assert num_parsed(code) == 599
    assert len(folders(dataset)) == 1


def test_rows_parsed_before_a_purge_are_not_kept_after_it(tmp_path):
    rows = KeptRows(tmp_path / "d" / "a", named=True)
    (tmp_path / "d" / "a" / "index").unlink()
    (tmp_path / "d" / "a" / "in-use").unlink()
    (tmp_path / "d" / "a").rmdir()
    others = KeptRows(tmp_path / "d" / "a", named=True)
    with pytest.raises(FileNotFoundError):
        rows.append(np.arange(3), torch.ones(3, 2), [torch.ones(3, 2)])
    assert rows.is_gone
    assert not others.is_gone
    assert not list((tmp_path / "d" / "a").glob("*.rows"))


def test_a_new_dataset_of_a_removed_ones_name_gets_nothing_of_its_cache(dataset, code):
    trained(dataset, parser_in(code))
    workspace = dataset.workspace
    before = dataset.reader().caches
    Dataset.remove(workspace, "toys")
    assert not (workspace.caches / "toys").exists()
    again = Dataset.create(workspace, "toys")
    again.append({"x": np.zeros((600, 8), np.float32)}, timestamps=np.arange(600), labels=np.arange(600) % 2)
    assert again.reader().caches != before
    num_parsed(code)
    trained(again, parser_in(code))
    assert num_parsed(code) == 600


@pytest.mark.parametrize("damage", ["cut", "flipped", "rows cut"])
def test_what_a_crash_or_a_bad_copy_left_is_not_read(dataset, code, damage):
    whole = trained(dataset, parser_in(code))
    num_parsed(code)
    (folder,) = folders(dataset)
    index, (rows,) = folder / "index", folder.glob("*.rows")
    content = index.read_bytes()
    if damage == "cut":
        index.write_bytes(content[:-100])
    elif damage == "flipped":
        index.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    else:
        rows.write_bytes(rows.read_bytes()[:5000])
        with pytest.warns(match=r"training.cache: (cannot be read \(the file|holds other inputs)"):
            assert same(whole, trained(dataset, parser_in(code)))
    assert same(whole, trained(dataset, parser_in(code)))
    assert num_parsed(code) == (600 if damage == "rows cut" else 600 - 64 - 128 - 256)
    assert same(whole, trained(dataset, parser_in(code)))
    assert num_parsed(code) == 0


def test_a_parser_that_changed_without_its_source_is_noticed(dataset, code):
    before = trained(dataset, parser_in(code))
    parser = parser_in(code)
    parser._loaded.func.__globals__["helper"].SCALE = 4.0
    with pytest.warns(match="holds other inputs than the parser gives now"):
        now = trained(dataset, parser)
    assert not same(before, now)


def test_a_full_disk_is_one_warning_and_training_goes_on(dataset, code):
    expected = trained(dataset, parser_in(code), cache="none")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024, hard))
    try:
        with pytest.warns(match="training.cache: takes no more .file too large.: what is not in it") as told:
            got = trained(dataset, parser_in(code))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(told) == 1
    assert same(expected, got)


def test_a_cache_that_cannot_be_opened_is_one_warning(dataset, code):
    dataset.workspace.caches.write_text("a file where a folder should be")
    with pytest.warns(match="training.cache: cannot be opened") as told:
        got = trained(dataset, parser_in(code))
    assert len(told) == 1
    assert same(got, trained(dataset, parser_in(code), cache="none"))


def test_two_caches_on_one_folder_see_each_others_rows(tmp_path):
    asked: list[int] = []

    def parse(keys):
        asked.extend(keys.tolist())
        return {"a": torch.from_numpy(keys * 2.0), "b": torch.from_numpy(keys)[:, None].repeat(1, 3)}

    one, two = (on_disk(tmp_path / "c" / "x", otherwise=tmp_path) for _ in range(2))
    one.inputs(np.array([5, 2, 9]), parse)
    two.inputs(np.array([9, 1]), parse)
    found = one.inputs(np.array([1, 9, 5, 7, 2, 1]), parse)
    assert asked == [2, 5, 9, 9, 1, 7]
    assert found["a"].tolist() == [2.0, 18.0, 10.0, 14.0, 4.0, 2.0]
    assert found["b"].tolist() == [[1] * 3, [9] * 3, [5] * 3, [7] * 3, [2] * 3, [1] * 3]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_inputs_unlike_those_before_are_refused(where, tmp_path):
    kept = ParsedCache(MemoryRows) if where == "memory" else on_disk(tmp_path / "a" / "b", otherwise=tmp_path)
    kept.inputs(np.arange(3), lambda keys: torch.zeros(len(keys), 2))
    with pytest.raises(DataError, match=r"samples 3 to 4: the parser gave float32\[2, 5\], unlike before"):
        kept.inputs(np.arange(5), lambda keys: torch.zeros(len(keys), 5))


def test_empty_tensors_and_scalars_are_kept(tmp_path):
    kept = on_disk(tmp_path / "a" / "b", otherwise=tmp_path)
    for _ in range(2):
        found = kept.inputs(np.array([3, 1]), lambda keys: (torch.zeros(len(keys), 0), torch.from_numpy(keys) > 2))
        assert found[0].shape == (2, 0)
        assert found[1].tolist() == [True, False]


def test_a_function_made_while_running_is_cached_for_the_process_alone(dataset):
    scale = 3.0
    assert digest_of(Parser(lambda columns: columns["x"] * scale)) is None
    trained(dataset, Parser(lambda columns: columns["x"] * scale))
    assert not dataset.workspace.caches.exists()


def test_the_digest_is_the_same_in_every_process(code):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from modyn.policy import Importable;"
        "from modyn.training.parsing import Parser; from modyn.training.source import digest_of;"
        "print(digest_of(Parser(Importable('./parsers.py:parse', Path(sys.argv[1])))))"
    )
    other = subprocess.run([sys.executable, "-c", script, str(code)], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest_of(Parser(Importable("./parsers.py:parse", code)))


def test_processes_fill_the_cache_and_the_next_run_needs_none(dataset, code):
    options = {"cache": "disk", "workers": 2, "epochs": 2, "batch_size": 64}
    alone = trained(dataset, parser_in(code), cache="none")
    for expected in (600, 0):
        fit = Trainer(
            Training.model_validate(options), model=mlp(), parser=parser_in(code), reader=dataset.reader(), seed=3
        )
        assert same(alone, fit.fit(Selection(dataset.keys()), round=0).weights)
        num_parsed(code) if expected else None
        assert (fit.loader._pool is None) == (expected == 0)
        fit.close()


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from modyn.training.cache import on_disk

folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
kept = on_disk(folder, otherwise=folder)

def parse(keys):
    numbers = torch.from_numpy(keys)
    return numbers.double() / 7, numbers[:, None] * torch.arange(1000)

print("ready", flush=True)
for low in range(first, last, 37):
    keys = np.arange(low, min(low + 37, last))
    inputs = kept.inputs(keys, parse)
    assert torch.equal(inputs[1], parse(keys)[1]) and torch.equal(inputs[0], parse(keys)[0])
print(len(kept.missing(np.arange(first, last))), kept.told, flush=True)
"""


def writer(folder, first, last):
    arguments = [sys.executable, "-c", SCRIPT, str(folder), str(first), str(last)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def check_rows(folder: Path, num_keys: int) -> int:
    """How many rows are kept, after all were compared with what they should be."""
    rows = KeptRows(folder, named=True)
    keys = rows.added()
    if not len(keys):
        return 0
    assert rows.num_rows == len(keys)
    scaled, products = rows.take(np.arange(len(keys)))
    numbers = torch.from_numpy(keys)
    assert torch.equal(scaled, numbers.double() / 7)
    assert torch.equal(products, numbers[:, None] * torch.arange(1000))
    return len(keys)


@pytest.mark.slow
def test_killed_writers_leave_whole_rows_only(tmp_path):
    folder, num_kept = tmp_path / "caches" / "x", 0
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
        process = writer(folder, 0, 20_000)
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = check_rows(folder, 20_000)
        assert now >= num_kept
        num_kept = now
    assert 0 < num_kept < 20_000
    process = writer(folder, 0, 20_000)
    assert "0 []" in process.communicate()[0]
    assert check_rows(folder, 20_000) == 20_000


@pytest.mark.slow
def test_two_processes_at_once_fill_one_cache(tmp_path):
    folder = tmp_path / "caches" / "x"
    processes = [writer(folder, 0, 4000), writer(folder, 2000, 6000), writer(folder, 0, 6000)]
    for process in processes:
        assert "0 []" in process.communicate()[0]
        assert process.returncode == 0
    assert check_rows(folder, 6000) >= 6000
