"""Train on what was learned and lost."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.top_k import TopK
from modyn.selectors.scored import _Scored


class Forgetting(_Scored):
    """Takes the samples that were forgotten most often while training; those never learned count as forgotten most. No pass over the data.

    Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning".

    >>> Forgetting(budget="50%").needs
    ('forgetting',)
    """

    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The number of forgetting events."""
        return {"forgetting": 1.0}

    @property
    def picker_of(self) -> Picker:
        """The highest."""
        return TopK(per_class=self.per_class)
