"""What a round's training gives, and how long it is."""

import resource
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modyn.errors import TrainingError
from modyn.training.options import Training
from modyn.training.order import num_batches


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a round's training gave: ``weights`` on the CPU, and what it took.

    ``num_samples`` counts the samples trained on, ``loss`` is the last epoch's mean, ``seconds`` has ``load`` and ``train``,
    ``first_step_s`` is the time from the call to the end of the first optimiser step.
    """

    weights: dict[str, Tensor]
    num_samples: int
    num_steps: int
    loss: float
    seconds: Mapping[str, float]
    first_step_s: float
    device: str
    peak_memory_bytes: int


@dataclass(frozen=True)
class Length:
    """How long a round trains, in optimiser steps."""

    steps_per_epoch: int
    num_steps: int

    @property
    def num_epochs(self) -> int:
        return -(-self.num_steps // self.steps_per_epoch)

    @classmethod
    def of(cls, options: Training, num_rows: int, round: int) -> "Length":  # noqa: A002
        """Raises TrainingError if there is nothing to train on."""
        size = options.batch_size * options.accumulate
        per_epoch = num_batches(num_rows, size, drop_last=options.drop_last)
        if not per_epoch:
            reason = f", and drop_last leaves out batches of less than {size}" if num_rows else ""
            raise TrainingError(f"round {round}: nothing to train on: {num_rows} samples are selected{reason}")
        samples = options.samples_of(round)
        return cls(per_epoch, per_epoch * options.epochs_of(round) if samples is None else -(-samples // size))


def peak_memory(device: torch.device) -> int:
    """Bytes used at most: on a GPU by tensors, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def on_cpu(value: Tensor) -> Tensor:
    """A copy on the CPU that nothing else changes."""
    return value.detach().to("cpu", copy=True).contiguous()
