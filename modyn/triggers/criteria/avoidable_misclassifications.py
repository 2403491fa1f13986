"""A bound on the errors that a new checkpoint would not have made."""

import numpy as np
from pydantic import Field, PositiveFloat

from modyn.triggers.criteria import Criterion, Evidence, Verdict
from modyn.types import Float64s

MEASURE = "avoidable misclassifications"


class AvoidableMisclassifications(Criterion):
    """Fires when the avoidable misclassifications since the last round, the sum of max(0, wrong - (1 - expected accuracy) n), reach a number.

    The expected accuracy is that of new checkpoints right after past rounds, unless given. For triggers of performance only.

    >>> import numpy as np
    >>> checks = np.array([[100.0, 30.0], [100.0, 25.0]])
    >>> criterion = AvoidableMisclassifications(threshold=15, expected_accuracy=0.8)
    >>> criterion.judge(Evidence(value=0.75, history=np.array([]), counts=checks)).fires
    True
    """

    threshold: PositiveFloat = Field(
        allow_inf_nan=False, description="the number of avoidable misclassifications that calls for training"
    )
    expected_accuracy: float | None = Field(
        None, ge=0, le=1, description="the accuracy of a new checkpoint (null = learned from past rounds)"
    )
    allow_reduction: bool = Field(
        False, description="whether a check with fewer errors than expected takes from the sum"
    )

    def verdict(self, evidence: Evidence) -> Verdict:
        expected = evidence.expected if self.expected_accuracy is None else self.expected_accuracy
        if evidence.counts is None or expected is None:
            return Verdict(False, self.threshold, None, MEASURE)
        total = float(avoidable(evidence.counts, expected, allow_reduction=self.allow_reduction).sum())
        return Verdict(total >= self.threshold, self.threshold, total, MEASURE)


def avoidable(counts: Float64s, expected_accuracy: float, *, allow_reduction: bool) -> Float64s:
    """Avoidable misclassifications of each check of ``counts[c, 2]`` (samples, wrong ones)."""
    excess = counts[:, 1] - (1 - expected_accuracy) * counts[:, 0]
    return excess if allow_reduction else np.maximum(excess, 0.0)
