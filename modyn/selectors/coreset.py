"""Any signal with any picker."""

from collections.abc import Mapping

from pydantic import Field

from modyn.policy import Importable
from modyn.selectors.pickers import Picker
from modyn.selectors.scored import _Scored
from modyn.selectors.signals import SignalName


class Coreset(_Scored):
    """Picks by any signal with any picker, also your own: the named methods are such pairs.

    The paper of each part is named by ``modyn policies signal NAME`` and ``modyn policies picker NAME``.

    >>> Coreset(signal="gradient", picker="k-center", budget="10%").needs
    ('gradient',)
    """

    signal: SignalName = Field(description="a signal, or a function of yours: package.module:score or ./file.py:score")
    picker: Picker = Field(description="what picks by the signal")

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The signal."""
        return {self.signal: 1.0}

    @property
    def picker_of(self) -> Picker:
        """The picker."""
        return self.picker
