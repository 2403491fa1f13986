"""The module behind the ``dlrm`` network."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class DlrmModule(nn.Module):
    """See ``modyn.models.nets.dlrm``. All tables are one matrix, so that a batch is one look-up."""

    starts: Tensor
    sizes: Tensor
    pairs: Tensor

    def __init__(
        self,
        *,
        numbers: int,
        tables: Sequence[int],
        width: int,
        bottom: Sequence[int],
        top: Sequence[int],
        outputs: int,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        sizes = torch.tensor(tables, dtype=torch.int64)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("starts", sizes.cumsum(0) - sizes, persistent=False)
        count = len(tables) + 1
        self.register_buffer("pairs", torch.tril_indices(count, count, -1), persistent=False)
        self.embeddings = nn.Embedding(int(sizes.sum()), width, sparse=sparse)
        with torch.no_grad():
            for start, size in zip(self.starts.tolist(), tables, strict=True):
                self.embeddings.weight[start : start + size].uniform_(-(size**-0.5), size**-0.5)
        self.bottom = _layers([numbers, *bottom, width], last=True)
        self.top = _layers([width + self.pairs.shape[1], *top, outputs], last=False)

    def forward(self, dense: Tensor, categories: Tensor) -> Tensor:
        """``[n, outputs]`` of ``dense[n, numbers]`` and ``categories[n, tables]``."""
        low = self.bottom(dense)
        looked_up = self.embeddings(categories.long().remainder(self.sizes) + self.starts)
        vectors = torch.cat([low.unsqueeze(1), looked_up], 1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        outputs: Tensor = self.top(torch.cat([low, products[:, self.pairs[0], self.pairs[1]]], 1))
        return outputs


def _layers(widths: Sequence[int], *, last: bool) -> nn.Sequential:
    """Linear layers with ReLU between them, and after the last if ``last``."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(before, after))
        if last or number < len(widths) - 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)
