"""Reference networks: one class a file holds a network's options and builds it.

No file here loads torch when it is imported, so that ``modyn policies model`` and a pipeline's check stay fast.
"""

from typing import TYPE_CHECKING, ClassVar

from modyn.policy import Policy

if TYPE_CHECKING:
    from torch import nn


class Net(Policy):
    """A network by its options. Subclasses implement ``build``."""

    role: ClassVar[str] = "model"

    def build(self) -> "nn.Module":
        """A new module with weights drawn from torch's global generator, in training mode, on the CPU."""
        raise NotImplementedError
