"""One round's training: batches through steps, epoch by epoch, with what the user sees of it."""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modyn.errors import TrainingError
from modyn.runlog import RunLog
from modyn.training.clock import Clock, bound_by
from modyn.training.failures import explain
from modyn.training.loader import Batch, Loader, Plan
from modyn.training.losses import Criterion
from modyn.training.optim import build_optimizers, build_schedules
from modyn.training.options import Training
from modyn.training.order import num_batches
from modyn.training.step import Step
from modyn.types import Selection

PROGRESS_S = 0.25
CHECK_STEPS = 50
"""On a GPU the losses are looked at every so many steps: each look waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a round's training gave: ``weights`` on the CPU, and what it took.

    ``num_samples`` counts the selection, ``loss`` is the last epoch's mean, ``seconds`` has ``load`` and ``train``,
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
    """How long a round trains."""

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


class Session:
    """The state of one round's training and the loop over its batches."""

    def __init__(
        self,
        options: Training,
        *,
        model: nn.Module,
        criterion: Criterion,
        device: torch.device,
        round: int,  # noqa: A002
        num_rows: int,
        log: RunLog | None,
        began: float,
    ) -> None:
        self.options, self.model, self.device, self.round, self.log = options, model, device, round, log
        self.num_rows = num_rows
        self.length = Length.of(options, num_rows, round)
        self.clock = Clock()
        optimizers = build_optimizers(options, model)
        self.schedules = build_schedules(
            options, optimizers, num_steps=self.length.num_steps, num_epochs=self.length.num_epochs
        )
        self.step = Step(
            options, model=model, criterion=criterion, optimizers=optimizers, device=device, clock=self.clock
        )
        self.num_steps = 0
        self.loss = 0.0
        self.first_step_s = 0.0
        self.load_s = self.train_s = 0.0
        self._began = began
        self._ledger = _Ledger(every=1 if device.type == "cpu" else CHECK_STEPS)
        self._epoch_began = self._shown = time.perf_counter()

    def run(self, loader: Loader, selection: Selection, *, seed: int) -> None:
        """Train to the end. Raises TrainingError naming round, epoch and step if it cannot go on."""
        plan = Plan(
            batch_size=self.options.batch_size * self.options.accumulate,
            seed=seed,
            round=self.round,
            first_epoch=0,
            end_epoch=self.length.num_epochs,
            drop_last=self.options.drop_last,
            shuffle_window=self.options.shuffle_window,
        )
        self.model.train()
        self.clock.start()
        batches = loader.batches(selection, plan, examine=self.step.criterion.check_labels)
        with closing(batches):  # type: ignore[type-var]
            for batch in self._measured(batches):
                self._train_on(batch)
                if batch.step + 1 == self.length.steps_per_epoch or self.num_steps == self.length.num_steps:
                    self._end_epoch(batch.epoch)
                if self.num_steps == self.length.num_steps:
                    return

    def _measured(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches on the device, with the time spent on getting and on moving them."""
        for batch in batches:
            self.clock.lap("wait")
            moved = batch if self.device.type == "cpu" else batch.to(lambda t: t.to(self.device, non_blocking=True))
            self.clock.lap("move")
            yield moved
            self.clock.start()

    def _train_on(self, batch: Batch) -> None:
        try:
            loss = self.step(batch, check=self.num_steps == 0)
        except Exception as error:
            raise explain(error, self.model, batch.inputs, where=self._where(batch.epoch, batch.step)) from error
        self._ledger.add(loss, batch)
        if self._ledger.is_due:
            self._check_losses()
        self.num_steps += 1
        for schedule in self.schedules:
            schedule.after_step()
        now = time.perf_counter()
        if self.num_steps == 1:
            self.first_step_s = now - self._began
        if self.log is not None and now - self._shown >= PROGRESS_S:
            self._show(batch, now)

    def _where(self, epoch: int, step: int) -> str:
        return f"round {self.round}, epoch {epoch}, step {step}"

    def _check_losses(self) -> None:
        """Raise TrainingError at the first step whose loss is no finite number."""
        bad = self._ledger.settle()
        if bad is not None:
            epoch, step, loss = bad
            raise TrainingError(
                f"{self._where(epoch, step)}: the loss is {loss}: lower the learning rate, clip gradients, or look for "
                f"missing or huge values in what the parser gives"
            )

    def _show(self, batch: Batch, now: float) -> None:
        self._check_losses()
        self._shown = now
        assert self.log is not None
        self.log.progress(
            "training",
            round=self.round,
            epoch=batch.epoch,
            step=self.num_steps,
            num_steps=self.length.num_steps,
            samples_per_s=self._ledger.num_samples / max(1e-9, now - self._epoch_began),
            loss=self._ledger.last,
        )

    def _end_epoch(self, epoch: int) -> None:
        self._check_losses()
        now = time.perf_counter()
        self.loss, num_samples = self._ledger.take_mean()
        for schedule in self.schedules:
            schedule.after_epoch(self.loss)
        seconds = self.clock.take()
        self.load_s += seconds["wait"] + seconds["move"]
        self.train_s += now - self._epoch_began - seconds["wait"] - seconds["move"]
        if self.log is not None:
            self.log.append(
                "epoch",
                round=self.round,
                epoch=epoch,
                loss=self.loss,
                num_samples=num_samples,
                samples_per_s=num_samples / max(1e-9, now - self._epoch_began),
                seconds=seconds,
                bound_by=bound_by(seconds),
                learning_rates=[float(g["lr"]) for o in self.step.optimizers for g in o.param_groups],
                peak_memory_bytes=peak_memory(self.device),
            )
        self._epoch_began = time.perf_counter()

    def fitted(self) -> Fitted:
        """The result, with the weights copied to the CPU."""
        return Fitted(
            weights={name: _kept(value) for name, value in self.model.state_dict().items()},
            num_samples=self.num_rows,
            num_steps=self.num_steps,
            loss=self.loss,
            seconds={"load": self.load_s, "train": self.train_s},
            first_step_s=self.first_step_s,
            device=str(self.device),
            peak_memory_bytes=peak_memory(self.device),
        )


def _kept(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def peak_memory(device: torch.device) -> int:
    """Bytes used at most: on a GPU by tensors, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Ledger:
    """Losses as they come. They stay on the device until they are due, so that a GPU is not waited for at each step."""

    def __init__(self, *, every: int) -> None:
        self.every = every
        self.last = 0.0
        self.num_samples = 0
        self._total = 0.0
        self._pending: list[tuple[Tensor, int, int, int]] = []

    def add(self, loss: Tensor, batch: Batch) -> None:
        self._pending.append((loss, len(batch), batch.epoch, batch.step))

    @property
    def is_due(self) -> bool:
        return len(self._pending) >= self.every

    def settle(self) -> tuple[int, int, float] | None:
        """Count the pending losses; epoch, step and value of the first that is not finite, if any."""
        pending, self._pending = self._pending, []
        if not pending:
            return None
        values = [pending[0][0].item()] if len(pending) == 1 else torch.stack([p[0] for p in pending]).tolist()
        for value, (_, size, epoch, step) in zip(values, pending, strict=True):
            if value - value != 0:
                return epoch, step, value
            self._total += value * size
            self.num_samples += size
            self.last = value
        return None

    def take_mean(self) -> tuple[float, int]:
        """Mean loss and number of samples since the last call."""
        mean, count = self._total / max(1, self.num_samples), self.num_samples
        self._total, self.num_samples = 0.0, 0
        return mean, count
