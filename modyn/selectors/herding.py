"""Train on a subset with the mean of all."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.herding import Herding as HerdingPicker
from modyn.selectors.scored import _Scored
from modyn.selectors.signals import SignalName


class Herding(_Scored):
    """Takes samples whose mean embedding stays near the mean of all, within each class.

    Welling 2009, "Herding Dynamical Weights to Learn"; Rebuffi et al. 2017, "iCaRL: Incremental Classifier and Representation Learning".

    >>> Herding(budget=100).per_class
    True
    """

    signal: SignalName = Field("embedding", description="the signal in whose space means are taken")
    per_class: bool = Field(
        True, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The space."""
        return {self.signal: 1.0}

    @property
    def picker_of(self) -> Picker:
        """Herding."""
        return HerdingPicker(per_class=self.per_class)
