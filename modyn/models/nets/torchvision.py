"""Image networks of torchvision, by name."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from modyn.errors import ConfigError, MissingExtra, Problem, did_you_mean
from modyn.models.nets import Net

if TYPE_CHECKING:
    from torch import nn


class Torchvision(Net):
    """Any classification network of torchvision: ``resnet18``, ``resnet50``, ``resnet152``, ``densenet121``, ``vit_b_16``, ...

    Comes with ``pip install 'modyn[vision]'``. The last linear layer is made for ``outputs`` classes; with ``pretrained``, the others'
    weights come from torchvision's cache folder or the network.

    >>> Torchvision(name="resnet18", outputs=10).outputs
    10
    """

    name: str = Field(description="the network's name in torchvision.models")
    outputs: PositiveInt = Field(description="number of classes")
    pretrained: bool = Field(False, description="start from torchvision's ImageNet weights, but for the last layer")
    options: dict[str, Any] = Field(default_factory=dict, description="further keyword arguments of the network")

    def build(self) -> "nn.Module":
        try:
            from torchvision import models
        except ImportError:
            raise MissingExtra("torchvision", extra="vision") from None
        known = models.list_models(module=models)
        if self.name not in known:
            message = f"torchvision has no network named '{self.name}'. {did_you_mean(self.name, known)}"
            raise ConfigError([Problem(path="model.torchvision.name", message=message)])
        if not self.pretrained:
            return _built(models, self.name, num_classes=self.outputs, **self.options)
        return _with_last_layer(_built(models, self.name, weights="DEFAULT", **self.options), self.outputs)


def _built(models: Any, name: str, **options: Any) -> "nn.Module":
    try:
        module: nn.Module = models.get_model(name, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError([Problem(path="model.torchvision.options", message=str(error))]) from None
    return module


def _with_last_layer(module: "nn.Module", outputs: int) -> "nn.Module":
    """The network with its last linear layer replaced by a new one."""
    from torch import nn

    path, last = [(path, layer) for path, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]
    parent, _, attribute = path.rpartition(".")
    setattr(module.get_submodule(parent), attribute, nn.Linear(last.in_features, outputs))
    return module
