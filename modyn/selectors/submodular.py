"""Train on a subset that a submodular function likes."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from modyn.policy import Importable, build
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.greedy import Method
from modyn.selectors.scored import _Scored
from modyn.selectors.signals import SignalName


class Submodular(_Scored):
    """Greedily maximises a submodular function of the samples' embeddings (or another signal).

    Wei, Iyer & Bilmes 2015, "Submodularity in Data Subset Selection and Active Learning".

    >>> Submodular(function="graph-cut", budget=50).needs
    ('embedding',)
    """

    function: Literal["facility-location", "graph-cut", "log-determinant"] = Field(
        "facility-location", description="what is maximised; modyn policies picker NAME explains each"
    )
    signal: SignalName = Field("embedding", description="the signal in whose space samples are alike or not")
    method: Method = Field("lazy", description="lazy (exactly naive's result), naive, or stochastic greedy")
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The space."""
        return {self.signal: 1.0}

    @property
    def picker_of(self) -> Picker:
        """The function's picker."""
        return build(Picker, {self.function: {"method": self.method, "per_class": self.per_class}})
