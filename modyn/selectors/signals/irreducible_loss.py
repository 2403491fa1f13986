"""The loss that training cannot take away."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class IrreducibleLoss(Signal):
    """The loss of each sample under a model that was trained on a holdout, without it.

    Mindermann et al. 2022, "Prioritized Training on Points that are Learnable, Worth Learning, and Not Yet Learnt".

    >>> IrreducibleLoss().needs_pass
    False
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("holdout",)
