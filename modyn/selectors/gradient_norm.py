"""Train on what moves the model most."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.importance_sampling import ImportanceSampling
from modyn.selectors.scored import _Scored


class GradientNorm(_Scored):
    """Draws samples in proportion to the length of the gradient at the model's outputs, with weights that undo the bias (DLIS).

    Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal: Deep Learning with Importance Sampling".

    >>> GradientNorm(budget="25%", at="batch").in_batch.form
    'importance'
    """

    uniform_share: float = Field(
        0.1, ge=0, le=1, description="share of the probability spread evenly, so that no weight exceeds 1 / share"
    )
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The length of the gradient."""
        return {"gradient-norm": 1.0}

    @property
    def picker_of(self) -> Picker:
        """Importance sampling."""
        return ImportanceSampling(uniform_share=self.uniform_share, per_class=self.per_class)
