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

    ``num_samples`` counts the samples of the selection that were trained on, each once and less those held out; ``num_seen`` those in all
    optimiser steps, each as often as it was in one. ``loss`` is the last epoch's mean (NaN of an estimator, which does not tell it), ``seconds`` has ``load`` and ``train``,
    ``first_step_s`` is the time from the call to the end of the first optimiser step.
    """

    weights: dict[str, Tensor]
    num_samples: int
    num_seen: int
    num_steps: int
    loss: float
    seconds: Mapping[str, float]
    first_step_s: float
    device: str
    peak_memory_bytes: int


@dataclass(frozen=True)
class Length:
    """How long a round trains: optimiser steps in an epoch and in all, and epochs, of which the last may be cut short."""

    steps_per_epoch: int
    num_steps: int
    num_epochs: int

    @classmethod
    def of(
        cls,
        options: Training,
        num_rows: int,
        round: int,  # noqa: A002
        *,
        batch_size: int,
        done: tuple[int, int] = (0, 0),
    ) -> "Length":
        """The length of a round that has ``done`` so many epochs and steps, and goes on with batches out of ``num_rows``.

        Raises TrainingError if there is nothing to train on.
        """
        per_epoch = num_batches(num_rows, batch_size, drop_last=options.drop_last)
        if not per_epoch:
            selected = "1 sample is selected" if num_rows == 1 else f"{num_rows:,} samples are selected"
            reason = f", and drop_last leaves out batches of less than {batch_size}" if num_rows else ""
            raise TrainingError(f"round {round}: nothing to train on: {selected}{reason}")
        epochs, steps = done
        samples = options.samples_of(round)
        if samples is None:
            num_epochs = options.epochs_of(round)
            return cls(per_epoch, steps + per_epoch * (num_epochs - epochs), num_epochs)
        num_steps = -(-samples // batch_size)
        return cls(per_epoch, num_steps, epochs - (-(num_steps - steps) // per_epoch))


def peak_memory(device: torch.device) -> int:
    """Bytes used at most: on a GPU by tensors, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def on_cpu(value: Tensor) -> Tensor:
    """A copy on the CPU that nothing else changes."""
    return value.detach().to("cpu", copy=True).contiguous()
