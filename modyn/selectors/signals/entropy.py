"""How spread out the prediction is."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class Entropy(Signal):
    """The entropy of the predicted distribution, in nats.

    Settles 2009, "Active Learning Literature Survey".

    >>> Entropy().needs_pass
    True
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("outputs",)
