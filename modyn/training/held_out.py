"""Early stopping by the loss on a held-out share of the selection."""

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from modyn.errors import TrainingError
from modyn.training.blocks import Plan
from modyn.training.fitted import on_cpu
from modyn.training.loader import Loader
from modyn.training.losses import Criterion
from modyn.training.options import EarlyStopping
from modyn.training.order import HELD_OUT, random
from modyn.training.tensors import apply
from modyn.types import Selection

Move = Callable[[Tensor], Tensor]


def hold_out(selection: Selection, share: float, *, seed: int, round: int) -> tuple[Selection, Selection]:  # noqa: A002
    """The selection without a random share of it, and that share (at least one sample each, if there are two)."""
    count = min(max(1, round_half(share * len(selection))), max(0, len(selection) - 1))
    held = np.zeros(len(selection), dtype=bool)
    held[random(seed, HELD_OUT, round).permutation(len(selection))[:count]] = True
    weights = selection.weights
    return (
        Selection(selection.keys[~held], None if weights is None else weights[~held]),
        Selection(selection.keys[held], None if weights is None else weights[held]),
    )


def round_half(value: float) -> int:
    """The nearest whole number; halves go up."""
    return int(value + 0.5)


class Watch:
    """Looks at the held-out loss after each epoch, keeps the best weights, and says when to stop."""

    def __init__(
        self, options: EarlyStopping, held_out: Selection, *, loader: Loader, criterion: Criterion, move: Move
    ) -> None:
        self.options = options
        self.held_out = held_out
        self.best_loss: float | None = None
        self.best_epoch = -1
        self.best: dict[str, Tensor] = {}
        self._loader, self._criterion, self._move = loader, criterion, move

    def without(self, selection: Selection) -> Selection:
        """The selection without held-out samples."""
        rows = ~np.isin(selection.keys, self.held_out.keys)
        return Selection(selection.keys[rows], None if selection.weights is None else selection.weights[rows])

    def look(self, model: nn.Module, weights: Mapping[str, Tensor], epoch: int) -> float:
        """The loss on the held-out samples; ``weights`` are kept if it is the best so far.

        Raises TrainingError if it is no finite number: no epoch could be the best any more.
        """
        loss = self._loss(model, weights)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss on held-out samples is {loss}: look for missing or huge values in what the parser gives"
            )
        if self.best_loss is None or loss < self.best_loss - self.options.min_delta:
            self.best_loss, self.best_epoch = loss, epoch
            self.best = {name: on_cpu(value) for name, value in weights.items()}
        return loss

    def is_over(self, epoch: int) -> bool:
        """Whether training should stop after this epoch."""
        return epoch - self.best_epoch >= self.options.patience

    def _loss(self, model: nn.Module, weights: Mapping[str, Tensor]) -> float:
        was_training = model.training
        model.eval()
        # A parameter that is shared is given under one of its names.
        shared = {name for name, _ in model.named_parameters(remove_duplicate=False)} - dict(
            model.named_parameters()
        ).keys()
        given = {name: value for name, value in weights.items() if name not in shared}
        total = weight = 0.0
        plan = Plan(batch_size=1024)
        batches = self._loader.batches(self.held_out, plan, examine=self._criterion.check_labels)
        with torch.inference_mode(), closing(batches):  # type: ignore[type-var]
            for batch in (b.to(self._move) for b in batches):
                assert batch.labels is not None
                outputs = apply(lambda *a, **k: functional_call(model, given, a, k), batch.inputs)
                losses = self._criterion.per_sample(outputs.float(), batch.labels).double()
                counts = torch.ones_like(losses) if batch.weights is None else batch.weights.double()
                total += float((counts * losses).sum())
                weight += float(counts.sum())
        model.train(was_training)
        return total / weight if weight else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best_loss, self.best_epoch, self.best = state["best_loss"], state["best_epoch"], dict(state["best"])
