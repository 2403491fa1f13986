"""One optimiser step: forward, weighted loss, backward, clipping, step; in micro-batches if gradients are accumulated."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from modyn.training.clock import Clock
from modyn.training.loader import Batch
from modyn.training.losses import Criterion
from modyn.training.options import Training
from modyn.training.tensors import apply

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Step:
    """Does one optimiser step on a batch that lies on the model's device."""

    def __init__(
        self,
        options: Training,
        *,
        model: nn.Module,
        criterion: Criterion,
        optimizers: Sequence[Optimizer],
        device: torch.device,
        clock: Clock,
    ) -> None:
        self.options = options
        self.model = model
        self.criterion = criterion
        self.optimizers = optimizers
        self.device = device
        self.clock = clock
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def __call__(self, batch: Batch, *, check: bool) -> Tensor:
        """The batch's loss before the step, detached. ``check`` looks whether outputs and labels fit (once is enough)."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch, check=check)
        self._update()
        self.clock.lap("step")
        return loss

    def _gradients(self, batch: Batch, *, check: bool) -> Tensor:
        size = self.options.batch_size
        if len(batch) <= size:
            return self._pass(batch, check=check, share=None)
        total = float(len(batch)) if batch.weights is None else batch.weights.sum()
        loss: Tensor | None = None
        for start in range(0, len(batch), size):
            part = batch.rows(start, min(start + size, len(batch)))
            weight = len(part) if part.weights is None else part.weights.sum()
            part_loss = self._pass(part, check=check and start == 0, share=weight / total)
            loss = part_loss if loss is None else loss + part_loss
        assert loss is not None
        return loss

    def _pass(self, batch: Batch, *, check: bool, share: Any) -> Tensor:
        """Forward and backward; the loss counts by its share of the step's weight."""
        with autocast(self.options.precision, self.device):
            outputs = apply(self.model, batch.inputs)
            if check:
                self.criterion.check(outputs, batch.labels, batch.keys)
            assert batch.labels is not None
            loss = self.criterion(
                outputs.float() if self.options.precision != "fp32" else outputs, batch.labels, batch.weights
            )
        if share is not None:
            loss = loss * share
        self.clock.lap("forward")
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
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
