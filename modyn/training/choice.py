"""Choosing while training: within each large batch, anew after some epochs, and from what was noted of each sample.

A large batch is scored in inference mode on the model's device, and only the chosen rows go through the training step: gradients and
batch-norm statistics are those of the chosen rows alone. The random numbers are a function of (seed, round, epoch, step), so
a training that goes on after a crash chooses the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modyn.errors import TrainingError
from modyn.training.blocks import Batch
from modyn.training.losses import Criterion
from modyn.training.order import CHOOSE, derived_seed, random
from modyn.training.signals import FUNCTIONS, Name, Scorer, Value, to_arrays
from modyn.training.tensors import mapped
from modyn.types import Array, BatchRule, Float32s, Int64s, Selection, Signals

Score = Callable[[Sequence[Name], Int64s], Signals]
"""Signals of keys, by the model as it is now."""
Record = Callable[[int, Int64s, Array, Array | None], None]
"""``(epoch, keys, losses, right)``, in the order of training; ``right`` is None where there is no right or wrong."""
KeepDrawn = Callable[[int, Selection, Float32s | None], None]
"""``(epoch, chosen, scores)``: what was drawn out of an epoch's batches, keys ascending; scores NaN where a batch was not scored, None if none was."""


@dataclass(frozen=True, eq=False)
class Known:
    """A value known of samples before training, such as the irreducible loss: ``values[n]`` of ``keys[n]``, which rise.

    NaN (not known after all) comes just above the highest known value.
    """

    keys: Int64s
    values: Array

    def of(self, keys: Int64s) -> Float32s:
        """``[n]``: the values of these keys."""
        return self._filled[np.searchsorted(self.keys, keys)]

    @cached_property
    def _filled(self) -> Float32s:
        unknown = np.isnan(self.values)
        values = self.values.astype(np.float32)
        above = 1.0 if unknown.all() else np.nextafter(np.nanmax(values), np.float32(np.inf))
        return np.where(unknown, above, values).astype(np.float32)


Given = Known | Callable[[int], Known]
"""A value known before training, or what tells it for each epoch, from what the epochs before have noted."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen, and noted, while a round trains.

    ``given`` holds what is known before of every sample of the selection. ``anew(epoch, score)`` gives the
    selection of the epochs from ``epoch`` on, every ``every_epochs``. ``record(epoch, keys, losses, right)`` is told each epoch's samples in
    the order of training; ``right`` is None where there is no right or wrong. ``drawn(epoch, chosen, scores)`` is told what each epoch's
    batches gave.
    """

    in_batch: BatchRule | None = None
    given: Mapping[str, Given] = field(default_factory=dict)
    every_epochs: int = 0
    anew: Callable[[int, Score], Selection] | None = None
    precision: str | None = None
    """Of the passes that ``anew`` asks for; None = as in training."""
    record: Record | None = None
    drawn: KeepDrawn | None = None

    @property
    def chooses(self) -> bool:
        """Whether training goes on to other samples than those it was given: anew after some epochs, or some of each batch."""
        return self.in_batch is not None or self.anew is not None

    def large_batch(self, batch_size: int) -> int:
        """Samples to load for a step that trains on ``batch_size``."""
        return batch_size if self.in_batch is None else max(batch_size, round(batch_size / self.in_batch.share))


