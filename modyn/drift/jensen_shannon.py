"""The Jensen-Shannon distance of each column."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from modyn.drift import Distance, PerColumn
from modyn.drift.binning import Binning, frequencies
from modyn.types import Float64s


class JensenShannon(PerColumn):
    """The square root of the Jensen-Shannon divergence (base 2) of a column's binned frequencies, from 0 to 1.

    Lin 1991, Endres and Schindelin 2003. It has no p-value.

    >>> import numpy as np
    >>> JensenShannon().distance(np.zeros(4), np.ones(4)).value
    1.0
    """

    has_p_value: ClassVar[bool] = False

    bins: int = Field(20, ge=2, description="number of bins")
    binning: Binning = Field(
        "width", description="bins of equal width over both windows, or at the reference's quantiles"
    )

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        return Distance(jensen_shannon(*frequencies(reference, current, bins=self.bins, binning=self.binning)))


def jensen_shannon(p: Float64s, q: Float64s) -> float:
    """The distance between the frequencies ``p[bins]`` and ``q[bins]``."""
    middle = (p + q) / 2
    divergence = sum((share[share > 0] * np.log2(share[share > 0] / middle[share > 0])).sum() / 2 for share in (p, q))
    return float(np.sqrt(max(float(divergence), 0.0)))
