"""A bound on the p-value."""

from pydantic import Field

from modyn.triggers.criteria import Criterion, Evidence, Verdict


class PValue(Criterion):
    """Fires when the metric's p-value is at most ``level``; never where the metric gives none.

    >>> import numpy as np
    >>> PValue(level=0.05).judge(Evidence(value=0.3, history=np.array([]), p_value=0.01))
    Verdict(fires=True, bound=0.05)
    """

    level: float = Field(0.05, gt=0, lt=1, description="the greatest p-value that fires")

    def verdict(self, evidence: Evidence) -> Verdict:
        return Verdict(evidence.p_value is not None and evidence.p_value <= self.level, self.level)
