"""One round's training: batches through steps, epoch by epoch, with what the user sees of it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modyn.errors import TrainingError
from modyn.phases import bound_by
from modyn.runlog import RunLog
from modyn.training import state as states
from modyn.training.blocks import Batch, Plan, check_weights
from modyn.training.choice import Choice, Drawn, InBatch, Recorder, Score
from modyn.training.clock import Clock
from modyn.training.ema import MovingAverage
from modyn.training.failures import explain
from modyn.training.fitted import Fitted, Length, on_cpu, peak_memory
from modyn.training.held_out import Watch
from modyn.training.hooks import Hooks, Observation
from modyn.training.ledger import Ledger
from modyn.training.loader import Loader
from modyn.training.losses import Criterion
from modyn.training.optim import build_optimizers, build_schedules
from modyn.training.options import Training
from modyn.training.randomness import random_state, set_random_state
from modyn.training.ranks import Ranks
from modyn.training.step import Step
from modyn.types import BatchRule, Selection, Signals

PROGRESS_S = 0.25
AGREE_STEPS = 10
"""Several devices ask each other every so many steps whether it is time to keep their state."""
CHECK_STEPS = 50
"""On a GPU, and on several devices, losses are looked at every so many steps: each look waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Where a training's state is kept, and what it belongs to."""

    path: Path
    belongs_to: str


