"""Signals: per-sample quantities that a model gives. Declared here without torch; the trainer computes them.

A user's own signal is a function ``score(outputs)`` of ``modyn.training.signals.Outputs`` that gives a tensor ``[n]`` or ``[n, d]``, named
``package.module:score`` or ``./file.py:score``.
"""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from modyn.errors import NotFound
from modyn.policy import Importable, Policy, find


class Signal(Policy):
    """What a signal is, and what must be at hand to compute it."""

    role: ClassVar[str] = "signal"
    axes: ClassVar[str] = "[n]"
    """The shape of the array, ``n`` samples on the first axis; ``factored`` for ``modyn.types.Gradients``."""
    reads: ClassVar[tuple[str, ...]] = ("outputs", "labels")
    """What it is computed from: ``outputs``, ``labels``, ``embedding``; or ``history`` or ``holdout``, which take no pass."""

    @property
    def needs_pass(self) -> bool:
        """Whether the model must be run over the samples."""
        return not {"history", "holdout"} & set(self.reads)


def _known(name: Any) -> Any:
    if isinstance(name, str):
        try:
            find(Signal, name)
        except NotFound as error:
            raise ValueError(str(error)) from None
    return name


SignalName = Annotated[Importable | str, Field(union_mode="left_to_right"), AfterValidator(_known)]
"""A signal by name, or a function of the user's by ``package.module:name``."""


def needs_pass(name: Importable | str) -> bool:
    """Whether the model must be run over the samples to have the signal."""
    return not isinstance(name, str) or find(Signal, name)().needs_pass
