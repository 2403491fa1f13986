"""Train on a weighted subset with the gradient of all."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.matching_pursuit import MatchingPursuit
from modyn.selectors.scored import _Scored


class Gradmatch(_Scored):
    """Picks samples and weights whose weighted gradient is that of all, by orthogonal matching pursuit on last-layer gradients.

    Killamsetty et al. 2021, "GRAD-MATCH: Gradient Matching based Data Subset Selection for Efficient Deep Model Training".

    >>> Gradmatch(budget="10%").ridge
    0.5
    """

    ridge: float = Field(0.5, ge=0, description="lambda: penalty on large weights, in units of the mean squared length")
    per_class: bool = Field(
        True, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The gradient."""
        return {"gradient": 1.0}

    @property
    def picker_of(self) -> Picker:
        """Matching pursuit."""
        return MatchingPursuit(ridge=self.ridge, per_class=self.per_class)
