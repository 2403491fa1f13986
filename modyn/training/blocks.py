"""Blocks and batches: what is loaded together, and what is trained on together.

Where blocks and batches begin is a pure function of the plan and the number of rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from modyn.errors import TrainingError
from modyn.training.joined import Joined
from modyn.training.order import block_edges, epoch_order
from modyn.training.tensors import Inputs, mapped, rows
from modyn.types import Array, Int64s, Selection


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples for one step: ``inputs``, ``labels[n]`` (None if unlabelled), ``weights[n]`` (None = all 1), ``keys[n]``."""

    inputs: Inputs
    labels: Tensor | None
    weights: Tensor | None
    keys: Int64s
    epoch: int
    step: int
    """Number of the batch in its epoch."""
    total_weight: float | None = None
    """Sum of the weights of the batch's samples on all devices; None if this is the whole batch."""

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with ``move`` applied to every tensor."""
        labels = None if self.labels is None else move(self.labels)
        weights = None if self.weights is None else move(self.weights)
        return replace(self, inputs=mapped(move, self.inputs), labels=labels, weights=weights)

    def rows(self, start: int, end: int) -> "Batch":
        """The samples ``[start, end)`` of the batch, as views."""
        return Batch(
            rows(self.inputs, start, end),
            None if self.labels is None else self.labels[start:end],
            None if self.weights is None else self.weights[start:end],
            self.keys[start:end],
            self.epoch,
            self.step,
            self.total_weight,
        )


STRETCH_ROWS, FIRST_ROWS = 2**20, 2**15


@dataclass(eq=False)
class Stretch:
    """Many rows of a selection in the order of an epoch: ``keys[n]``, ``weights[n]`` and, once they are read, ``labels[n]``.

    They are put into order for many blocks at once: block by block, what was read of the samples in between would have driven the selection
    out of the processor's cache.
    """

    selection: Selection
    rows: Array
    keys: Int64s
    weights: Array | None
    labels: Array | None = None
    has_labels: bool = False

    @classmethod
    def of(cls, selection: Selection, rows: Array, known: Joined | None = None) -> "Stretch":
        """The stretch of these rows, with the labels if those of the selection are ``known``."""
        weights = None if selection.weights is None else selection.weights.take(rows)
        if known is None:
            return cls(selection, rows, selection.keys.take(rows), weights)
        keys, labels = known.take(rows)
        return cls(selection, rows, keys, weights, labels, has_labels=True)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that are read and parsed together: ``keys[n]`` and ``weights[n]``, which stand at ``places`` of a stretch.

    Batch ``first_step + i`` of the epoch is the rows ``[edges[i], edges[i + 1])``; the first ``skip`` batches were trained on before.
    """

    keys: Int64s
    weights: Array | None
    stretch: Stretch
    places: slice | Int64s
    epoch: int
    first_step: int
    edges: Sequence[int]
    skip: int = 0
    totals: Sequence[float] | None = None

    @property
    def selection(self) -> Selection:
        return self.stretch.selection


@dataclass(frozen=True, eq=False)
class Parsed:
    """A block with its tensors."""

    block: Block
    inputs: Inputs
    labels: Tensor | None
    weights: Tensor | None

    def batches(self) -> Iterator[Batch]:
        """The batches of the block that are not yet trained on, as views."""
        block = self.block
        for number, (low, high) in enumerate(pairwise(block.edges)):
            if number >= block.skip:
                yield Batch(
                    rows(self.inputs, low, high),
                    None if self.labels is None else self.labels[low:high],
                    None if self.weights is None else self.weights[low:high],
                    block.keys[low:high],
                    block.epoch,
                    block.first_step + number,
                    None if block.totals is None else block.totals[number],
                )

    @staticmethod
    def weights_of(block: Block) -> Tensor | None:
        """The block's weights as a tensor."""
        if block.weights is None:
            return None
        return torch.from_numpy(np.ascontiguousarray(block.weights, dtype=np.float32))


