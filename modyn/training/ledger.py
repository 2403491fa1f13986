"""Losses as they come, and the first that is no number."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class Ledger:
    """Keeps losses on the device until they are due, so that a GPU is not waited for at each step.

    ``reduce`` adds up a tensor of losses over devices that share batches.
    """

    def __init__(self, *, every: int, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        self.every = every
        self.reduce = reduce
        self.last = 0.0
        self.num_samples = 0
        self._total = 0.0
        self._pending: list[tuple[Tensor, int, int, int]] = []

    def add(self, loss: Tensor, size: int, epoch: int, step: int) -> None:
        """Note the loss of a batch of ``size`` samples."""
        self._pending.append((loss, size, epoch, step))

    @property
    def is_due(self) -> bool:
        return len(self._pending) >= self.every

    def settle(self) -> tuple[int, int, float] | None:
        """Count the pending losses; epoch, step and value of the first that is not finite, if any."""
        pending, self._pending = self._pending, []
        if not pending:
            return None
        for value, (_, size, epoch, step) in zip(self._values([p[0] for p in pending]), pending, strict=True):
            if value - value != 0:
                return epoch, step, value
            self._total += value * size
            self.num_samples += size
            self.last = value
        return None

    def _values(self, losses: list[Tensor]) -> list[float]:
        if self.reduce is not None:
            losses = [self.reduce(torch.stack(losses))]
            return [float(value) for value in losses[0].tolist()]
        return [float(losses[0])] if len(losses) == 1 else [float(v) for v in torch.stack(losses).tolist()]

    def take_mean(self) -> tuple[float, int]:
        """Mean loss and number of samples since the last call."""
        mean, count = self._total / max(1, self.num_samples), self.num_samples
        self._total, self.num_samples = 0.0, 0
        return mean, count

    def state_dict(self) -> dict[str, Any]:
        return {"total": self._total, "num_samples": self.num_samples, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._total, self.num_samples, self.last = state["total"], state["num_samples"], state["last"]
