"""How large a step each sample asks for."""

from typing import ClassVar

from modyn.selectors.signals import Signal


class GradientNorm(Signal):
    """The length of the gradient of each sample's loss with respect to the model's outputs.

    For cross-entropy it is ``||softmax(z) - onehot(y)||_2``.

    Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal: Deep Learning with Importance Sampling".

    >>> GradientNorm().needs_pass
    True
    """

    axes: ClassVar[str] = "[n]"
    reads: ClassVar[tuple[str, ...]] = ("outputs", "labels")
