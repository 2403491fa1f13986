"""The gradient of the last layer."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class Gradient(Signal):
    """The gradient of each sample's loss with respect to the last layer, kept factored.

    The gradient with respect to the outputs is the bias's; its outer product with the embedding is the weight's.

    >>> Gradient().needs_pass
    True
    """

    axes: ClassVar[str] = "factored"
    reads: ClassVar[tuple[str, ...]] = ("outputs", "labels", "embedding")
