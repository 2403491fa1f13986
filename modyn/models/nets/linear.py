"""One linear layer: logistic or linear regression."""

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from modyn.models.nets import Net

if TYPE_CHECKING:
    from torch import nn


class Linear(Net):
    """One linear layer: logistic regression with cross-entropy, linear regression with mse.

    >>> Linear(inputs=3, outputs=2).build()
    Linear(in_features=3, out_features=2, bias=True)
    """

    inputs: PositiveInt = Field(description="number of features that the parser gives")
    outputs: PositiveInt = Field(description="number of classes, or of values to regress")
    bias: bool = Field(True, description="whether the layer has a bias")

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Linear(self.inputs, self.outputs, bias=self.bias)
