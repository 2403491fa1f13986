"""A fixed bound."""

from pydantic import Field, FiniteFloat

from modyn.triggers.criteria import Criterion, Evidence, Verdict


class Threshold(Criterion):
    """Fires when a distance is above, or a score below, ``value``.

    >>> import numpy as np
    >>> Threshold(value=0.5).judge(Evidence(value=0.6, history=np.array([])))
    Verdict(fires=True, bound=0.5, measured=None, of=None)
    """

    value: FiniteFloat = Field(description="the bound")

    def verdict(self, evidence: Evidence) -> Verdict:
        return Verdict(evidence.beyond(self.value), self.value)
