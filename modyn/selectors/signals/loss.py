"""The loss of each sample."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class Loss(Signal):
    """The loss of each sample, by the pipeline's loss function.

    >>> Loss().needs_pass
    True
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("outputs", "labels")
