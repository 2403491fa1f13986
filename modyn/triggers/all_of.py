"""Train when all of several triggers have fired."""

from modyn.triggers.combining.combination import Combination


class AllOf(Combination):
    """Fires when every one of its triggers has fired since the last round, or at the same sample with ``memory: this-check``.

    >>> import numpy as np
    >>> from modyn.triggers.every import Every
    >>> from modyn.types import Samples
    >>> children = (Every(samples=4), Every(samples=6))
    >>> list(AllOf(triggers=children, memory="this-check").update(Samples(np.arange(13), np.arange(13))))
    [11]
    """

    def fires_on(self, votes: int) -> bool:
        return votes == len(self.triggers)
