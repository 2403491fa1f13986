"""Those with the lowest scores."""

from typing import ClassVar

import numpy as np

from modyn.selectors.pickers import Picked, Picker, scalar
from modyn.selectors.pickers.top_k import highest
from modyn.types import Signal


class BottomK(Picker):
    """Takes the rows with the lowest scores; ties are broken at random. O(n).

    >>> BottomK().pick(np.array([3.0, 1.0, 2.0]), 2, np.random.default_rng(0)).rows.tolist()
    [1, 2]
    """

    compares: ClassVar[bool] = False

    @property
    def on_device(self) -> str | None:
        """``bottom``."""
        return "bottom"

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        return Picked(highest(-scalar(signal), budget, rng))
