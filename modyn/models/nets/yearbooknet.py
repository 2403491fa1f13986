"""The convolutional network of the Wild-Time benchmark's yearbook task."""

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from modyn.models.nets import Net

if TYPE_CHECKING:
    from torch import nn


class Yearbooknet(Net):
    """Four blocks of convolution, batch norm, ReLU and pooling, averaged over the image, then one linear layer.

    As in Wild-Time (Yao et al., NeurIPS 2022), for images of 16 pixels and more.

    >>> Yearbooknet().build()[-1]
    Linear(in_features=32, out_features=2, bias=True)
    """

    outputs: PositiveInt = Field(2, description="number of classes, or of values to regress")
    channels: PositiveInt = Field(1, description="channels of the images: tensors are [n, channels, size, size]")
    width: PositiveInt = Field(32, description="channels of each convolution, and width of the embedding")

    def build(self) -> "nn.Module":
        from torch import nn

        layers: list[nn.Module] = []
        for block in range(4):
            layers += [
                nn.Conv2d(self.channels if block == 0 else self.width, self.width, 3, padding=1),
                nn.BatchNorm2d(self.width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.width, self.outputs))
