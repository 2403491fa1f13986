"""Train on what is probably labelled right."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.bottom_k import BottomK
from modyn.selectors.scored import _Scored


class SmallLoss(_Scored):
    """Takes the samples with the lowest loss: under label noise they are the clean ones.

    Han et al. 2018, "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels" (the small-loss trick).

    >>> SmallLoss(budget="80%", at="batch").in_batch.scores
    {'loss': -1.0}
    """

    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The loss."""
        return {"loss": 1.0}

    @property
    def picker_of(self) -> Picker:
        """The lowest."""
        return BottomK(per_class=self.per_class)
