"""A bound on the p-value."""

from pydantic import Field

from modyn.triggers.criteria import Criterion, Evidence, Verdict


class PValue(Criterion):
    """Fires when the metric's p-value is at most ``level``; never where the metric gives none.

    >>> import numpy as np
    >>> PValue(level=0.05).judge(Evidence(value=0.3, history=np.array([]), p_value=0.01))
    Verdict(fires=True, bound=0.05, measured=0.01, of='p-value')
    """

    level: float = Field(0.05, gt=0, lt=1, description="the greatest p-value that fires")

    def verdict(self, evidence: Evidence) -> Verdict:
        p_value = evidence.p_value
        return Verdict(p_value is not None and p_value <= self.level, self.level, p_value, "p-value")
