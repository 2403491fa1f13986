"""The evaluation part of a pipeline."""

from typing import Literal

from pydantic import Field

from modyn.evaluation.metrics import Metric
from modyn.evaluation.metrics.accuracy import Accuracy
from modyn.evaluation.windows import EvaluationWindows
from modyn.policy import Options


def _accuracy() -> list[Metric]:
    return [Accuracy()]


class Evaluation(Options):
    """How checkpoints are scored: on which windows, by which metrics, which of them and when."""

    windows: EvaluationWindows = Field(description="the windows to score on, such as {slices: {every: 30d}}")
    metrics: list[Metric] = Field(
        default_factory=_accuracy, min_length=1, description="names of metrics; the first is the headline"
    )
    checkpoints: Literal["all", "active", "trained"] = Field(
        "all",
        description="all = every checkpoint on every window; active (trained) = each window by the checkpoint of that "
        "composite model only, after the run. The first checkpoint is always scored on every window",
    )
    when: Literal["after-round", "after-run"] = Field(
        "after-round", description="score after each round, or after the run"
    )

    @property
    def after_round(self) -> bool:
        """Whether checkpoints are scored as they come; composite models are known only after the run."""
        return self.when == "after-round" and self.checkpoints == "all"
