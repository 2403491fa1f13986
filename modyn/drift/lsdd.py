"""The least-squares density difference."""

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from modyn.drift import Distance, DriftMetric, memberships, permutation_p_value
from modyn.drift.kernels import median_distance, prepared
from modyn.types import Array, Float64s


class Lsdd(DriftMetric):
    """An estimate of the squared L2 distance between both windows' densities, without estimating either density.

    Sugiyama et al. 2013, "Density-Difference Estimation": ridge regression of the difference on Gaussians at ``centres`` of the pooled rows. The
    value is in units of (pi bandwidth^2)^(-d/2), so that it stays finite in many columns; at least 0. Costs n d centres.

    >>> import numpy as np
    >>> same = np.arange(10.0)
    >>> round(Lsdd().distance(same, same).value, 9)
    0.0
    """

    bandwidth: PositiveFloat | None = Field(None, description="width of the Gaussians (null = the median distance)")
    centres: PositiveInt = Field(200, description="number of Gaussians")
    ridge: PositiveFloat = Field(0.01, description="the regression's penalty")
    permutations: NonNegativeInt = Field(0, description="permutations for the p-value (0 = none)")

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        reference, current = prepared(reference, current)
        width = self.bandwidth or median_distance(reference, current)
        n, m = len(reference), len(current)
        pooled = np.concatenate([reference, current])
        chosen = np.random.default_rng(seed).permutation(n + m)[: self.centres]
        members = memberships(n, m, permutations=self.permutations, seed=seed)
        weights = members / n - (1 - members) / m
        moments = np.zeros((len(chosen), members.shape[1]))
        for start in range(0, n + m, 4096):
            block = slice(start, start + 4096)
            moments += gaussians(pooled[chosen], pooled[block], 2 * width**2) @ weights[block]
        values = density_difference(gaussians(pooled[chosen], pooled[chosen], 4 * width**2), moments, ridge=self.ridge)
        return Distance(float(values[0]), permutation_p_value(values))


def gaussians(left: Array, right: Array, scale: float) -> Float64s:
    """exp(-|x - y|^2 / scale) for each row of ``left[n, d]`` and of ``right[m, d]``."""
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.exp(-np.maximum(squares, 0).astype(np.float64) / scale))


def density_difference(overlaps: Float64s, moments: Float64s, *, ridge: float) -> Float64s:
    """2 h't - t'Ht with t = (H + ridge I)^-1 h, for ``overlaps`` H ``[c, c]`` and each column of ``moments`` h ``[c, p]``."""
    solved = np.linalg.solve(overlaps + ridge * np.eye(len(overlaps)), moments)
    return np.asarray(2 * (moments * solved).sum(axis=0) - (solved * (overlaps @ solved)).sum(axis=0))
