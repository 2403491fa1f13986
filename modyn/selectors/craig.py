"""Train on medoids of the gradients."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.facility_location import FacilityLocation
from modyn.selectors.pickers.greedy import Method
from modyn.selectors.scored import _Scored


class Craig(_Scored):
    """Facility location on last-layer gradients; a sample counts as often as its cluster has members, so weights sum to n.

    Mirzasoleiman, Bilmes & Leskovec 2020, "Coresets for Data-efficient Training of Machine Learning Models".

    >>> Craig(budget="10%").needs
    ('gradient',)
    """

    method: Method = Field("lazy", description="lazy (exactly naive's result), naive, or stochastic greedy")
    per_class: bool = Field(
        True, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The gradient."""
        return {"gradient": 1.0}

    @property
    def picker_of(self) -> Picker:
        """Facility location."""
        return FacilityLocation(method=self.method, per_class=self.per_class)
