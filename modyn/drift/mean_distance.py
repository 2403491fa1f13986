"""The distance between both windows' means."""

from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from modyn.drift import Distance, DriftMetric, complete, memberships, permutation_p_value
from modyn.types import Array, Float64s


class MeanDistance(DriftMetric):
    """The Euclidean, cosine or city-block distance between the mean rows of both windows.

    The cheapest metric; it sees a shift of the mean and nothing else. The cosine distance is 0 between two means of zero and 1 between zero
    and another one.

    >>> import numpy as np
    >>> MeanDistance().distance(np.zeros((2, 2)), np.array([[3.0, 4.0]])).value
    5.0
    """

    norm: Literal["euclidean", "cosine", "cityblock"] = Field("euclidean", description="how the means are compared")
    permutations: NonNegativeInt = Field(0, description="permutations for the p-value (0 = none)")

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        reference, current = complete(reference, current)
        n, m = len(reference), len(current)
        members = memberships(n, m, permutations=self.permutations, seed=seed)
        pooled = np.concatenate([reference, current]).astype(np.float64, copy=False)
        of_reference, of_current = members.T @ pooled / n, (1 - members).T @ pooled / m
        values = mean_distances(of_reference, of_current, norm=self.norm)
        return Distance(float(values[0]), permutation_p_value(values), np.abs(of_reference[0] - of_current[0]))


def mean_distances(left: Array, right: Array, *, norm: str) -> Float64s:
    """The distance between each row of ``left[p, d]`` and the same of ``right[p, d]``."""
    if norm == "cityblock":
        return np.asarray(np.abs(left - right).sum(axis=1))
    if norm == "euclidean":
        return np.asarray(np.sqrt(((left - right) ** 2).sum(axis=1)))
    lengths = np.sqrt((left**2).sum(axis=1)), np.sqrt((right**2).sum(axis=1))
    product = lengths[0] * lengths[1]
    cosine = np.divide((left * right).sum(axis=1), product, out=np.zeros(len(left)), where=product > 0)
    cosine[(lengths[0] == 0) & (lengths[1] == 0)] = 1.0
    return np.asarray(np.maximum(1.0 - cosine, 0.0))
