"""The energy distance."""

import numpy as np
from pydantic import Field, NonNegativeInt

from modyn.drift import Distance, DriftMetric, SquaredDistances, memberships, permutation_p_value
from modyn.drift.kept import permuted_sums_of, sums_of
from modyn.drift.kernels import Kernel, Sums, euclidean, permuted_sums, prepared, sums
from modyn.types import Array


class Energy(DriftMetric):
    """The square root of 2 E|X - Y| - E|X - X'| - E|Y - Y'|, of whole rows.

    Székely and Rizzo 2013. Zero only for equal distributions; of a single column it is scipy's ``energy_distance``. Costs n^2 d.

    >>> import numpy as np
    >>> round(Energy().distance(np.zeros(3), np.ones(3)).value, 6)
    1.414214
    """

    permutations: NonNegativeInt = Field(0, description="permutations for the p-value (0 = none)")

    @property
    def needs_rows(self) -> bool:
        return self.pca is not None

    def of_distances(self, squared: SquaredDistances, *, seed: int) -> Distance:
        m, n = squared.between.shape
        kernel = Kernel(1.0, lambda tile: np.sqrt(tile, out=tile))
        if not self.permutations:
            return _energy(sums_of(squared, kernel), n, m)
        members = memberships(n, m, permutations=self.permutations, seed=seed)
        return _energy(permuted_sums_of(squared, kernel, members), n, m)

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        reference, current = prepared(reference, current)
        n, m, count = len(reference), len(current), self.permutations
        kernel = euclidean(reference, current)
        if not count:
            return _energy(sums(reference, current, kernel), n, m)
        return _energy(
            permuted_sums(reference, current, kernel, memberships(n, m, permutations=count, seed=seed)), n, m
        )


def _energy(found: Sums, n: int, m: int) -> Distance:
    squared = np.atleast_1d(2 * found.between / (n * m) - found.reference / n**2 - found.current / m**2)
    return Distance(float(np.sqrt(max(float(squared[0]), 0.0))), permutation_p_value(squared))
