"""Weights put into a model, with words for those that do not fit."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from modyn.errors import ConfigError, Damaged, Problem, TrainingError


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a model. Raises TrainingError if they are not this model's."""
    own = model.state_dict()
    missing, foreign = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f"{name} is {list(weights[name].shape)}, the model has {list(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    ]
    if missing or foreign or shapes:
        told = [f"{what} {', '.join(names[:4])}" for what, names in (("lacks", missing), ("adds", foreign)) if names]
        raise TrainingError(f"the checkpoint does not fit the model: it {'; '.join([*told, *sorted(shapes)[:4]])}")
    model.load_state_dict(dict(weights))


def read_pretrained(model: nn.Module, path: Path) -> None:
    """Copy those weights of a safetensors file that the model has in the same shape; a new last layer keeps its own.

    Raises ConfigError if there is no such file, or it holds none of the model's weights.
    """
    if not path.is_file():
        raise ConfigError([Problem(path="training.pretrained", message=f"there is no file {path}")])
    try:
        kept = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise Damaged(f"{path} is no safetensors file: {error}") from None
    own = model.state_dict()
    fitting = {name: value for name, value in kept.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ConfigError(
            [
                Problem(
                    path="training.pretrained",
                    message=f"{path} holds none of the model's weights ({', '.join(list(own)[:4])}, ...)",
                )
            ]
        )
    model.load_state_dict(own | fitting)
