"""A deep learning recommendation model."""

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from modyn.models.nets import Net

if TYPE_CHECKING:
    from torch import nn


class Dlrm(Net):
    """Recommendation model: embeddings of categories and an MLP over numbers interact by dot products, then an MLP.

    Takes ``dense[n, numbers]`` (float32) and ``categories[n, tables]`` (whole numbers, taken modulo their table's rows). Naumov et al.,
    "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.

    >>> Dlrm(numbers=13, tables=[100] * 26).build().top[0]
    Linear(in_features=367, out_features=256, bias=True)
    """

    numbers: PositiveInt = Field(13, description="number of dense features")
    tables: list[PositiveInt] = Field(default=[10_000] * 26, min_length=1, description="rows of each embedding table")
    width: PositiveInt = Field(16, description="width of an embedding")
    bottom: list[PositiveInt] = Field(default=[128, 64], description="hidden layers over the dense features")
    top: list[PositiveInt] = Field(default=[256, 128], description="hidden layers over the interactions")
    outputs: PositiveInt = Field(2, description="number of classes (1 with bce-with-logits)")
    sparse: bool = Field(False, description="whether embeddings get sparse gradients, for sgd, sparse-adam and adagrad")

    def build(self) -> "nn.Module":
        from modyn.models.dlrm import DlrmModule

        return DlrmModule(
            numbers=self.numbers,
            tables=self.tables,
            width=self.width,
            bottom=self.bottom,
            top=self.top,
            outputs=self.outputs,
            sparse=self.sparse,
        )
