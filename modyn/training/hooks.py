"""Hooks: user code that is shown training and changes nothing of it."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from modyn.errors import ConfigError, Problem, TrainingError
from modyn.training.losses import construct, with_options
from modyn.training.options import Named
from modyn.training.parsing import raised
from modyn.training.randomness import random_state, set_random_state


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a hook is shown. ``step`` counts the round's optimiser steps; ``loss`` is the last step's, at an epoch's end its mean."""

    round: int
    epoch: int
    step: int
    loss: float
    learning_rates: Sequence[float]
    model: nn.Module
    is_epoch_end: bool


Hook = Callable[[Observation], object]


class Hooks:
    """Calls hooks so that they leave random generators and weights as they were."""

    def __init__(self, specs: Sequence[Named]) -> None:
        self._hooks = [_load(spec) for spec in specs]
        self.steps = [every for _, _, every in self._hooks if every is not None]

    def wants(self, step: int) -> bool:
        """Whether a hook wants to be shown this step."""
        return any(step % every == 0 for every in self.steps)

    def show(self, observation: Observation) -> None:
        """Call the hooks whose turn it is. Raises TrainingError if one raises or changes the model."""
        for name, hook, every in self._hooks:
            if observation.is_epoch_end == (every is None) and (every is None or observation.step % every == 0):
                _call(name, hook, observation)


def _load(spec: Named) -> tuple[str, Hook, int | None]:
    assert spec.importable is not None
    options = dict(spec.options)
    every = options.pop("every", None)
    path = f"training.hooks.{spec.name}"
    if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        raise ConfigError([Problem(path=f"{path}.every", message=f"must be a number of steps above 0; got {every}")])
    made = spec.importable.load()
    if inspect.isclass(made):
        made = construct(made, options, path=path)
    else:
        made = with_options(made, options, given=1, path=path)
    if not callable(made):
        raise ConfigError(
            [
                Problem(
                    path=path,
                    message="cannot be called with an observation: write a function, or a class with __call__",
                )
            ]
        )
    return spec.name, made, every


def _call(name: str, hook: Hook, observation: Observation) -> None:
    model = observation.model
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    state, training, before = random_state(device), model.training, _marks(model)
    try:
        with torch.no_grad():
            hook(observation)
    except Exception as error:
        raise TrainingError(f"hook {name} {raised(error)}") from error
    finally:
        set_random_state(state, device)
        model.train(training)
    if _marks(model) != before:
        raise TrainingError(f"hook {name} changed the model's weights; hooks may only look")


def _marks(model: nn.Module) -> tuple[list[tuple[int, int, int]], list[float]]:
    """What changes whenever a parameter, a buffer or a gradient is written to or replaced; through ``.data`` only the sum of values tells."""
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
    sums = [tensor.detach().abs().sum(dtype=torch.float32) for tensor in model.parameters() if tensor.numel()]
    found = torch.stack(sums).nan_to_num().tolist() if sums else []
    places = [0 if tensor.is_sparse else tensor.data_ptr() for tensor in tensors]
    return [(id(t), place, t._version) for t, place in zip(tensors, places, strict=True)], found
