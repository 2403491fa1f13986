"""How often each sample was forgotten."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class Forgetting(Signal):
    """How many times each sample was predicted right and then wrong, while being trained on; NaN = never right. No pass over the data.

    Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning".

    >>> Forgetting().needs_pass
    False
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("history",)
