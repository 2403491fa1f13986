"""Train on a subset that leaves no sample far from it."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.k_center import KCenter as KCenterPicker
from modyn.selectors.scored import _Scored
from modyn.selectors.signals import SignalName


class KCenter(_Scored):
    """Takes samples such that none is far from a taken one (greedy k-center).

    Sener & Savarese 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach".

    >>> KCenter(budget=100).needs
    ('embedding',)
    """

    signal: SignalName = Field("embedding", description="the signal in whose space distances are taken")
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The space."""
        return {self.signal: 1.0}

    @property
    def picker_of(self) -> Picker:
        """Greedy k-center."""
        return KCenterPicker(per_class=self.per_class)
