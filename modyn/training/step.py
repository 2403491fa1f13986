"""One optimiser step: forward, weighted loss, backward, clipping, step; in micro-batches if gradients are accumulated."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from modyn.training.blocks import Batch
from modyn.training.clock import Clock
from modyn.training.losses import Criterion
from modyn.training.options import Training
from modyn.training.ranks import Ranks
from modyn.training.tensors import apply

TINY = torch.finfo(torch.float32).tiny
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Step:
    """Does one optimiser step on a batch that lies on the model's device.

    ``forward`` is the model as it is called: compiled, or joined with other devices.
    """

    def __init__(
        self,
        options: Training,
        *,
        model: nn.Module,
        criterion: Criterion,
        optimizers: Sequence[Optimizer],
        device: torch.device,
        clock: Clock,
        forward: Callable[..., Any] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.options = options
        self.model = model
        self.forward = model if forward is None else forward
        self.criterion = criterion
        self.optimizers = optimizers
        self.device = device
        self.clock = clock
        self.ranks = ranks or Ranks()
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._micro_rows = -(-options.batch_size // self.ranks.num_ranks)

    def __call__(self, batch: Batch, *, check: bool) -> Tensor:
        """The batch's loss before the step, detached (of several devices: this one's part of it).

        ``check`` looks whether outputs and labels fit each other; once is enough.
        """
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch, check=check)
        self._update()
        self.clock.lap("step")
        return loss

    def _gradients(self, batch: Batch, *, check: bool) -> Tensor:
        if self.options.accumulate == 1 and batch.total_weight is None:
            return self._backward(batch, check=check, total=None)
        total: Any = batch.total_weight
        if total is None:
            total = float(len(batch)) if batch.weights is None else batch.weights.sum().clamp_min(TINY)
        elif not total:
            total = TINY
        size = self._micro_rows
        starts = range(0, max(1, len(batch)), size)
        losses = []
        for start in starts:
            part = batch.rows(start, min(start + size, len(batch)))
            with self._unsynchronised(start + size < len(batch)):
                losses.append(self._backward(part, check=check and start == 0, total=total))
        return torch.stack(losses).sum()

    def _unsynchronised(self, more_to_come: bool) -> AbstractContextManager[Any]:
        """Add gradients up over devices only after the last micro-batch."""
        if more_to_come and isinstance(self.forward, nn.parallel.DistributedDataParallel):
            return self.forward.no_sync()
        return nullcontext()

    def _backward(self, batch: Batch, *, check: bool, total: Any) -> Tensor:
        """Forward and backward; with ``total``, losses are added up and divided by it instead of the batch's own weight."""
        with autocast(self.options.precision, self.device):
            outputs = apply(self.forward, batch.inputs)
            if check:
                self.criterion.check(outputs, batch.labels, batch.keys)
            assert batch.labels is not None
            outputs = outputs.float() if self.options.precision != "fp32" else outputs
            if total is None:
                loss = self.criterion(outputs, batch.labels, batch.weights)
            else:
                loss = self.criterion.total(outputs, batch.labels, batch.weights) / total
        self.clock.lap("forward")
        # DDP divides gradients by the number of ranks; each has already divided by the whole batch's weight.
        scaled = loss * self.ranks.num_ranks if self.ranks.num_ranks > 1 else loss
        self.scaler.scale(scaled).backward()  # type: ignore[no-untyped-call]
        self.clock.lap("backward")
        return loss.detach()

    def _update(self) -> None:
        clip = self.options.clip
        if clip is not None:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            if clip.value is not None:
                nn.utils.clip_grad_value_(self._parameters, clip.value)
            if clip.norm is not None:
                nn.utils.clip_grad_norm_(self._parameters, clip.norm)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The number format of a forward pass."""
    return torch.autocast(device.type, PRECISIONS[precision]) if precision != "fp32" else nullcontext()
