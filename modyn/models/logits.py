"""Models of transformers as plain modules: tensors in, logits out."""

from typing import Any

from torch import Tensor, nn


class Logits(nn.Module):
    """Gives the ``logits`` of what the inner model returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **inputs: Any) -> Tensor:
        """``[n, classes]``."""
        logits: Tensor = self.inner(*args, **inputs).logits
        return logits