def check_weights(selection: Selection) -> None:
    """Raise TrainingError, naming the key, at the first weight that is below 0 or no finite number."""
    weights = selection.weights
    if weights is None or not len(weights) or (weights.min() >= 0 and np.isfinite(weights.max())):
        return
    row = int(np.argmin((weights >= 0) & np.isfinite(weights)))
    raise TrainingError(
        f"sample {selection.keys[row]}: its weight is {weights[row]:g}; weights are finite and not below 0"
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to load: epochs ``[first_epoch, end_epoch)`` of a selection, beginning at a batch of the first of them.

    One of several devices (``rank`` of ``num_ranks``) loads its share of each batch: ``[rank * n // num_ranks, (rank + 1) * n //
    num_ranks)`` of its n rows.
    """

    batch_size: int
    seed: int = 0
    round: int = 0
    first_epoch: int = 0
    end_epoch: int = 1
    first_step: int = 0
    drop_last: bool = False
    shuffle_window: int | None = 0
    """As ``order.epoch_order`` takes it."""
    rank: int = 0
    num_ranks: int = 1
    augment: bool = False
    """Whether this is training, in which inputs are augmented."""
    labelled: bool = True
    """Whether labels are read."""
    selections: Sequence[Selection] = field(default=())
    """A selection for each epoch, if they differ."""

    def selection_of(self, selection: Selection, epoch: int) -> Selection:
        """The selection of an epoch; the last given one holds for all later ones."""
        return self.selections[min(epoch, len(self.selections) - 1)] if self.selections else selection

    def order(self, num_rows: int, epoch: int) -> Array:
        """The rows of an epoch in the order in which they are trained on."""
        order = epoch_order(num_rows, seed=self.seed, round=self.round, epoch=epoch, window=self.shuffle_window)
        return order[: num_rows // self.batch_size * self.batch_size] if self.drop_last else order

    def blocks(
        self,
        selection: Selection,
        *,
        max_batches: int,
        stretch_of: Callable[[Selection, Array], Stretch] = Stretch.of,
    ) -> Iterator[Block]:
        """The blocks of all epochs, in order; ``stretch_of`` makes a stretch of rows, with the labels if they are known."""
        for epoch in range(self.first_epoch, self.end_epoch):
            chosen = self.selection_of(selection, epoch)
            order = self.order(len(chosen), epoch)
            start = self.first_step if epoch == self.first_epoch else 0
            stretch, first, end = None, 0, 0
            for low, high in pairwise(block_edges(len(order), self.batch_size, max_batches=max_batches)):
                if high <= start * self.batch_size:
                    continue
                if stretch is None or high > end:
                    first, end = low, max(high, low + (STRETCH_ROWS if stretch else FIRST_ROWS))
                    stretch = stretch_of(chosen, order[first:end])
                yield self._block(stretch, slice(low - first, high - first), epoch, low // self.batch_size, start)

    def _block(self, stretch: Stretch, places: slice, epoch: int, first: int, start: int) -> Block:
        keys = stretch.keys[places]
        weights = None if stretch.weights is None else stretch.weights[places]
        bounds = [*range(0, len(keys), self.batch_size), len(keys)]
        skip = max(0, start - first)
        if self.num_ranks == 1:
            return Block(keys, weights, stretch, places, epoch, first, bounds, skip)
        totals = [
            float(h - low if weights is None else weights[low:h].sum(dtype=np.float64)) for low, h in pairwise(bounds)
        ]
        own = [
            np.arange(
                low + self.rank * (h - low) // self.num_ranks, low + (self.rank + 1) * (h - low) // self.num_ranks
            )
            for low, h in pairwise(bounds)
        ]
        edges = np.cumsum([0, *(len(part) for part in own)]).tolist()
        mine = np.concatenate(own)
        chosen = None if weights is None else weights[mine]
        return Block(keys[mine], chosen, stretch, mine + places.start, epoch, first, edges, skip, totals)
