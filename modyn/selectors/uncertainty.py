"""Train on what the model is least sure of."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.top_k import TopK
from modyn.selectors.scored import _Scored


class Uncertainty(_Scored):
    """Takes the samples of which the model is least sure.

    Lewis & Gale 1994, "A Sequential Algorithm for Training Text Classifiers"; Settles 2009, "Active Learning Literature Survey".

    >>> Uncertainty(measure="margin", budget=100).needs
    ('margin',)
    """

    measure: Literal["entropy", "margin", "least-confidence"] = Field(
        "margin",
        description="entropy; margin (of the first class over the second); least-confidence (1 - the first's probability)",
    )
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The measure; a small margin is uncertain."""
        return {self.measure: -1.0 if self.measure == "margin" else 1.0}

    @property
    def picker_of(self) -> Picker:
        """The highest."""
        return TopK(per_class=self.per_class)
