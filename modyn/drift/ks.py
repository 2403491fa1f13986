"""The Kolmogorov-Smirnov distance of each column."""

import numpy as np

from modyn.drift import Distance, PerColumn
from modyn.types import Float64s


class Ks(PerColumn):
    """The greatest gap between both empirical distribution functions, with the two-sample test's asymptotic p-value.

    Kolmogorov 1933, Smirnov 1939. Between 0 and 1.

    >>> import numpy as np
    >>> Ks().distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0])).value
    0.5
    """

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        return ks(reference, current)


def ks(reference: Float64s, current: Float64s) -> Distance:
    """The distance between ``reference[n]`` and ``current[m]``."""
    from scipy.special import kolmogorov
    from scipy.stats import kstwo

    reference, current = np.sort(reference), np.sort(current)
    n, m = len(reference), len(current)
    points = np.concatenate([reference, current])
    below_reference = np.searchsorted(reference, points, side="right") / n
    below_current = np.searchsorted(current, points, side="right") / m
    value = float(np.abs(below_reference - below_current).max())
    effective = n * m / (n + m)
    if effective >= 2:
        p_value = float(kstwo.sf(value, round(effective)))
    else:
        p_value = float(kolmogorov(value * np.sqrt(effective)))
    return Distance(value, min(max(p_value, 0.0), 1.0))
