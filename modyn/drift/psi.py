"""The population stability index of each column."""

from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveFloat

from modyn.drift import Distance, PerColumn
from modyn.drift.binning import Binning, frequencies
from modyn.types import Float64s


class Psi(PerColumn):
    """The population stability index, the sum of (p - q) log(p / q) over a column's bins.

    Siddiqi 2006; the same as Jeffreys' divergence. By custom below 0.1 is stable and above 0.25 is a shift. It has no p-value.

    >>> import numpy as np
    >>> Psi().distance(np.arange(100.0), np.arange(100.0)).value
    0.0
    """

    has_p_value: ClassVar[bool] = False

    bins: int = Field(10, ge=2, description="number of bins")
    binning: Binning = Field(
        "quantile", description="bins at the reference's quantiles, or of equal width over both windows"
    )
    floor: PositiveFloat = Field(
        1e-4, description="added to each bin's share, so that an empty bin is not infinitely far"
    )

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        shares = frequencies(reference, current, bins=self.bins, binning=self.binning, floor=self.floor)
        return Distance(psi(*shares))


def psi(p: Float64s, q: Float64s) -> float:
    """The index of the frequencies ``p[bins]`` and ``q[bins]``, all above 0."""
    return float(((p - q) * np.log(p / q)).sum())
