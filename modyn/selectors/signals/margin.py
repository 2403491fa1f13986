"""How far the first class is ahead of the second."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class Margin(Signal):
    """The probability of the likeliest class minus that of the second; small = uncertain.

    Scheffer, Decomain & Wrobel 2001, "Active Hidden Markov Models for Information Extraction".

    >>> Margin().needs_pass
    True
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("outputs",)
