"""How far the prediction is off."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class El2n(Signal):
    """The Euclidean distance of the predicted distribution to the label.

    Paul, Ganguli & Dziugaite 2021, "Deep Learning on a Data Diet: Finding Important Examples Early in Training".

    >>> El2n().needs_pass
    True
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("outputs", "labels")
