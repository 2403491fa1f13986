"""WHAT to train on: a selector is given candidates, a budget and the signals it asked for, and returns a Selection."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, PositiveInt, WithJsonSchema, model_validator

from modyn.config import Duration
from modyn.policy import Options, Policy, describe_value
from modyn.types import Array, Candidates, Selection


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
    needs: ClassVar[tuple[str, ...]] = ()
    """The signals that ``select`` asks for, by name."""
    columns: ClassVar[tuple[str, ...]] = ()
    """The dataset columns that ``select`` asks for, by name."""

    budget: Budget | None = Field(None, description="how many to select: a count, or a share such as 25% (null = all)")
    history: History = Field(
        default_factory=History,
        description="the candidates: all, round (this round's data), {last: rounds}, {time: 30d} or {samples: n}",
    )
    warmup_rounds: int = Field(0, ge=0, description="the first so many rounds take all candidates")

    def size(self, num_candidates: int) -> int:
        """The budget in samples: a share rounded to the nearest, at least 1, at most all."""
        if self.budget is None:
            return num_candidates
        wanted = self.budget if isinstance(self.budget, int) else max(1, round(self.budget * num_candidates))
        return min(wanted, num_candidates)

    def select(
        self, candidates: Candidates, budget: int, signals: Mapping[str, Array], rng: np.random.Generator
    ) -> Selection:
        """Choose at most ``budget`` of the candidates; ``signals`` maps each name in ``needs`` to ``array[n]`` or ``[n, d]``.

        Returns keys in ascending order unless the policy documents another, with their weights.
        """
        raise NotImplementedError
