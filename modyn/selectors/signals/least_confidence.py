"""How sure the prediction is not."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class LeastConfidence(Signal):
    """One minus the probability of the likeliest class.

    Lewis & Gale 1994, "A Sequential Algorithm for Training Text Classifiers".

    >>> LeastConfidence().needs_pass
    True
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("outputs",)
