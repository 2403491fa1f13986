import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modyn.errors import Damaged, NotFound
from modyn.models.store import ModelStore
from modyn.types import Checkpoint
from modyn.workspace import Workspace

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1], dtype=torch.int64)}


def checkpoint(number: int = 0, run: str = "r-1") -> Checkpoint:
    return Checkpoint(
        id=f"{run}/{number}",
        run=run,
        round=number,
        parent=None,
        dataset="d",
        dataset_version=1,
        data_until=5,
        num_samples=3,
        seed=0,
    )


@pytest.fixture
def store(workspace: Workspace) -> ModelStore:
    return ModelStore(workspace)


def test_weights_and_lineage_are_read_back_as_stored(store: ModelStore) -> None:
    stored = store.put(WEIGHTS, checkpoint())
    assert stored.size_bytes > 0
    assert store.get("r-1/0") == stored
    again = store.weights("r-1/0")
    assert all(torch.equal(again[name], WEIGHTS[name]) for name in WEIGHTS)


def test_checkpoints_come_in_the_order_of_their_rounds(store: ModelStore) -> None:
    for number in (10, 2, 0):
        store.put(WEIGHTS, checkpoint(number))
    store.put(WEIGHTS, checkpoint(1, "other-1"))
    assert [c.round for c in store.checkpoints("r-1")] == [0, 2, 10]
    assert len(list(store.checkpoints())) == 4
    store.remove("r-1")
    assert [c.run for c in store.checkpoints()] == ["other-1"]


@pytest.mark.parametrize("identity", ["r-1", "../r-1/0", "r-1/x", "a/b/0", "/0", "..//0", ".hidden/0"])
def test_what_is_no_id_is_refused(store: ModelStore, identity: str) -> None:
    with pytest.raises(NotFound):
        store.get(identity)


def test_a_missing_checkpoint_names_the_nearest(store: ModelStore) -> None:
    store.put(WEIGHTS, checkpoint())
    with pytest.raises(NotFound, match=r"there is no checkpoint 'r-1/1'\. Did you mean 'r-1/0'\?"):
        store.get("r-1/1")


def test_of_many_checkpoints_only_the_nearest_is_named(store: ModelStore) -> None:
    for number in range(12):
        store.put(WEIGHTS, replace(checkpoint(), id=f"r-1/{number}", round=number))
    with pytest.raises(NotFound, match=r"'zzz/99'\. Did you mean 'r-1/\d+'\? There are 12 checkpoints of 1 run\.$"):
        store.get("zzz/99")


def test_a_flipped_byte_is_found(store: ModelStore) -> None:
    store.put(WEIGHTS, checkpoint())
    path = store.root / "r-1" / "0" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"weights\.safetensors is not what was stored"):
        store.weights("r-1/0")


@pytest.mark.parametrize("lineage", ["", "[1]", json.dumps({"id": 3}), json.dumps({"sha256": "x"})])
def test_a_damaged_lineage_is_told(store: ModelStore, lineage: str) -> None:
    store.put(WEIGHTS, checkpoint())
    (store.root / "r-1" / "0" / "checkpoint.json").write_text(lineage)
    for read in (store.get, store.weights):
        with pytest.raises(Damaged, match=r"checkpoint\.json is not what was stored"):
            read("r-1/0")


KILL = """
import os, signal, sys
from modyn import workspace
import modyn.models.store as store
real, count = workspace.write_durably, [0]
def write(path, content):
    count[0] += 1
    if count[0] == int(sys.argv[1]):
        path.with_name("half.tmp").write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, content)
store.write_durably = write
sys.path.insert(0, sys.argv[2])
from test_store import WEIGHTS, checkpoint
store.ModelStore(workspace.Workspace()).put(WEIGHTS, checkpoint())
"""


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_put_that_was_killed_leaves_no_checkpoint_and_can_be_done_again(store: ModelStore, step: int) -> None:
    died = subprocess.run(
        [sys.executable, "-c", KILL, str(step), str(Path(__file__).parent)], env=os.environ, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert list(store.checkpoints()) == []
    store.put(WEIGHTS, checkpoint())
    assert len(store.weights("r-1/0")) == 2


def test_removing_a_run_removes_its_holdout_models_and_no_others(store: ModelStore) -> None:
    for run in ("r-1", "r-1.holdout-0", "r-1.holdout-1", "r-10", "r-10.holdout-0", "other-r-1.holdout-0"):
        store.put(WEIGHTS, checkpoint(run=run))
    store.remove("r-1")
    assert [c.run for c in store.checkpoints()] == ["other-r-1.holdout-0", "r-10", "r-10.holdout-0"]
    store.remove("r-1")
