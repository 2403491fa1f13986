"""The loss when last trained on."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class LossHistory(Signal):
    """The loss of each sample when it was last trained on, in this round or an earlier one; NaN = never. No pass over the data.

    Jiang et al. 2019, "Accelerating Deep Learning by Focusing on the Biggest Losers" (stale losses).

    >>> LossHistory().needs_pass
    False
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("history",)
