"""DistilBERT for text, by transformers."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from modyn.errors import MissingExtra
from modyn.models.nets import Net

if TYPE_CHECKING:
    from torch import nn


class Distilbert(Net):
    """DistilBERT with a classification layer; its parser is ``modyn.training.text:tokens``.

    Comes with ``pip install 'modyn[text]'``. Sanh et al., "DistilBERT, a distilled version of BERT", 2019.

    >>> Distilbert(outputs=4).weights is None
    True
    """

    outputs: PositiveInt = Field(description="number of classes")
    weights: str | None = Field(
        None, description="folder or hub name of pretrained weights, such as distilbert-base-uncased (null = new ones)"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of transformers' DistilBertConfig for new weights, such as n_layers"
    )

    def build(self) -> "nn.Module":
        try:
            import transformers
        except ImportError:
            raise MissingExtra("transformers", extra="text") from None
        from modyn.models.logits import Logits

        kind: Any = transformers.DistilBertForSequenceClassification
        config: Any = transformers.DistilBertConfig
        if self.weights is not None:
            return Logits(kind.from_pretrained(self.weights, num_labels=self.outputs))
        return Logits(kind(config(num_labels=self.outputs, **self.options)))
