"""Where the model puts each sample."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class Embedding(Signal):
    """The input of the model's last linear layer; scoring stops there.

    >>> Embedding().needs_pass
    True
    """

    axes: ClassVar[str] = "[n, width]"
    reads: ClassVar[tuple[str, ...]] = ("embedding",)
