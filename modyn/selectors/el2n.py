"""Train on hard samples, but not on the hardest."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.top_k import TopK
from modyn.selectors.scored import _Scored


class El2n(_Scored):
    """Takes the samples whose prediction is farthest off, after leaving out a share of the farthest, which are often mislabelled.

    Paul, Ganguli & Dziugaite 2021, "Deep Learning on a Data Diet: Finding Important Examples Early in Training".

    >>> El2n(budget="30%").needs
    ('el2n',)
    """

    skip: float = Field(
        0.0, ge=0, lt=1, description="share of the candidates, the farthest off, that is left out first"
    )
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The distance of prediction and label."""
        return {"el2n": 1.0}

    @property
    def picker_of(self) -> Picker:
        """The highest but the very highest."""
        return TopK(skip=self.skip, per_class=self.per_class)
