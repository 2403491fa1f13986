"""What selectors that pick by a signal have in common: a method of the literature is a signal and a picker, put together here."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from modyn.errors import TrainingError
from modyn.policy import Importable
from modyn.selectors import Selector
from modyn.selectors.pickers import Picker, scalar
from modyn.selectors.signals import needs_pass
from modyn.types import Array, BatchRule, Candidates, Float32s, Int64s, Selection, Signal, Signals


class _Scored(Selector):
    """Picks by a signal. Subclasses give ``terms`` and ``picker_of``."""

    at: Literal["window", "batch"] = Field(
        "window",
        description="window = score all candidates, then pick; batch = score a larger batch at each step and train on the best of it",
    )
    reselect_every: int = Field(0, ge=0, description="at: window - pick anew after so many epochs (0 = once a round)")
    score_every: int = Field(
        1, ge=1, description="at: batch - score every so many-th batch, pick at random in the others"
    )
    precision: Literal["bf16"] | None = Field(None, description="score in bf16 (null = in the precision of training)")
    proxy: str | None = Field(
        None, description="at: window - score with this checkpoint's model, a smaller one of another run (RUN/ROUND)"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The signals whose sum, each times its factor, is the score."""
        raise NotImplementedError

    @property
    def picker_of(self) -> Picker:
        """What picks by the score."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _batch_budget(self) -> "_Scored":
        if self.at == "batch":
            if not isinstance(self.budget, float):
                raise ValueError(
                    "at: batch needs a budget that is a share, such as 50%: the part of each large batch to train on"
                )
            if self.balance_by is not None or self.reselect_every:
                raise ValueError(
                    "at: batch picks within each batch; balance_by and reselect_every belong to at: window"
                )
            if self.proxy is not None:
                raise ValueError("at: batch scores with the model that is being trained; proxy belongs to at: window")
        elif self.score_every > 1:
            raise ValueError("score_every belongs to at: batch; at: window has reselect_every")
        return self

    @model_validator(mode="after")
    def _scoring_options(self) -> "_Scored":
        if "irreducible-loss" in self.terms and self.irreducible is None:
            raise ValueError(
                "signal irreducible-loss is the loss of models trained on a holdout, which only rho-loss has"
            )
        given = [name for name in ("precision", "proxy") if getattr(self, name) is not None]
        if given and not any(needs_pass(name) for name in self.terms):
            raise ValueError(f"{given[0]} says how to score, but what was noted while training is scored by no pass")
        return self

    @property
    def needs(self) -> tuple[str | Importable, ...]:
        """The signals of the score."""
        return tuple(self.terms)

    @property
    def every_epochs(self) -> int:
        """As ``reselect_every`` says."""
        return self.reselect_every

    @property
    def in_batch(self) -> BatchRule | None:
        """The rule for ``at: batch``."""
        if self.at == "window":
            return None
        picker = self.picker_of
        top = {"top": 1.0, "bottom": -1.0}.get(picker.on_device or "")
        return BatchRule(
            scores={name: factor * (top or 1.0) for name, factor in self.terms.items()},
            share=float(self.budget or 1.0),
            form=None if picker.per_class else {"bottom": "top"}.get(str(picker.on_device), picker.on_device),
            uniform_share=float(getattr(picker, "uniform_share", 0.0)),
            pick=self._pick,
            score_every=self.score_every,
            precision=self.precision,
        )

    def choose(self, candidates: Candidates, signals: Signals | None, *, seed: int) -> Selection:
        """As every selector does; at: batch, all candidates stay, and the choice is made while training."""
        if self.at == "batch":
            return Selection(candidates.keys)
        return super().choose(candidates, signals, seed=seed)

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        check_finite(candidates, signals)
        if budget >= len(candidates):  # there is nothing to choose, and each stands for itself
            return Selection(candidates.keys)
        rows, weights = self._pick(signals, budget, rng, candidates.labels)
        order = np.argsort(rows)
        return Selection(candidates.keys[rows[order]], None if weights is None else weights[order])

    def _pick(
        self, signals: Signals, budget: int, rng: np.random.Generator, labels: Array | None
    ) -> tuple[Int64s, Float32s | None]:
        picked = self.picker_of.pick(combined(self.terms, signals), budget, rng, labels=labels)
        return picked.rows, None if picked.weights is None else picked.weights.astype(np.float32)


def combined(terms: Mapping[str | Importable, float], signals: Signals) -> Signal:
    """The score: a single signal as it is, else the sum of the signals times their factors.

    A sample that a history does not know yet (NaN) comes just above the highest known one.
    """
    ((first, factor), *others) = terms.items()
    if not others and factor == 1:
        signal = signals[str(first)]
        return _known(signal) if isinstance(signal, np.ndarray) and signal.ndim == 1 else signal
    score: Array = factor * _known(scalar(signals[str(first)]))
    for name, more in others:
        score = score + more * _known(scalar(signals[str(name)]))
    return score


def scalar_score(selector: Selector, signals: Signals) -> Array | None:
    """``[n]``: the score by which a selector picks; None if it is not one number a sample."""
    if not isinstance(selector, _Scored):
        return None
    score = combined(selector.terms, signals)
    return score if isinstance(score, np.ndarray) and score.ndim == 1 else None


def _known(values: Array) -> Array:
    unknown = np.isnan(values)
    if not unknown.any():
        return values
    highest = 0.0 if unknown.all() else float(np.nanmax(values))
    # Above zero that is one: the next number there is so small that nothing can be computed with it.
    above = 1.0 if highest == 0 else np.nextafter(np.float32(highest), np.float32(np.inf))
    return np.where(unknown, above, values)


def check_finite(candidates: Candidates, signals: Signals) -> None:
    """Raise TrainingError, naming the key, at the first sample whose signal is infinite, or NaN where it cannot be unknown."""
    for name, signal in signals.items():
        parts = [signal] if isinstance(signal, np.ndarray) else [signal.errors, signal.embeddings]
        for part in parts:
            if part is None or part.dtype.kind != "f":
                continue
            odd = np.isinf(part) if name in MAY_BE_UNKNOWN else ~np.isfinite(part)
            if odd.any():
                row = int(np.argmax(odd.reshape(len(odd), -1).any(axis=1)))
                raise TrainingError(
                    f"round {candidates.round}: signal {name} of sample {candidates.keys[row]} is no finite number, so the "
                    "model that scores cannot be used to select"
                )


MAY_BE_UNKNOWN = frozenset({"loss-history", "forgetting"})
