"""Never train."""

from collections.abc import Iterator

from modyn.triggers import Trigger
from modyn.types import Samples


class Never(Trigger):
    """Never fires: the data is followed and nothing is trained.

    >>> import numpy as np
    >>> list(Never().update(Samples(np.arange(3), np.arange(3))))
    []
    """

    def update(self, batch: Samples) -> Iterator[int]:
        return iter(())

    def ahead(self, batch: Samples) -> int:
        return len(batch)
