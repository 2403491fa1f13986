"""Train when more than half of several triggers have fired."""

from modyn.triggers.combining.combination import Combination


class Majority(Combination):
    """Fires when more than half of its triggers have fired since the last round, or at the same sample with ``memory: this-check``.

    >>> import numpy as np
    >>> from modyn.triggers.every import Every
    >>> from modyn.types import Samples
    >>> children = (Every(samples=2), Every(samples=3), Every(samples=100))
    >>> list(Majority(triggers=children).update(Samples(np.arange(7), np.arange(7))))
    [2, 5]
    """

    def fires_on(self, votes: int) -> bool:
        return votes > len(self.triggers) / 2
