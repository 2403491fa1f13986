"""The chi-squared distance of each categorical column."""

from typing import Literal

import numpy as np
from pydantic import Field

from modyn.drift import Distance, PerColumn
from modyn.types import Array, Float64s


class Chi2(PerColumn):
    """The chi-squared test of homogeneity of each column's values taken as categories, with its asymptotic p-value.

    Pearson 1900. The distance is Cramér's V (from 0 to 1, whatever the windows' sizes) or the statistic itself.

    >>> import numpy as np
    >>> metric = Chi2(measure_as="statistic")
    >>> metric.distance(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])).value.__round__(6)
    0.533333
    """

    measure_as: Literal["cramers-v", "statistic"] = Field(
        "cramers-v", description="Cramér's V, or the chi-squared statistic"
    )

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        categories = np.unique(np.concatenate([reference, current]))
        found = chi2(
            *(np.bincount(np.searchsorted(categories, v), minlength=len(categories)) for v in (reference, current))
        )
        if self.measure_as == "statistic":
            return found
        return found._replace(value=float(np.sqrt(found.value / (len(reference) + len(current)))))


def chi2(reference: Array, current: Array) -> Distance:
    """The statistic for the counts ``reference[c]`` and ``current[c]`` of each category; 0 with p-value 1 where there is only one."""
    from scipy.stats import chi2 as distribution

    table = np.stack([reference, current]).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return Distance(0.0, 1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    value = float(((table - expected) ** 2 / expected).sum())
    return Distance(value, float(distribution.sf(value, table.shape[1] - 1)))
