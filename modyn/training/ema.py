"""Moving averages of a model's weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from modyn.errors import counted

LEFT_AT_MOST = 0.1
"""Share of the starting weights in the averages above which a run is warned."""


def unsettled(decay: float, num_steps: int) -> str | None:
    """Says so if averages over so few steps still hold much of the weights that training began with; None if they do not.

    >>> unsettled(0.9, 100)
    >>> unsettled(0.999, 1000)
    'training.ema: after 1,000 steps the averages are still 37 % the weights that training began with; so few need a decay of 0.9970 or less'
    """
    share = decay**num_steps
    if share <= LEFT_AT_MOST:
        return None
    return (
        f"training.ema: after {counted(num_steps, 'step')} the averages are still {100 * share:.0f} % the weights that training began with; "
        f"so few need a decay of {1 - 3 / max(6, num_steps):.{len(str(num_steps))}f} or less"
    )


class MovingAverage:
    """``average = decay * average + (1 - decay) * weight`` after each step; buffers and whole numbers are taken as they are."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self._model = model
        self._averages = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """To be called after each optimiser step."""
        torch._foreach_lerp_(self._averages, [p.detach() for p in self._model.parameters()], 1 - self.decay)

    def weights(self) -> dict[str, Tensor]:
        """The model's state with averages in place of its parameters."""
        averages = dict(zip(map(id, self._model.parameters()), self._averages, strict=True))
        state = dict(self._model.state_dict())
        # By all of its names: a parameter that is shared has several.
        state |= {name: averages[id(p)] for name, p in self._model.named_parameters(remove_duplicate=False)}
        return state

    def state_dict(self) -> dict[str, Tensor]:
        return {str(number): average for number, average in enumerate(self._averages)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for number, average in enumerate(self._averages):
            average.copy_(state[str(number)])
