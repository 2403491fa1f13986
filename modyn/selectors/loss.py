"""Train on what the model gets most wrong."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.importance_sampling import ImportanceSampling
from modyn.selectors.pickers.top_k import TopK
from modyn.selectors.scored import _Scored


class Loss(_Scored):
    """Takes the samples with the highest loss, or draws them in proportion to it.

    Loshchilov & Hutter 2016, "Online Batch Selection for Faster Training of Neural Networks"; Jiang et al. 2019, "Accelerating Deep
    Learning by Focusing on the Biggest Losers" (``scores: history``: the loss when last trained on, no pass at all).

    >>> Loss(budget="50%", scores="history").needs
    ('loss-history',)
    """

    scores: Literal["fresh", "history"] = Field(
        "fresh",
        description="fresh = a pass with the current model; history = the loss when last trained on, which costs nothing",
    )
    draw: Literal["top", "importance"] = Field(
        "top", description="top = the highest; importance = at random in proportion, with weights that undo the bias"
    )
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The loss, fresh or remembered."""
        return {"loss" if self.scores == "fresh" else "loss-history": 1.0}

    @property
    def picker_of(self) -> Picker:
        """As ``draw`` says."""
        return TopK(per_class=self.per_class) if self.draw == "top" else ImportanceSampling(per_class=self.per_class)
