"""The Kullback-Leibler divergence of each column."""

from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveFloat

from modyn.drift import Distance, PerColumn
from modyn.drift.binning import Binning, frequencies
from modyn.types import Float64s


class Kl(PerColumn):
    """The Kullback-Leibler divergence of the current window's binned frequencies from the reference's, in nats.

    Kullback and Leibler 1951: the sum of q log(q / p). Not symmetric; it has no p-value.

    >>> import numpy as np
    >>> Kl().distance(np.arange(100.0), np.arange(100.0)).value
    0.0
    """

    has_p_value: ClassVar[bool] = False

    bins: int = Field(20, ge=2, description="number of bins")
    binning: Binning = Field(
        "width", description="bins of equal width over both windows, or at the reference's quantiles"
    )
    floor: PositiveFloat = Field(
        1e-4, description="added to each bin's share, so that an empty bin is not infinitely far"
    )

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        p, q = frequencies(reference, current, bins=self.bins, binning=self.binning, floor=self.floor)
        return Distance(kl(q, p))


def kl(p: Float64s, q: Float64s) -> float:
    """The divergence of the frequencies ``p[bins]`` from ``q[bins]``, all above 0."""
    return float((p * np.log(p / q)).sum())
