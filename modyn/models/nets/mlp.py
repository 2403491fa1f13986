"""A multi-layer perceptron."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from modyn.models.nets import Net

if TYPE_CHECKING:
    from torch import nn

ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU", "tanh": "Tanh", "silu": "SiLU", "elu": "ELU", "leaky-relu": "LeakyReLU"}


class Mlp(Net):
    """Fully connected layers with an activation between them; a first layer of normalisation if asked for.

    >>> Mlp(inputs=20, hidden=[64], outputs=2).build()
    Sequential(
      (0): Linear(in_features=20, out_features=64, bias=True)
      (1): ReLU()
      (2): Linear(in_features=64, out_features=2, bias=True)
    )
    """

    inputs: PositiveInt = Field(description="number of features that the parser gives")
    outputs: PositiveInt = Field(description="number of classes, or of values to regress")
    hidden: list[PositiveInt] = Field(default=[64], description="width of each hidden layer")
    activation: Literal["relu", "gelu", "tanh", "silu", "elu", "leaky-relu"] = Field(
        "relu", description="what stands after each hidden layer"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of each hidden layer's values set to 0 while training")
    batch_norm: bool = Field(False, description="normalise each hidden layer over the batch, before its activation")

    def build(self) -> "nn.Module":
        from torch import nn

        layers: list[nn.Module] = []
        width = self.inputs
        for hidden in self.hidden:
            layers.append(nn.Linear(width, hidden))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(getattr(nn, ACTIVATIONS[self.activation])())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, self.outputs))
