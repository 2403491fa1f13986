"""The Wasserstein distance of each column."""

import numpy as np
from pydantic import Field, NonNegativeInt, model_validator

from modyn.drift import Distance, PerColumn, permuted
from modyn.types import Array, Float64s


class Wasserstein(PerColumn):
    """How far probability must be moved to turn one distribution of a column into the other (earth mover's distance).

    Kantorovich 1942; for one column the area between both distribution functions. With ``scaled`` in units of the reference's standard
    deviation, so that columns can be compared; a constant reference keeps the column's own unit.

    >>> import numpy as np
    >>> Wasserstein(scaled=False).distance(np.array([0.0, 1.0, 3.0]), np.array([5.0, 6.0, 8.0])).value
    5.0
    """

    scaled: bool = Field(True, description="divide by the standard deviation of the reference's column")
    permutations: NonNegativeInt = Field(0, description="permutations for the p-value of each column (0 = none)")

    @model_validator(mode="after")
    def _tested(self) -> "Wasserstein":
        if self.combine in ("bonferroni", "benjamini-hochberg") and not self.permutations:
            raise ValueError(f"combine: {self.combine} needs p-values: give permutations")
        return self

    def column(self, reference: Float64s, current: Float64s, *, seed: int) -> Distance:
        unit = float(reference.std()) if self.scaled else 1.0
        found = permuted(wasserstein, reference, current, permutations=self.permutations, seed=seed)
        return Distance(found.value / (unit or 1.0), found.p_value)


def wasserstein(reference: Array, current: Array) -> float:
    """The distance between ``reference[n]`` and ``current[m]``, in the values' unit."""
    reference, current = np.sort(reference), np.sort(current)
    points = np.sort(np.concatenate([reference, current]))
    below_reference = np.searchsorted(reference, points[:-1], side="right") / len(reference)
    below_current = np.searchsorted(current, points[:-1], side="right") / len(current)
    return float((np.abs(below_reference - below_current) * np.diff(points)).sum())
