"""One optimiser step: forward, weighted loss, backward, clipping, step; in micro-batches if gradients are accumulated."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from modyn.training.blocks import Batch
from modyn.training.clock import Clock
from modyn.training.losses import Criterion
from modyn.training.options import Training
from modyn.training.ranks import Ranks
from modyn.training.tensors import apply

if TYPE_CHECKING:
    from modyn.training.choice import Recorder

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
        recorder: "Recorder | None" = None,
    ) -> None:
        self.options = options
        self.model = model
        self.forward = model if forward is None else forward
        self.criterion = criterion
        self.optimizers = optimizers
        self.device = device
        self.clock = clock
        self.ranks = ranks or Ranks()
        self.recorder = recorder
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
        total = _weight_of(batch) if batch.total_weight is None else batch.total_weight or TINY
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
            outputs = outputs.float() if self.options.precision != "fp32" else outputs
            loss = self._loss(outputs, batch, total)
        if self.recorder is not None:
            self._note(self.recorder, batch, outputs.detach())
        self.clock.lap("forward")
        # DDP divides gradients by the number of ranks; each has already divided by the whole batch's weight.
        scaled = loss * self.ranks.num_ranks if self.ranks.num_ranks > 1 else loss
        self.scaler.scale(scaled).backward()  # type: ignore[no-untyped-call]
        self.clock.lap("backward")
        return loss.detach()

    def _note(self, recorder: "Recorder", batch: Batch, outputs: Tensor) -> None:
        """Losses a sample, computed apart so that noting them changes no bit of the step."""
        assert batch.labels is not None
        with torch.no_grad():
            recorder.add(batch.keys, self.criterion.per_sample(outputs, batch.labels), outputs, batch.labels)

    def _loss(self, outputs: Tensor, batch: Batch, total: Any) -> Tensor:
        assert batch.labels is not None
        if total is None:
            return self.criterion(outputs, batch.labels, batch.weights)
        loss: Tensor = self.criterion.total(outputs, batch.labels, batch.weights) / total
        return loss

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


def _weight_of(batch: Batch) -> Any:
    """Sum of the batch's weights, never 0."""
    return float(len(batch)) if batch.weights is None else batch.weights.sum().clamp_min(TINY)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The number format of a forward pass."""
    return torch.autocast(device.type, PRECISIONS[precision]) if precision != "fp32" else nullcontext()
