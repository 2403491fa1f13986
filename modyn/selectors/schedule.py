"""Another selector from certain rounds on."""

import itertools
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from modyn.policy import Options, split
from modyn.selectors import Selector
from modyn.types import Candidates, Selection, Signals


class Step(Options):
    """A selector and the round from which it decides."""

    start: int = Field(0, ge=0, description="the first round in which it decides")
    use: Selector = Field(
        description="the selector; the schedule's budget, history, warmup_rounds and balance_by hold where it sets none of its own"
    )


class Schedule(Selector):
    """Switches the selector at given rounds.

    >>> policy = Schedule(steps=[{"use": "all"}, {"start": 3, "use": {"uniform": {"budget": "20%"}}}], history="round")
    >>> str(policy.for_round(2)).partition(":")[0], policy.for_round(3).budget, policy.for_round(3).history.last
    ('{all', 0.2, 1)
    """

    steps: list[Step] = Field(
        min_length=1, description="selectors with the rounds from which they decide, rising from 0"
    )

    @model_validator(mode="before")
    @classmethod
    def _handed_on(cls, given: Any) -> Any:
        """Write the schedule's options into each step that has none of its own, so that a step means the same wherever it is read again."""
        if not isinstance(given, Mapping) or not isinstance(given.get("steps"), list | tuple):
            return given
        common = {name: given[name] for name in Selector.model_fields if name in given}
        return {**given, "steps": [_with(step, common) for step in given["steps"]]}

    @model_validator(mode="after")
    def _rising(self) -> Self:
        starts = [step.start for step in self.steps]
        if starts[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(starts)):
            raise ValueError(f"steps must start at round 0 and rise; got {', '.join(map(str, starts))}")
        return self

    @property
    def uses_history(self) -> bool:
        """Whether any step does: what a later round reads must be noted from the first."""
        return any(step.use.uses_history for step in self.steps)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all steps."""
        return tuple(dict.fromkeys([*super().columns, *(name for step in self.steps for name in step.use.columns)]))

    def for_round(self, number: int) -> Selector:
        """The selector of a round."""
        return [step.use for step in self.steps if step.start <= number][-1].for_round(number)

    @property
    def deciding(self) -> tuple[Selector, ...]:
        """Those of all steps."""
        return tuple(one for step in self.steps for one in self.for_round(step.start).deciding)

    def choose(self, candidates: Candidates, signals: Signals | None, *, seed: int) -> Selection:
        """What the round's selector chooses."""
        return self.for_round(candidates.round).choose(candidates, signals, seed=seed)

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        return self.for_round(candidates.round).select(candidates, budget, signals, rng)


def _with(step: Any, common: Mapping[str, Any]) -> Any:
    """A step whose selector has the common options that it does not set itself; what is no step stays, to be refused as it is."""
    if isinstance(step, Step):
        return Step(start=step.start, use=_handed(step.use, common))
    if not isinstance(step, Mapping) or "use" not in step:
        return step
    return {**step, "use": _handed(step["use"], common)}


def _handed(selector: Any, common: Mapping[str, Any]) -> Any:
    if isinstance(selector, Selector):
        own = {name: getattr(selector, name) for name in selector.model_fields_set}
        return type(selector)(**{**common, **own})
    try:
        name, own = split(selector, Selector.role)
    except ValueError:
        return selector
    return {name: {**common, **own}} if common else selector
