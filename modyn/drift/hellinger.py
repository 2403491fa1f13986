"""The Hellinger distance of each column."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from modyn.drift import Distance, PerColumn
from modyn.drift.binning import Binning, frequencies
from modyn.types import Float64s


class Hellinger(PerColumn):
    """The Hellinger distance between a column's binned frequencies, from 0 to 1.

    Hellinger 1909: sqrt(1 - sum of sqrt(p q)). It has no p-value.

    >>> import numpy as np
    >>> Hellinger().distance(np.zeros(4), np.ones(4)).value
    1.0
    """

    has_p_value: ClassVar[bool] = False

    bins: int = Field(20, ge=2, description="number of bins")
    binning: Binning = Field(
        "width", description="bins of equal width over both windows, or at the reference's quantiles"
    )

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        return Distance(hellinger(*frequencies(reference, current, bins=self.bins, binning=self.binning)))


def hellinger(p: Float64s, q: Float64s) -> float:
    """The distance between the frequencies ``p[bins]`` and ``q[bins]``."""
    return float(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))
