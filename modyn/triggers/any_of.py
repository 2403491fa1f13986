"""Train when any of several triggers fires."""

from modyn.triggers.combining.combination import Combination


class AnyOf(Combination):
    """Fires wherever one of its triggers does.

    >>> import numpy as np
    >>> from modyn.triggers.every import Every
    >>> from modyn.types import Samples
    >>> list(AnyOf(triggers=(Every(samples=4), Every(samples=6))).update(Samples(np.arange(13), np.arange(13))))
    [3, 5, 7, 11]
    """

    def fires_on(self, votes: int) -> bool:
        return votes >= 1
