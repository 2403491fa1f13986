"""The energy distance."""

import numpy as np
from pydantic import Field, NonNegativeInt

from modyn.drift import Distance, DriftMetric, memberships, permutation_p_value
from modyn.drift.kernels import euclidean, permuted_sums, prepared, sums
from modyn.types import Array


class Energy(DriftMetric):
    """The square root of 2 E|X - Y| - E|X - X'| - E|Y - Y'|, of whole rows.

    Székely and Rizzo 2013. Zero only for equal distributions; of a single column it is scipy's ``energy_distance``. Costs n^2 d.

    >>> import numpy as np
    >>> round(Energy().distance(np.zeros(3), np.ones(3)).value, 6)
    1.414214
    """

    permutations: NonNegativeInt = Field(0, description="permutations for the p-value (0 = none)")

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        reference, current = prepared(reference, current)
        n, m, count = len(reference), len(current), self.permutations
        kernel = euclidean(reference, current)
        if count:
            found = permuted_sums(reference, current, kernel, memberships(n, m, permutations=count, seed=seed))
        else:
            found = sums(reference, current, kernel)
        squared = np.atleast_1d(2 * found.between / (n * m) - found.reference / n**2 - found.current / m**2)
        return Distance(float(np.sqrt(max(float(squared[0]), 0.0))), permutation_p_value(squared))
