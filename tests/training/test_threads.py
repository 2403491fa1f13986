import numpy as np
import torch

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
