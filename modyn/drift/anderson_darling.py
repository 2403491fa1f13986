"""The Anderson-Darling distance of each column."""

import numpy as np

from modyn.drift import Distance, PerColumn
from modyn.types import Float64s


class AndersonDarling(PerColumn):
    """The two-sample Anderson-Darling statistic of each column, which weighs the tails more, with its asymptotic p-value.

    Scholz and Stephens 1987 (midranks), standardised as theirs; the p-value by the limit distribution of Marsaglia and Marsaglia 2004.

    >>> import numpy as np
    >>> same = np.arange(10.0)
    >>> AndersonDarling().distance(same, same + 20).value > AndersonDarling().distance(same, same + 1).value
    True
    """

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        return anderson_darling(reference, current)


def anderson_darling(reference: Float64s, current: Float64s) -> Distance:
    """The standardised statistic for ``reference[n]`` and ``current[m]``; 0 with p-value 1 where all values are equal."""
    pooled = np.concatenate([reference, current])
    values, counts = np.unique(pooled, return_counts=True)
    total, sizes = len(pooled), (len(reference), len(current))
    if len(values) == 1:
        return Distance(0.0, 1.0)
    if total < 4:
        return Distance(float("nan"))
    up_to = np.cumsum(counts) - counts / 2
    spread = up_to * (total - up_to) - total * counts / 4
    statistic = 0.0
    for sample, size in zip((reference, current), sizes, strict=True):
        ordered = np.sort(sample)
        right = np.searchsorted(ordered, values, side="right")
        middle = (right + np.searchsorted(ordered, values, side="left")) / 2
        statistic += float((counts * (total * middle - size * up_to) ** 2 / spread).sum() / size)
    statistic *= (total - 1) / total**2
    standard = (statistic - 1) / _standard_deviation(sizes)
    return Distance(standard, limit_p_value(1 + standard * np.sqrt(2 * (np.pi**2 - 9) / 3)))


def _standard_deviation(sizes: tuple[int, int]) -> float:
    """Of the statistic of two samples without drift (Scholz and Stephens 1987, section 3, for k = 2)."""
    total, inverse = float(sum(sizes)), sum(1 / size for size in sizes)
    later = np.cumsum(1 / np.arange(total - 1, 1, -1))
    h = float(later[-1]) + 1
    g = float((later / np.arange(2, total)).sum())
    a = 4 * g - 6 + (10 - 6 * g) * inverse
    b = 4 * (2 * g - 4) + 16 * h + (2 * g - 14 * h - 4) * inverse - 8 * h + 4 * g - 6
    c = 4 * (6 * h + 2 * g - 2) + 2 * (4 * h - 4 * g + 6) + (2 * h - 6) * inverse + 4 * h
    d = 4 * (2 * h + 6) - 8 * h
    variance = (a * total**3 + b * total**2 + c * total + d) / ((total - 1) * (total - 2) * (total - 3))
    return float(np.sqrt(variance))


def limit_p_value(statistic: float) -> float:
    """The chance that the Anderson-Darling statistic's limit exceeds a value (Marsaglia and Marsaglia 2004, ``adinf``; error below 2e-6).

    >>> round(limit_p_value(2.492), 3)
    0.05
    """
    z = max(float(statistic), 1e-3)
    if z < 2:
        inner = 0.0649821 - (0.0347962 - (0.011672 - 0.00168691 * z) * z) * z
        return float(1 - np.exp(-1.2337141 / z) / np.sqrt(z) * (2.00012 + (0.247105 - inner * z) * z))
    inner = 0.43424 - (0.082433 - (0.008056 - 0.0003146 * z) * z) * z
    return float(-np.expm1(-np.exp(1.0776 - (2.30695 - inner * z) * z)))
