"""WHAT to train on: a selector is given candidates, a budget and the signals it asked for, and returns a Selection."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, PositiveInt, WithJsonSchema, model_validator

from modyn.config import Duration
from modyn.errors import ConfigError, did_you_mean
from modyn.policy import Importable, Options, Policy, describe_value
from modyn.selectors.shares import class_labels, group_codes, grouped_rows, joined, water_fill
from modyn.types import Array, BatchRule, Candidates, Holdout, Selection, Signals


class History(Options):
    """Which arrived samples are candidates: all (none of the options), or as one option says."""

    short: ClassVar[Mapping[str, Any]] = {"enum": ["all", "round"]}

    last: PositiveInt | None = Field(
        None, description="those that arrived in the last so many rounds, this one included"
    )
    time: Duration | None = Field(
        None, description="those with a timestamp in the last so much time before the round's end"
    )
    samples: PositiveInt | None = Field(None, description="the last so many samples")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if value == "all":
            return {}
        if value == "round":
            return {"last": 1}
        if isinstance(value, str):
            raise ValueError(
                f"must be all, round, or one of {{last: rounds}}, {{time: 30d}}, {{samples: n}}; got '{value}'"
            )
        return value

    @model_validator(mode="after")
    def _one(self) -> "History":
        if sum(option is not None for option in (self.last, self.time, self.samples)) > 1:
            raise ValueError("takes one of last, time and samples, not several")
        return self


def _parse_budget(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        value = float(match[1]) / 100
        if not 0 < value <= 1:
            raise ValueError(f"a share must be above 0% and at most 100%; got {value:.6g}")
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a count such as 10000, or a share such as 25%; got {describe_value(value)}")
    if isinstance(value, float) and not 0 < value <= 1:
        raise ValueError(f"a share must be above 0 and at most 1; got {value}")
    if value <= 0:
        raise ValueError(f"must be above 0; got {value}")
    return value


def _spell_budget(value: int | float) -> Any:
    return value if isinstance(value, int) else f"{value * 100:.10g}%"


Budget = Annotated[
    int | float,
    BeforeValidator(_parse_budget),
    PlainSerializer(_spell_budget),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9.]+%$"}]}),
]
"""How many samples to select: a count, or a share of the candidates."""


class Selector(Policy):
    """Chooses what to train on. Subclasses implement ``select``; the options here are common to all."""

    role: ClassVar[str] = "selector"

    budget: Budget | None = Field(None, description="how many to select: a count, or a share such as 25% (null = all)")
    history: History = Field(
        default_factory=History,
        description="the candidates: all, round (this round's data), {last: rounds}, {time: 30d} or {samples: n}",
    )
    warmup_rounds: int = Field(0, ge=0, description="the first so many rounds take all candidates")
    balance_by: str | None = Field(
        None,
        min_length=1,
        description="share the budget fairly among the values of label, round, or a column of the dataset",
    )

    @property
    def needs(self) -> tuple[str | Importable, ...]:
        """The signals that ``select`` asks for: by name, or a user's own function."""
        return ()

    @property
    def uses_history(self) -> bool:
        """Whether training must note the loss of each sample, for a later choice."""
        return bool({"loss-history", "forgetting"} & set(self.needs))

    @property
    def columns(self) -> tuple[str, ...]:
        """The dataset columns that the candidates must come with, by name."""
        return () if self.balance_by in (None, "label", "round") else (str(self.balance_by),)

    @property
    def every_epochs(self) -> int:
        """After how many epochs of a round the selection is made anew (0 = once a round)."""
        return 0

    @property
    def in_batch(self) -> BatchRule | None:
        """How to choose within each large batch while training; None if the choice is made before."""
        return None

    @property
    def irreducible(self) -> Holdout | None:
        """What a second model must be trained on to give the irreducible loss; None if it is not asked for."""
        return None

    def size(self, num_candidates: int) -> int:
        """The budget in samples: a share rounded to the nearest, at least 1, at most all."""
        if self.budget is None:
            return num_candidates
        wanted = self.budget if isinstance(self.budget, int) else max(1, round(self.budget * num_candidates))
        return min(wanted, num_candidates)

    def for_round(self, number: int) -> "Selector":
        """The selector that decides in a round: this one, but for ``schedule``."""
        del number
        return self

    @property
    def deciding(self) -> tuple["Selector", ...]:
        """Every selector that decides in some round: this one, but for ``schedule``."""
        return (self,)

    def stream(self, seed: int, candidates: Candidates) -> np.random.Generator:
        """The random numbers of a choice: a pure function of seed, round and epoch."""
        return np.random.default_rng([seed, candidates.round, candidates.epoch])

    def choose(self, candidates: Candidates, signals: Signals | None, *, seed: int) -> Selection:
        """The selection of a round (or of an epoch, where ``every_epochs`` asks for it): ``select`` with the common options.

        ``signals`` is None where no model exists yet that could give them; then the choice is random, within the budget.
        """
        if candidates.round < self.warmup_rounds:
            return Selection(candidates.keys)
        rng = self.stream(seed, candidates)
        if self.needs and signals is None:
            rows = rng.choice(len(candidates), size=self.size(len(candidates)), replace=False, shuffle=False)
            return Selection(candidates.keys[np.sort(rows)])
        budget = self.size(len(candidates))
        if self.balance_by is None or budget == 0:
            return self.select(candidates, budget, signals or {}, rng)
        return self._balanced(candidates, budget, signals or {}, rng)

    def _balanced(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        codes, num_groups = group_codes(group_values(candidates, str(self.balance_by)))
        members = grouped_rows(codes, num_groups)
        shares = water_fill(np.array([len(rows) for rows in members]), budget)
        parts = [
            self.select(candidates[rows], int(share), {name: values[rows] for name, values in signals.items()}, stream)
            for rows, share, stream in zip(members, shares, rng.spawn(num_groups), strict=True)
            if share
        ]
        return joined(parts)

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        """Choose at most ``budget`` of the candidates; ``signals`` maps each name in ``needs`` to ``array[n]``, ``[n, d]`` or gradients.

        Returns keys in ascending order unless the policy documents another, with their weights.
        """
        raise NotImplementedError


def group_values(candidates: Candidates, by: str) -> Array:
    """``[n]``: the value by which candidates are balanced. Raises ConfigError if they have none of that name."""
    if by == "round":
        return candidates.arrived
    if by == "label":
        return class_labels(candidates.labels, "selector: balancing by label")
    if by not in candidates.columns:
        raise ConfigError(f"selector: there is no column '{by}' to balance by. {did_you_mean(by, candidates.columns)}")
    values = candidates.columns[by]
    if values.ndim != 1:
        shape = ", ".join(map(str, values.shape[1:]))
        raise ConfigError(f"selector: balancing needs one value a sample, and column '{by}' holds [{shape}]")
    return values
