"""Whether selecting can pay off: what it costs against what it saves, in forward passes of one sample.

A training step costs three passes (forward, and backward at twice that), scoring costs one. What pickers cost on top is left out, as
it depends on the machine and on the width of the signal: so a warning is right, and silence is no promise. ``uncounted`` says where that matters.
"""

from dataclasses import dataclass

from modyn.policy import name_of
from modyn.selectors import Selector
from modyn.selectors.scored import _Scored
from modyn.selectors.signals import needs_pass

STEP = 3.0
"""A training step on a sample, in forward passes."""
BF16 = 0.5
"""A pass in bf16; a proxy's pass may cost next to nothing."""
LEAST_EPOCHS = 3
"""Of a holdout model that is trained until its loss no longer falls."""


@dataclass(frozen=True)
class Worth:
    """Forward passes per candidate and round: of training on all, of training on what is selected, and of selecting it."""

    everything: float
    training: float
    selecting: float

    @property
    def saves(self) -> bool:
        """Whether selecting and training cost less than training on everything."""
        return self.training + self.selecting < self.everything

    @property
    def share(self) -> float:
        """What selecting and training cost, as a share of training on everything."""
        return (self.training + self.selecting) / self.everything


def worth(selector: Selector, *, epochs: int, num_candidates: int) -> Worth:
    """What a round costs with the selector, for each of ``num_candidates``; where that is not known, the least that it can cost."""
    holdout = selector.irreducible
    trainable = 1 - holdout.share if holdout is not None and holdout.kind == "simple" else 1.0
    share = (
        selector.size(num_candidates)
        / max(1, num_candidates)
        * (trainable if isinstance(selector.budget, float) else 1)
    )
    return Worth(STEP * epochs, STEP * epochs * share, _scoring(selector, epochs, trainable) + _holdout(selector))


def _scoring(selector: Selector, epochs: int, trainable: float) -> float:
    if getattr(selector, "proxy", None) is not None or not any(needs_pass(name) for name in selector.needs):
        return 0.0
    rule, every = selector.in_batch, selector.every_epochs
    once = BF16 if getattr(selector, "precision", None) == "bf16" else 1.0
    if rule is not None:
        return once * trainable * epochs / rule.score_every
    return once * float(-(-epochs // every)) if every else once


def _holdout(selector: Selector) -> float:
    holdout = selector.irreducible
    if holdout is None:
        return 0.0
    trained, read = (1.0, 1.0) if holdout.kind == "twin" else (holdout.share, 1 - holdout.share)
    return STEP * (holdout.epochs or LEAST_EPOCHS) * trained + read


def warning(selector: Selector, *, epochs: int, num_candidates: int) -> str | None:
    """A sentence if the selector cannot save time against training on everything; None if it may, or makes no such claim.

    >>> from modyn.policy import build
    >>> costly = build(Selector, {"loss": {"budget": "80%", "at": "batch"}})
    >>> warning(costly, epochs=3, num_candidates=1000)
    'selecting cannot pay off: scoring and training on 80% of the candidates costs 1.13 of training on all of them for 3 epochs'
    """
    found = worth(selector, epochs=epochs, num_candidates=num_candidates)
    if found.saves or not (selector.needs or selector.irreducible):
        return None
    share = found.training / found.everything
    return (
        f"selecting cannot pay off: scoring and training on {share:.0%} of the candidates costs {found.share:.2f} of "
        f"training on all of them for {epochs} epoch{'s' if epochs > 1 else ''}"
    )


def uncounted(selector: Selector) -> str | None:
    """A sentence if picking costs what the estimate leaves out; None where that is next to nothing.

    >>> from modyn.policy import build
    >>> uncounted(build(Selector, {"craig": {"budget": "10%"}}))
    'selector craig: what picking by facility-location costs is not estimated; its time may grow faster than the number of candidates'
    """
    if not isinstance(selector, _Scored) or not selector.picker_of.compares:
        return None
    return (
        f"selector {name_of(type(selector))}: what picking by {name_of(type(selector.picker_of))} costs is not estimated; its time may grow "
        "faster than the number of candidates"
    )
