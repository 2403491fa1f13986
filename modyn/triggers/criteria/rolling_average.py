"""A bound that follows the last values' mean."""

from pydantic import Field, NonNegativeFloat, PositiveInt

from modyn.triggers.criteria import Criterion, Evidence, Verdict


class RollingAverage(Criterion):
    """Fires when a value deviates from the mean of the last ``window`` values by more than ``deviation``, in the remarkable direction.

    Before the first value there is no mean and it does not fire; with fewer than ``window`` values it takes the mean of those.

    >>> import numpy as np
    >>> RollingAverage(deviation=0.5).judge(Evidence(value=1.6, history=np.array([0.5, 1.5])))
    Verdict(fires=True, bound=1.5, measured=None, of=None)
    """

    window: PositiveInt = Field(10, description="number of past values")
    deviation: NonNegativeFloat = Field(
        0.05, allow_inf_nan=False, description="how far from the mean: a share of it, or its unit if absolute"
    )
    absolute: bool = Field(False, description="whether deviation is in the value's unit instead of a share of the mean")

    @property
    def memory(self) -> int:
        return self.window

    def verdict(self, evidence: Evidence) -> Verdict:
        if not len(evidence.history):
            return Verdict(False)
        mean = float(evidence.history[-self.window :].mean())
        margin = self.deviation if self.absolute else self.deviation * abs(mean)
        bound = mean - margin if evidence.low else mean + margin
        return Verdict(evidence.beyond(bound), bound)
