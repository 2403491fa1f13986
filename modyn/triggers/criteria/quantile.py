"""A bound that follows the last values' spread."""

import numpy as np
from pydantic import Field, PositiveInt

from modyn.triggers.criteria import Criterion, Evidence, Verdict
from modyn.types import Float64s


class Quantile(Criterion):
    """Fires when a distance is above the 1 - q quantile (or a score below the q quantile) of the last ``window`` values.

    Until so many values are known there is no bound and it does not fire; a warm-up calibrates it sooner.

    >>> import numpy as np
    >>> Quantile(window=4, q=0.25).judge(Evidence(value=4.0, history=np.array([0.0, 1.0, 2.0, 3.0])))
    Verdict(fires=True, bound=2.25, measured=None, of=None)
    """

    window: PositiveInt = Field(10, description="number of past values")
    q: float = Field(0.05, ge=0, lt=1, description="share of past values beyond the bound")

    @property
    def memory(self) -> int:
        return self.window

    def verdict(self, evidence: Evidence) -> Verdict:
        if len(evidence.history) < self.window:
            return Verdict(False)
        bound = interpolated(evidence.history[-self.window :], self.q if evidence.low else 1 - self.q)
        return Verdict(evidence.beyond(bound), bound)


def interpolated(values: Float64s, q: float) -> float:
    """The q quantile of a few numbers, linear between their order statistics: ``numpy.quantile`` at a tenth of its cost.

    >>> interpolated(np.array([3.0, 0.0, 1.0]), 0.75)
    2.0
    """
    ordered, place = np.sort(values).tolist(), q * (len(values) - 1)
    below = int(place)
    above, share = min(below + 1, len(ordered) - 1), place - below
    return float(ordered[below] + (ordered[above] - ordered[below]) * share)
