"""The Cramér-von Mises distance of each column."""

import numpy as np

from modyn.drift import Distance, PerColumn
from modyn.types import Float64s


class CramerVonMises(PerColumn):
    """The two-sample Cramér-von Mises statistic T of each column, with its p-value.

    Anderson 1962. T grows with the windows' size where they differ; without drift its mean is near 1/6.

    >>> import numpy as np
    >>> CramerVonMises().distance(np.array([1.0, 2.0]), np.array([3.0, 4.0])).value
    0.375
    """

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        return cramer_von_mises(reference, current)


def cramer_von_mises(reference: Float64s, current: Float64s) -> Distance:
    """The statistic for ``reference[n]`` and ``current[m]``; 0 with p-value 1 where all values are equal.

    With a single row in a window there is the statistic but no p-value.
    """
    from scipy.stats import cramervonmises_2samp, rankdata

    n, m = len(reference), len(current)
    if np.ptp(np.concatenate([reference, current])) == 0:
        return Distance(0.0, 1.0)
    if min(n, m) < 2:
        ranks = rankdata(np.concatenate([reference, current]))
        of_reference, of_current = np.sort(ranks[:n]), np.sort(ranks[n:])
        u = n * ((of_reference - np.arange(1, n + 1)) ** 2).sum() + m * ((of_current - np.arange(1, m + 1)) ** 2).sum()
        return Distance(float(u / (n * m * (n + m)) - (4 * n * m - 1) / (6 * (n + m))))
    found = cramervonmises_2samp(reference, current)
    return Distance(float(found.statistic), float(np.clip(found.pvalue, 0, 1)))