class InBatch:
    """Chooses the rows of each large batch that are trained on."""

    def __init__(
        self,
        rule: BatchRule,
        *,
        scorer: Scorer | None,
        given: Mapping[str, Given],
        seed: int,
        round: int,  # noqa: A002
        drawn: "Drawn | None" = None,
    ) -> None:
        self.rule, self.scorer, self.seed, self.round = rule, scorer, seed, round
        self._given, self._noted = given, drawn
        self._told: dict[str, tuple[int, Known]] = {}

    @classmethod
    def of(
        cls,
        rule: BatchRule,
        *,
        model: nn.Module,
        criterion: Criterion,
        device: torch.device,
        precision: str,
        given: Mapping[str, Given],
        seed: int,
        round: int,  # noqa: A002
        drawn: "Drawn | None" = None,
    ) -> "InBatch":
        """The chooser of a round. Raises TrainingError if a signal of the rule can neither be computed nor is given."""
        names = [name for name in rule.scores if str(name) not in given]
        unknown = [str(name) for name in names if isinstance(name, str) and name not in FUNCTIONS]
        if unknown:
            raise TrainingError(f"round {round}: signal {', '.join(unknown)} is not known within a batch")
        scorer = None
        if names:
            scorer = Scorer(model, criterion, names, device=device, precision=rule.precision or precision)
        return cls(rule, scorer=scorer, given=given, seed=seed, round=round, drawn=drawn)

    def __call__(self, batch: Batch) -> Batch:
        """The rows of ``batch`` to train on, with the rule's weights multiplied into their own."""
        size = max(1, round(self.rule.share * len(batch)))
        if size >= len(batch):
            chosen, picked = batch, _Rows(None)
        else:
            picked = self._choose(batch, size)
            assert picked.rows is not None
            chosen = taken(batch, picked.rows, picked.weights)
        if self._noted is not None:
            self._noted.add(chosen.keys, picked)
        return chosen

    def _choose(self, batch: Batch, size: int) -> "_Rows":
        device = batch.labels.device if batch.labels is not None else torch.device("cpu")
        if batch.step % self.rule.score_every:
            return _Rows(self._draw(batch, len(batch))[:size].to(device))
        signals = self._signals(batch)
        if self.rule.form is None:
            return self._picked(batch, signals, size)
        score = self._score(signals)
        if not math.isfinite(float(score.sum())) and not bool(score.isfinite().all()):
            raise TrainingError(
                f"the score ({', '.join(map(str, self.rule.scores))}) is not a finite number for every sample, so nothing can be chosen by it"
            )
        if self.rule.form == "top":
            scores, rows = score.topk(size, sorted=False)
            return _Rows(rows, scores=scores)
        rows, weights = self._sampled(batch, score, size)
        return _Rows(rows, weights, score[rows])

    def _score(self, signals: Mapping[str, Value]) -> Tensor:
        parts = [(factor, _scalar(signals[str(name)])) for name, factor in self.rule.scores.items()]
        (factor, score), *others = parts
        score = score if factor == 1 else factor * score
        for more, values in others:
            score = score + more * values
        return score

    def _signals(self, batch: Batch) -> dict[str, Value]:
        found = {} if self.scorer is None else self.scorer(batch.inputs, batch.labels)
        device = batch.labels.device if batch.labels is not None else torch.device("cpu")
        for name, given in self._given.items():
            known = given if isinstance(given, Known) else self._known(name, given, batch.epoch)
            found[name] = torch.from_numpy(known.of(batch.keys)).to(device)
        return found

    def _known(self, name: str, tell: Callable[[int], Known], epoch: int) -> Known:
        if name not in self._told or self._told[name][0] != epoch:
            self._told[name] = epoch, tell(epoch)
        return self._told[name][1]

    def _picked(self, batch: Batch, signals: Mapping[str, Value], size: int) -> "_Rows":
        """By a picker that works on arrays: the signals of the batch are copied to the host, the samples are not."""
        labels = None if batch.labels is None else batch.labels.cpu().numpy()
        generator = random(self.seed, CHOOSE, self.round, batch.epoch, batch.step)
        rows, weights = self.rule.pick(to_arrays([signals]), size, generator, labels)
        device = batch.labels.device if batch.labels is not None else torch.device("cpu")
        chosen = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
        return _Rows(chosen, None if weights is None else torch.from_numpy(weights).to(device))

    def _sampled(self, batch: Batch, score: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Importance sampling as ``importance-sampling`` does it: randomised systematic, chances exactly in proportion.

        Fewer than ``size`` rows are drawn if fewer have any chance.
        """
        if float(score.min()) < 0:
            raise TrainingError(
                f"importance sampling needs scores that are not negative, and ({', '.join(map(str, self.rule.scores))}) is"
            )
        chances = _inclusion(score.double(), size, self.rule.uniform_share)
        order = self._draw(batch, len(batch)).to(score.device)
        ends = chances[order].cumsum(0)
        number = round(float(ends[-1]))
        start = float(random(self.seed, CHOOSE, self.round, batch.epoch, batch.step, 1).random())
        marks = (torch.arange(number, device=score.device, dtype=torch.float64) + start) * (ends[-1] / number)
        rows = order[torch.searchsorted(ends, marks, right=True).clamp_max(len(batch) - 1)]
        return rows, (number / (len(batch) * chances[rows])).float()

    def _draw(self, batch: Batch, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, CHOOSE, self.round, batch.epoch, batch.step))
        return torch.randperm(number, generator=generator)


@dataclass(frozen=True)
class _Rows:
    """Rows of a batch (None = all), the rule's weights (None = all 1), and the scores they were chosen by (None = none)."""

    rows: Tensor | None
    weights: Tensor | None = None
    scores: Tensor | None = None


class Drawn:
    """Notes what was drawn out of the batches; on the device until the epoch ends."""

    def __init__(self, keep: KeepDrawn) -> None:
        self._keep = keep
        self._keys: list[Int64s] = []
        self._weights: list[Tensor] = []
        self._scores: list[Tensor] = []

    def add(self, keys: Int64s, picked: _Rows) -> None:
        """Note the rows that were chosen of a batch, whose keys are ``keys``."""
        self._keys.append(keys)
        self._weights.append(torch.ones(len(keys)) if picked.weights is None else picked.weights)
        self._scores.append(torch.full((len(keys),), torch.nan) if picked.scores is None else picked.scores)

    def end_epoch(self, epoch: int) -> None:
        """Hand over what was noted since the last call."""
        if self._keys:
            keys, weights, scores = self._joined()
            order = np.argsort(keys, kind="stable")
            plain, unscored = bool((weights == 1).all()), bool(np.isnan(scores).all())
            chosen = Selection(keys[order], None if plain else weights[order])
            self._keep(epoch, chosen, None if unscored else scores[order])
        self._keys, self._weights, self._scores = [], [], []

    def _joined(self) -> tuple[Int64s, Float32s, Float32s]:
        parts = ([tensor.float().cpu().numpy() for tensor in noted] for noted in (self._weights, self._scores))
        weights, scores = (np.concatenate(part) for part in parts)
        return np.concatenate(self._keys), weights, scores

    def state_dict(self) -> dict[str, Any]:
        """What was noted of an unfinished epoch."""
        return dict(zip(("keys", "weights", "scores"), self._joined(), strict=True)) if self._keys else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self._keys, self._weights, self._scores = [], [], []
        if state:
            self._keys = [state["keys"]]
            self._weights, self._scores = ([torch.from_numpy(state[name])] for name in ("weights", "scores"))


def _scalar(value: Value) -> Tensor:
    """``[n]``: one number a sample; a vector's length."""
    if isinstance(value, tuple):
        errors, embeddings = value
        lengths: Tensor = errors.norm(dim=1)
        return lengths if embeddings is None else lengths * (embeddings.square().sum(1) + 1).sqrt()
    found: Tensor = value if value.ndim == 1 else value.flatten(1).norm(dim=1)
    return found


def _inclusion(scores: Tensor, size: int, uniform_share: float) -> Tensor:
    """``[n]`` chances of being taken, summing to ``size``: in proportion to scores, those above 1 cut and shared out."""
    total = scores.sum()
    even = torch.full_like(scores, 1 / len(scores))
    shares = torch.where(total > 0, (1 - uniform_share) * scores / total.clamp_min(1e-300) + uniform_share * even, even)
    chances = size * shares
    for _ in range(len(scores)):
        certain = chances >= 1
        left, rest = size - certain.sum(), torch.where(certain, 0, shares).sum()
        spread = torch.where(certain, 1.0, shares / rest.clamp_min(1e-300) * left)
        if bool((spread <= 1).all()):
            return spread
        chances = torch.where(certain, 1.0, spread)
    return chances.clamp_max(1)


def taken(batch: Batch, rows: Tensor, weights: Tensor | None) -> Batch:
    """Rows of a batch, with ``weights[k]`` multiplied into theirs."""
    kept = None if batch.weights is None else batch.weights[rows]
    if weights is not None:
        kept = weights if kept is None else kept * weights
    return replace(
        batch,
        inputs=mapped(lambda tensor: tensor.index_select(0, rows), batch.inputs),
        labels=None if batch.labels is None else batch.labels.index_select(0, rows),
        weights=kept,
        keys=batch.keys[rows.cpu().numpy()],
    )


class Recorder:
    """Notes the loss of each sample as it is trained on; on the device until the epoch ends."""

    def __init__(self, record: Record, criterion: Criterion) -> None:
        self._record, self._criterion = record, criterion
        self._keys: list[Int64s] = []
        self._losses: list[Tensor] = []
        self._right: list[Tensor] = []

    def add(self, keys: Int64s, losses: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Note a batch: ``losses[n]`` before the step, and whether the likeliest class of ``outputs`` is the label."""
        self._keys.append(keys)
        self._losses.append(losses.detach())
        if self._criterion.task == "classification" and labels.ndim == 1 and outputs.ndim == 2:
            self._right.append(outputs.detach().argmax(1) == labels)

    def end_epoch(self, epoch: int) -> None:
        """Hand over what was noted since the last call."""
        if self._keys:
            self._record(epoch, *self._joined())
        self._keys, self._losses, self._right = [], [], []

    def _joined(self) -> tuple[Int64s, Array, Array | None]:
        right = torch.cat(self._right).cpu().numpy() if len(self._right) == len(self._keys) else None
        return np.concatenate(self._keys), torch.cat(self._losses).float().cpu().numpy(), right

    def state_dict(self) -> dict[str, Any]:
        """What was noted of an unfinished epoch."""
        if not self._keys:
            return {}
        keys, losses, right = self._joined()
        return {"keys": keys, "losses": losses, "right": None if right is None else right.astype(np.int64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self._keys, self._losses, self._right = [], [], []
        if state:
            self._keys, self._losses = [state["keys"]], [torch.from_numpy(state["losses"])]
            self._right = [] if state["right"] is None else [torch.from_numpy(state["right"].astype(bool))]
