import os

import numpy as np
import pytest
import torch

from modyn.training.device import shared_out
from modyn.training.memory_reader import MemoryReader
from modyn.training.options import Training
from modyn.training.parsing import Parser
from modyn.training.trainer import Trainer
from modyn.types import Selection


def test_the_number_of_threads_holds_while_training_and_predicting_only() -> None:
    seen: list[int] = []

    def parse(columns):  # type: ignore[no-untyped-def]
        return torch.from_numpy(columns["x"])

    class Watching(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(x)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        reader = MemoryReader({"x": np.zeros((8, 3), np.float32)}, labels=np.zeros(8, np.int64))
        trainer = Trainer(
            Training(threads=1, device="cpu"), model=lambda: Watching(3, 2), parser=Parser(parse), reader=reader, seed=0
        )
        fitted = trainer.fit(Selection(np.arange(8)), round=0)
        trainer.predict(fitted.weights, np.arange(8))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "taken", "asked", "expected"),
    [
        (2, 2, None, (None, False)),
        (2, 1, None, (None, True)),
        (2, 2, 1, (1, True)),
        (2, 1, 2, (2, False)),
        (1, 1, None, (None, True)),
        (8, 8, None, (7, True)),
        (8, 4, None, (None, True)),
        (8, 8, 8, (8, False)),
    ],
)
def test_loading_and_tensor_operations_do_not_share_a_core(
    monkeypatch: pytest.MonkeyPatch, cores: int, taken: int, asked: int | None, expected: tuple[int | None, bool]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: taken)
    assert shared_out(asked, torch.device("cpu")) == expected
    assert shared_out(asked, torch.device("cuda")) == (asked, True)


@pytest.mark.parametrize("number", [1, len(os.sched_getaffinity(0))])
def test_the_loader_stays_out_of_the_way_of_tensor_operations(number: int) -> None:
    cores = len(os.sched_getaffinity(0))
    made = Trainer(
        Training(threads=number, device="cpu"),
        model=lambda: torch.nn.Linear(3, 2),
        parser=Parser(lambda columns: torch.from_numpy(columns["x"])),
        reader=MemoryReader({"x": np.zeros((8, 3), np.float32)}, labels=np.zeros(8, np.int64)),
        seed=0,
    )
    assert made.loader.in_background == (number < cores or cores == 1)