class Session:
    """The state of one round's training and the loop over its batches."""

    def __init__(
        self,
        options: Training,
        *,
        model: nn.Module,
        forward: Callable[..., Any],
        criterion: Criterion,
        device: torch.device,
        ranks: Ranks,
        seed: int,
        round: int,  # noqa: A002
        selection: Selection,
        choice: Choice,
        log: RunLog | None,
        began: float,
        hooks: Hooks,
        watch: Watch | None = None,
        saved: Saved | None = None,
    ) -> None:
        self.options, self.model, self.device, self.log = options, model, device, log
        self.seed, self.round, self.selection, self.choice = seed, round, selection, choice
        check_weights(selection)
        self.batch_size = choice.large_batch(options.batch_size * options.accumulate)
        self.length = Length.of(options, len(selection), round, batch_size=self.batch_size)
        self.clock = Clock()
        optimizers = build_optimizers(options, model)
        self.schedules = build_schedules(
            options, optimizers, num_steps=self.length.num_steps, num_epochs=self.length.num_epochs
        )
        self.recorder = None if choice.record is None else Recorder(choice.record, criterion)
        self.drawn = None if choice.drawn is None else Drawn(choice.drawn)
        self.step = Step(
            options,
            model=model,
            forward=forward,
            criterion=criterion,
            optimizers=optimizers,
            device=device,
            clock=self.clock,
            ranks=ranks,
            recorder=self.recorder,
        )
        self.average = None if options.ema is None else MovingAverage(model, decay=options.ema.decay)
        self.ranks, self.hooks, self.watch, self.saved = ranks, hooks, watch, saved
        self.num_samples = len(selection)
        self.num_steps = self.num_seen = 0
        self.epoch, self.epoch_step, self.selected_at = 0, 0, 0
        self.loss = 0.0
        self.first_step_s = 0.0
        self.load_s = self.train_s = self.earlier_s = 0.0
        self.epochs: list[dict[str, Any]] = []
        self.is_over = False
        one = device.type == "cpu" and ranks.num_ranks == 1
        self.ledger = Ledger(every=1 if one else CHECK_STEPS, reduce=None if ranks.num_ranks == 1 else ranks.total)
        self._chooser: InBatch | None = None
        self._steps_here = 0
        self._began = began
        self._epoch_began = self._shown = self._saved_at = time.perf_counter()

    def run(self, loader: Loader, score: Callable[..., Signals]) -> None:
        """Train to the end, from where the session stands; the selection is made anew where the choice says so.

        Raises TrainingError naming round, epoch and step if training cannot go on.
        """
        self.model.train()
        while self.num_steps < self.length.num_steps and not self.is_over:
            if self._is_reselection_due():
                self._select_anew(self._scoring(score))
            if self.choice.in_batch is not None:
                self._chooser = self._new_chooser(self.choice.in_batch)
            self._run_epochs(loader)

    def _is_reselection_due(self) -> bool:
        every = self.choice.every_epochs
        return bool(every) and self.epoch_step == 0 and self.epoch % every == 0 and self.epoch != self.selected_at

    def _scoring(self, score: Callable[..., Signals]) -> Score:
        return lambda names, keys: score(self.model, names, keys, precision=self.choice.precision)

    def _select_anew(self, score: Score) -> None:
        assert self.choice.anew is not None
        before = time.perf_counter()
        selection = self.choice.anew(self.epoch, score)
        self.selection = selection if self.watch is None else self.watch.without(selection)
        self.selected_at = self.epoch
        self._measure_length()
        self.train_s += time.perf_counter() - before
        self._epoch_began = time.perf_counter()

    def _measure_length(self) -> None:
        check_weights(self.selection)
        self.length = Length.of(
            self.options,
            len(self.selection),
            self.round,
            batch_size=self.batch_size,
            done=(self.epoch, self.num_steps - self.epoch_step),
        )

    def _new_chooser(self, rule: BatchRule) -> InBatch:
        return InBatch.of(
            rule,
            model=self.model,
            criterion=self.step.criterion,
            device=self.device,
            precision=self.options.precision,
            given=self.choice.given,
            seed=self.seed,
            round=self.round,
            drawn=self.drawn,
        )

    def _plan(self) -> Plan:
        """What to load: from where the session stands to its end, or to where the selection is made anew."""
        every = self.choice.every_epochs
        end = self.length.num_epochs if not every else min(self.length.num_epochs, (self.epoch // every + 1) * every)
        return Plan(
            batch_size=self.batch_size,
            seed=self.seed,
            round=self.round,
            first_epoch=self.epoch,
            end_epoch=end,
            first_step=self.epoch_step,
            drop_last=self.options.drop_last,
            shuffle_window=self.options.shuffle_window,
            rank=self.ranks.rank,
            num_ranks=self.ranks.num_ranks,
            augment=True,
        )

    def _run_epochs(self, loader: Loader) -> None:
        batches = loader.batches(self.selection, self._plan(), examine=self.step.criterion.check_labels)
        self.clock.start()
        with closing(batches):  # type: ignore[type-var]
            for batch in self._measured(batches):
                self._train_on(batch)
                if self.epoch_step == self.length.steps_per_epoch or self.num_steps == self.length.num_steps:
                    self._end_epoch()
                if self.saved is not None and self._is_save_due():
                    self.save()
                if self.num_steps == self.length.num_steps or self.is_over:
                    return

    def _measured(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches on the device, with the time spent on getting and on moving them."""
        for batch in batches:
            self.clock.lap("wait")
            moved = batch if self.device.type == "cpu" else batch.to(self.move)
            self.clock.lap("move")
            yield moved
            self.clock.start()

    def move(self, tensor: Tensor) -> Tensor:
        """The tensor on the session's device; to a GPU, from pinned memory, without waiting."""
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def _train_on(self, batch: Batch) -> None:
        try:
            if self._chooser is not None:
                batch = self._chooser(batch)
                self.clock.lap("score")
            loss = self.step(batch, check=self._steps_here == 0)
        except Exception as error:
            raise explain(error, self.model, batch.inputs, where=self._where(batch.epoch, batch.step)) from error
        size = len(batch) if self.ranks.num_ranks == 1 else self._batch_size(batch.step)
        self.num_seen += size
        self.ledger.add(loss, size, batch.epoch, batch.step)
        if self.ledger.is_due:
            self._check_losses()
        self.num_steps, self._steps_here, self.epoch_step = self.num_steps + 1, self._steps_here + 1, batch.step + 1
        for schedule in self.schedules:
            schedule.after_step()
        if self.average is not None:
            self.average.update()
        self._after_step(batch)

    def _batch_size(self, step: int) -> int:
        """Rows of a batch on all devices together."""
        return min(self.batch_size, len(self.selection) - step * self.batch_size)

    def _after_step(self, batch: Batch) -> None:
        now = time.perf_counter()
        if self._steps_here == 1:
            self.first_step_s = now - self._began
        if self.hooks.steps and self.hooks.wants(self.num_steps):
            self._check_losses()  # by all devices, as it adds up over them
            if self.ranks.is_first:
                self._observe(self.ledger.last, is_epoch_end=False)
        if self.log is not None and now - self._shown >= PROGRESS_S:
            self._show(batch, now)

    def _where(self, epoch: int, step: int) -> str:
        return f"round {self.round}, epoch {epoch}, step {step}"

    def _check_losses(self) -> None:
        """Raise TrainingError at the first step whose loss is no finite number. A GPU's work that this waits for is the step's time."""
        self.clock.start()
        bad = self.ledger.settle()
        self.clock.lap("step")
        if bad is not None:
            epoch, step, loss = bad
            raise TrainingError(
                f"{self._where(epoch, step)}: the loss is {loss}: lower the learning rate, clip gradients, or look for "
                f"missing or huge values in what the parser gives"
            )

    def _show(self, batch: Batch, now: float) -> None:
        if self.ranks.num_ranks == 1:
            self._check_losses()
        self._shown = now
        assert self.log is not None
        self.log.progress(
            "training",
            round=self.round,
            epoch=batch.epoch,
            step=self.num_steps,
            num_steps=self.length.num_steps,
            samples_per_s=self.ledger.num_samples / max(1e-9, now - self._epoch_began),
            loss=self.ledger.last,
            seconds=dict(self.clock.seconds),
        )

    def _observe(self, loss: float, *, is_epoch_end: bool) -> None:
        self.hooks.show(
            Observation(
                round=self.round,
                epoch=self.epoch,
                step=self.num_steps,
                loss=loss,
                learning_rates=self._learning_rates(),
                model=self.model,
                is_epoch_end=is_epoch_end,
            )
        )

    def _learning_rates(self) -> list[float]:
        return [float(group["lr"]) for optimizer in self.step.optimizers for group in optimizer.param_groups]

    def _end_epoch(self) -> None:
        self._check_losses()
        now = time.perf_counter()
        self.loss, num_samples = self.ledger.take_mean()
        for schedule in self.schedules:
            schedule.after_epoch(self.loss)
        seconds = self.clock.take()
        self.load_s += seconds["wait"] + seconds["move"]
        self.train_s += now - self._epoch_began - seconds["wait"] - seconds["move"]
        if self.recorder is not None:
            self.recorder.end_epoch(self.epoch)
        if self.drawn is not None:
            self.drawn.end_epoch(self.epoch)
        held_out = self._look_at_held_out()
        if self.log is not None:
            self._log_epoch(now - self._epoch_began, num_samples, seconds, held_out)
        if self.ranks.is_first:
            self._observe(self.loss, is_epoch_end=True)
        self.epoch, self.epoch_step = self.epoch + 1, 0
        self._epoch_began = time.perf_counter()

    def _look_at_held_out(self) -> dict[str, float]:
        """The held-out loss as the log takes it, if some are held out; says whether training is over."""
        if self.watch is None:
            return {}
        before = time.perf_counter()
        try:
            loss = self.watch.look(self.model, self.weights(), self.epoch)
        except TrainingError as error:
            raise TrainingError(f"round {self.round}, epoch {self.epoch}: {error}") from error
        # As rank 0 says: what batch norm has seen differs between devices, and so may their losses.
        self.is_over = self.ranks.agreed(self.watch.is_over(self.epoch), self.device)
        self.train_s += time.perf_counter() - before
        return {"held_out_loss": loss}

    def _log_epoch(
        self, passed_s: float, num_samples: int, seconds: Mapping[str, float], held_out: Mapping[str, float]
    ) -> None:
        assert self.log is not None
        found = {
            "epoch": self.epoch,
            "loss": self.loss,
            "num_samples": num_samples,
            "samples_per_s": num_samples / max(1e-9, passed_s),
            "seconds": dict(seconds),
            "bound_by": bound_by(seconds),
            "learning_rates": self._learning_rates(),
            "peak_memory_bytes": peak_memory(self.device),
            **held_out,
        }
        self.log.append("epoch", round=self.round, **found)
        self.epochs.append(found)

    def weights(self) -> Mapping[str, Tensor]:
        """The weights that training stands at: averages if there are any."""
        return self.model.state_dict() if self.average is None else self.average.weights()

    def fitted(self) -> Fitted:
        """The result, with the weights copied to the CPU."""
        weights = self.weights() if self.watch is None else self.watch.best
        return Fitted(
            weights={name: on_cpu(value) for name, value in weights.items()},
            num_samples=min(self.num_samples, self.num_seen),
            num_seen=self.num_seen,
            num_steps=self.num_steps,
            loss=self.loss,
            seconds={"load": self.load_s, "train": self.train_s, "earlier": self.earlier_s},
            first_step_s=self.first_step_s,
            device=str(self.device),
            peak_memory_bytes=peak_memory(self.device),
        )

    def _is_save_due(self) -> bool:
        """Whether to keep the state now; the same on all devices, so that each gives its part."""
        options = self.options.checkpoint
        if options is None:
            return False
        if options.steps is not None and self.num_steps % options.steps == 0:
            return True
        if options.time is None or (self.ranks.num_ranks > 1 and self.num_steps % AGREE_STEPS):
            return False
        return self.ranks.agreed(time.perf_counter() - self._saved_at >= options.time / 1e6, self.device)

    def save(self) -> None:
        """Keep the full state; does not change it. Rank 0 writes it, with the generators of all."""
        assert self.saved is not None
        self._check_losses()
        randoms = self.ranks.gathered(states.to_bytes(random_state(self.device)), self.device)
        if self.ranks.is_first:
            state = self.state_dict() | {
                "randoms": [torch.frombuffer(bytearray(r), dtype=torch.uint8) for r in randoms]
            }
            states.save(self.saved.path, state, belongs_to=self.saved.belongs_to)
        self._saved_at = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of training depends on but the generators: weights, optimisers, schedules, scaler, position."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizers": [optimizer.state_dict() for optimizer in self.step.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "scaler": self.step.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "watch": None if self.watch is None else self.watch.state_dict(),
            "ledger": self.ledger.state_dict(),
            "position": {"num_steps": self.num_steps, "epoch": self.epoch, "epoch_step": self.epoch_step},
            "num_seen": self.num_seen,
            "selected_at": self.selected_at,
            "selection": (self.selection.keys, self.selection.weights) if self.selected_at else None,
            "recorder": None if self.recorder is None else self.recorder.state_dict(),
            "drawn": None if self.drawn is None else self.drawn.state_dict(),
            "loss": self.loss,
            "is_over": self.is_over,
            "load_s": self.load_s,
            "train_s": self.train_s,
            "passed_s": self.earlier_s + time.perf_counter() - self._began,
            "epochs": self.epochs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where ``save`` took the state, and log the epochs until then once more: the journal of a resumed run has lost them."""
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self.step.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        for schedule, kept in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(kept)
        self.step.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.watch is not None:
            self.watch.load_state_dict(state["watch"])
        self.ledger.load_state_dict(state["ledger"])
        if self.ranks.rank < len(state["randoms"]):  # of as many devices as before, or more
            set_random_state(states.from_bytes(state["randoms"][self.ranks.rank].numpy().tobytes()), self.device)
        self.num_seen = state["num_seen"]
        self.num_steps, self.epoch, self.epoch_step = (
            state["position"][name] for name in ("num_steps", "epoch", "epoch_step")
        )
        self.selected_at = state["selected_at"]
        if state["selection"] is not None:
            self.selection = Selection(*state["selection"])
        self._measure_length()
        if self.recorder is not None:
            self.recorder.load_state_dict(state["recorder"])
        if self.drawn is not None:
            self.drawn.load_state_dict(state.get("drawn") or {})
        self.loss, self.is_over = state["loss"], state["is_over"]
        self.load_s, self.train_s, self.earlier_s = state["load_s"], state["train_s"], state["passed_s"]
        self.epochs = state["epochs"]
        if self.log is not None:
            for epoch in self.epochs:
                self.log.append("epoch", round=self.round, **epoch)
