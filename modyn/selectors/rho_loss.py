"""Train on what can still be learned: not the easy, not the noisy, not the unimportant."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from modyn.policy import Importable
from modyn.selectors.holdout import part_of
from modyn.selectors.pickers import Picker
from modyn.selectors.pickers.top_k import TopK
from modyn.selectors.scored import _Scored
from modyn.types import Candidates, Holdout, Selection, Signals


class RhoLoss(_Scored):
    """Takes the samples whose loss most exceeds their irreducible loss, that of a model trained on a holdout.

    ``simple``: the holdout is a random share of the samples and is not trained on otherwise. ``twin``: two models, each trained on one
    half, read the losses of the other half, so nothing is held back.

    Mindermann et al. 2022, "Prioritized Training on Points that are Learnable, Worth Learning, and Not Yet Learnt".

    >>> RhoLoss(budget="10%", at="batch").needs
    ('loss', 'irreducible-loss')
    """

    holdout: Literal["simple", "twin"] = Field(
        "simple", description="simple = a share is held out; twin = two halves, each read by the other's model"
    )
    share: float = Field(0.2, gt=0, lt=1, description="simple: the share of the samples that is held out")
    holdout_epochs: PositiveInt | None = Field(
        None,
        description="epochs that the models of the irreducible loss are trained for "
        "(null = until the loss on a tenth of their samples, left out, no longer falls; at most 30)",
    )
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @model_validator(mode="after")
    def _share_of_simple(self) -> "RhoLoss":
        if self.holdout == "twin" and self.share != type(self).model_fields["share"].default:
            raise ValueError("share belongs to holdout: simple; twin always splits into halves")
        return self

    @property
    def terms(self) -> Mapping[str | Importable, float]:
        """The reducible loss."""
        return {"loss": 1.0, "irreducible-loss": -1.0}

    @property
    def picker_of(self) -> Picker:
        """The highest."""
        return TopK(per_class=self.per_class)

    @property
    def irreducible(self) -> Holdout | None:
        """The holdout and how it is trained on."""
        return Holdout(
            kind=self.holdout, share=0.5 if self.holdout == "twin" else self.share, epochs=self.holdout_epochs
        )

    def choose(self, candidates: Candidates, signals: Signals | None, *, seed: int) -> Selection:
        """As every selector does, among the candidates that are not held out."""
        if self.holdout == "simple":
            rows = np.flatnonzero(part_of(candidates.keys, share=self.share, seed=seed) == 0)
            candidates = candidates[rows]
            signals = None if signals is None else {name: signal[rows] for name, signal in signals.items()}
        return super().choose(candidates, signals, seed=seed)
