"""When a value is remarkable: criteria on the series of a trigger's distances or scores."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from modyn.policy import Policy
from modyn.types import Float64s


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a criterion judges.

    ``history[n]`` are the values of the checks before, oldest first. ``low`` says that low values are the remarkable ones (scores), not high
    ones (distances). ``counts[c, 2]``: samples and wrong ones of each check since the last round; ``expected`` is the accuracy that a new
    checkpoint had right after past rounds. The latter two are known to triggers of performance only.
    """

    value: float
    history: Float64s
    p_value: float | None = None
    low: bool = False
    counts: Float64s | None = None
    expected: float | None = None

    def beyond(self, bound: float) -> bool:
        """Whether the value is strictly on the remarkable side of a bound."""
        return self.value < bound if self.low else self.value > bound


class Verdict(NamedTuple):
    """Whether to train, and the bound (None = there is none yet); what was held against it, where that is not the value, and its name."""

    fires: bool
    bound: float | None = None
    measured: float | None = None
    of: str | None = None


class Criterion(Policy):
    """Judges whether a value, after the values before it, calls for training."""

    role: ClassVar[str] = "criterion"

    @property
    def memory(self) -> int:
        """How many past values it looks at."""
        return 0

    def judge(self, evidence: Evidence) -> Verdict:
        """The verdict; a value that is NaN never fires."""
        verdict = self.verdict(evidence)
        return verdict._replace(fires=False) if np.isnan(evidence.value) else verdict

    def verdict(self, evidence: Evidence) -> Verdict:
        """The verdict on a value; what a criterion defines."""
        raise NotImplementedError
