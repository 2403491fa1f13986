"""The first checks of a trigger that needs a checkpoint or a history, at which a simple trigger decides."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, NonNegativeInt

from modyn.policy import Options
from modyn.triggers import Features, Trigger
from modyn.triggers.every import Every
from modyn.types import Round, Samples


class Warmup(Options):
    """The first checks, at which a simple trigger decides while what is measured is remembered to calibrate the criteria."""

    checks: NonNegativeInt = Field(0, description="number of checks")
    trigger: Trigger = Field(default_factory=lambda: Every(samples=5000), description="what decides meanwhile")


class WarmingUp:
    """How far a warm-up has come."""

    def __init__(self, options: Warmup) -> None:
        self.options = options
        self._checks = 0
        self._asked = False

    @property
    def is_on(self) -> bool:
        """Whether the next check belongs to it."""
        return self._checks < self.options.checks

    def bind(self, features: Features) -> None:
        self.options.trigger.bind(features)

    def take(self, samples: Samples) -> None:
        """Show the simple trigger what has arrived."""
        if self.is_on and len(samples):
            for _ in self.options.trigger.update(samples):
                self._asked = True

    def decides(self) -> bool | None:
        """At a check: whether the simple trigger asks for training since the last one; None once the warm-up is over."""
        if not self.is_on:
            return None
        asked, self._asked = self._asked, False
        self._checks += 1
        return asked

    def inform(self, round: Round) -> None:  # noqa: A002
        if self.is_on:
            self.options.trigger.inform(round)

    def state_dict(self) -> dict[str, Any]:
        return {"checks": self._checks, "asked": self._asked, "trigger": self.options.trigger.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._checks, self._asked = state["checks"], state["asked"]
        self.options.trigger.load_state_dict(state["trigger"])
