"""Several devices train like one, up to the order of additions."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from modyn.errors import TrainingError
from tests.training.toys import everything, identity, mlp, one, reader, same, trainer

pytestmark = pytest.mark.slow
SGD = {"sgd": {"lr": 0.1, "momentum": 0.9}}


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip": 1.0}, {"ema": {"decay": 0.9}, "precision": "bf16"}])
def test_two_processes_give_what_one_gives(options):
    weights = np.random.default_rng(0).random(299)
    options = {"optimizer": SGD, "epochs": 2, "data": reader(299), "model": mlp(), **options}
    one = trainer(**options).fit(everything(299, weights), round=1)
    two = trainer(devices=2, **options).fit(everything(299, weights), round=1)
    assert one.num_steps == two.num_steps
    assert one.loss == pytest.approx(two.loss, rel=1e-3)
    loose = {"atol": 2e-3, "rtol": 2e-2} if "precision" in options else {}
    for name, value in one.weights.items():
        torch.testing.assert_close(value, two.weights[name], **loose)


def test_more_devices_than_samples_in_the_last_batch_is_no_trouble():
    data = reader(33)
    options = {"data": data, "parser": one, "per_sample": True, "optimizer": SGD, "model": mlp()}
    alone = trainer(workers=0, **options).fit(everything(33), round=0)
    two = trainer(devices=2, workers=1, **options).fit(everything(33), round=0)
    for name, value in alone.weights.items():
        torch.testing.assert_close(value, two.weights[name])


def stop(seen):
    """A hook that ends training in the middle."""
    raise KeyboardInterrupt


def test_after_a_kill_every_device_goes_on_with_its_own_generators(tmp_path):
    options = {
        "optimizer": SGD,
        "epochs": 2,
        "devices": 2,
        "model": mlp(dropout=0.5),
        "checkpoint": {"steps": 6},
        "data": reader(320),
    }
    whole = trainer(state_dir=tmp_path / "a", **options).fit(everything(320), round=1)
    with pytest.raises(KeyboardInterrupt):
        trainer(state_dir=tmp_path / "b", hooks=[{f"{__name__}:stop": {"every": 15}}], **options).fit(
            everything(320), round=1
        )
    assert (tmp_path / "b" / "round-1.safetensors").exists()
    resumed = trainer(state_dir=tmp_path / "b", **options).fit(everything(320), round=1)
    assert (whole.num_steps, whole.num_seen, whole.loss) == (resumed.num_steps, resumed.num_seen, resumed.loss)
    assert same(whole.weights, resumed.weights)


def test_devices_agree_when_it_is_time_to_keep_the_state(tmp_path):
    options = {"optimizer": SGD, "epochs": 3, "devices": 2, "model": mlp(), "checkpoint": {"time": "1ms"}}
    with pytest.raises(KeyboardInterrupt):
        trainer(state_dir=tmp_path, hooks=[{f"{__name__}:stop": {"every": 25}}], **options).fit(everything(), round=0)
    assert (tmp_path / "round-0.safetensors").exists()
    assert trainer(state_dir=tmp_path, **options).fit(everything(), round=0).num_steps == 96


class Drifting(nn.Module):
    """A model whose held-out loss grows on the second device only, as what batch norm has seen may do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen.add_(float(torch.distributed.get_rank()))
            return self.layer(x)
        return self.layer(x) * (1 - self.seen)


def test_devices_stop_early_together():
    options = {"optimizer": SGD, "epochs": 4, "devices": 2, "model": Drifting, "data": reader(320)}
    fitted = trainer(early_stopping={"share": 0.2, "patience": 1}, **options).fit(everything(320), round=0)
    assert fitted.num_steps == 4 * 8


class Idle(nn.Module):
    """A layer that no output depends on."""

    def __init__(self):
        super().__init__()
        self.layer, self.idle = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        return self.layer(x)


def test_parameters_that_several_devices_cannot_add_up_are_named():
    with pytest.raises(TrainingError, match=r"the loss does not depend on idle.weight, idle.bias; several devices"):
        trainer(devices=2, model=Idle).fit(everything(), round=0)


class Unloadable:
    """A model whose process ends as it is sent to it, as one does that runs a script without a guard."""

    def __call__(self):
        return mlp()()

    def __setstate__(self, state):
        raise SystemExit(7)


def test_a_device_that_cannot_begin_is_told_at_once():
    unloadable = Unloadable()
    unloadable.some = 1
    with pytest.raises(TrainingError, match=r"process of device 1 ended with code 7 before it could begin.*__main__"):
        trainer(devices=2, model=unloadable).fit(everything(), round=0)
    with pytest.raises(TrainingError, match=r"training.devices: model, parser.*local object"):
        trainer(devices=2, model=lambda: mlp()()).fit(everything(), round=0)


def pids(owner):
    return [process.pid for process, _ in owner._crew._members]


def test_the_processes_are_used_for_every_round_and_end_with_the_trainer():
    """And what is trained in them is what fresh ones would train."""
    options = {"optimizer": SGD, "model": mlp(dropout=0.5), "data": reader(64)}
    owner = trainer(devices=2, **options)
    first = owner.fit(everything(64), round=0)
    used = pids(owner)
    second = owner.fit(everything(64), round=1, start=first.weights)
    assert pids(owner) == used
    fresh = trainer(devices=2, **options)
    assert same(second.weights, fresh.fit(everything(64), round=1, start=first.weights).weights)
    fresh.close()
    os.kill(used[0], signal.SIGKILL)
    owner._crew._members[0][0].join(10)
    assert same(first.weights, owner.fit(everything(64), round=0).weights)
    used = pids(owner)
    owner.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in used)


def killed(seen):
    """A hook that kills the other device's process in the middle of round 0."""
    for child in multiprocessing.active_children() if seen.round == 0 else ():
        os.kill(child.pid, signal.SIGKILL)


def test_a_device_that_is_killed_in_the_middle_is_told_and_the_next_round_has_another():
    owner = trainer(devices=2, model=mlp(), hooks=[{f"{__name__}:killed": {"every": 3}}], epochs=3)
    with pytest.raises(TrainingError, match="device 1: its process ended with code -9"):
        owner.fit(everything(), round=0)
    assert owner.fit(everything(), round=1).num_steps == 96
    owner.close()


def test_a_program_that_never_closes_its_trainer_ends_all_the_same(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
from tests.training.toys import everything, mlp, reader, trainer

if __name__ == "__main__":
    owner = trainer(devices=2, model=mlp(), data=reader(64))
    owner.fit(everything(64), round=0)
    print([process.pid for process, _ in owner._crew._members])
"""
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not any(Path(f"/proc/{pid}").exists() for pid in json.loads(ended.stdout))


def picky(columns):
    if (columns["x"][:, 0] == 99).any():
        raise ValueError("no good")
    return columns["x"]


def test_a_failure_on_another_device_is_told():
    data = reader(64)
    data.columns["x"][63, 0] = 99
    with pytest.raises(TrainingError, match=r"device 1: .*sample 63: parser .*picky raised ValueError: no good"):
        trainer(data=data, parser=picky, devices=2, shuffle=False, batch_size=64).fit(everything(64), round=0)
    assert trainer(data=reader(64), parser=identity).fit(everything(64), round=0).num_steps == 2
