"""The loader: from keys to batches of tensors, in an order that depends on nothing but (seed, round, epoch).

Rows are read and parsed in blocks of many batches with one gather, and cut into batches as views. A block is prepared while the
one before it is trained on. Where blocks begin is a pure function of the batch size and the size of a row, so that a parser sees the
same arrays whatever prepares them.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from modyn.errors import DataError
from modyn.training.order import block_edges, epoch_order
from modyn.training.parsing import Parser, columns_nbytes
from modyn.training.tensors import Inputs, mapped, nbytes, rows
from modyn.types import Array, Int64s, Reader, Selection

BLOCK_ROWS = 65_536
BLOCK_BYTES = 32 * 2**20
LabelTransform = Callable[[Array], Any]
Examine = Callable[[Tensor | None, Int64s], None]


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

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with ``move`` applied to every tensor."""
        labels = None if self.labels is None else move(self.labels)
        weights = None if self.weights is None else move(self.weights)
        return Batch(mapped(move, self.inputs), labels, weights, self.keys, self.epoch, self.step)

    def rows(self, start: int, end: int) -> "Batch":
        """The samples ``[start, end)`` of the batch, as views."""
        return Batch(
            rows(self.inputs, start, end),
            None if self.labels is None else self.labels[start:end],
            None if self.weights is None else self.weights[start:end],
            self.keys[start:end],
            self.epoch,
            self.step,
        )


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that are read and parsed together: ``keys[n]`` and ``weights[n]``, and where they stand in training."""

    keys: Int64s
    weights: Array | None
    epoch: int
    first_step: int
    skip: int
    """Rows at the start that were trained on before (after resuming inside a block)."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to load: epochs ``[first_epoch, end_epoch)`` of a selection, beginning at a batch of the first of them."""

    batch_size: int
    seed: int
    round: int
    first_epoch: int
    end_epoch: int
    first_step: int = 0
    drop_last: bool = False
    shuffle_window: int | None = None
    """As ``order.epoch_order`` takes it."""

    def blocks(self, selection: Selection, *, max_batches: int) -> Iterator[Block]:
        """The blocks of all epochs, in order."""
        for epoch in range(self.first_epoch, self.end_epoch):
            order = epoch_order(
                len(selection), seed=self.seed, round=self.round, epoch=epoch, window=self.shuffle_window
            )
            if self.drop_last:
                order = order[: len(order) // self.batch_size * self.batch_size]
            start = self.first_step * self.batch_size if epoch == self.first_epoch else 0
            edges = block_edges(len(order), self.batch_size, max_batches=max_batches)
            for low, high in zip(edges[:-1], edges[1:], strict=True):
                if high > start:
                    chosen = order[low:high]
                    weights = None if selection.weights is None else selection.weights[chosen]
                    skip = max(0, start - low)
                    yield Block(selection.keys[chosen], weights, epoch, low // self.batch_size, skip)


class Loader:
    """Prepares batches from a reader and a parser, in the calling thread or a background one."""

    def __init__(
        self, reader: Reader, parser: Parser, *, label_transform: LabelTransform | None = None, background: bool = True
    ) -> None:
        self.reader = reader
        self.parser = parser
        self.label_transform = label_transform
        self.background = background

    def batches(self, selection: Selection, plan: Plan, *, examine: Examine | None = None) -> Iterator[Batch]:
        """Every batch of the plan; ``examine`` is shown the labels and keys of each block first. Close the iterator (or exhaust it) to stop what runs in the background.

        Raises BadSample or DataError if samples cannot be read or parsed.
        """
        parsed = self._parsed(selection, plan)
        if not self.background:
            yield from _cut(parsed, plan.batch_size, examine)
            return
        with Ahead(parsed, depth=2) as ahead:
            yield from _cut(ahead, plan.batch_size, examine)

    def _parsed(self, selection: Selection, plan: Plan) -> Iterator["Parsed"]:
        keys = selection.keys
        if not len(keys):
            return
        for block in plan.blocks(selection, max_batches=self._max_batches(selection, plan)):
            yield self.load(block)

    def _max_batches(self, selection: Selection, plan: Plan) -> int:
        """Batches in the largest block: 65,536 rows or 32 MB."""
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // self.row_bytes(selection.keys)) // plan.batch_size)

    def row_bytes(self, keys: Int64s) -> int:
        """Bytes of a sample, as a payload or parsed, whichever is more; by the first two keys."""
        probe = keys[:2]
        columns = self.reader.read(probe)
        return max(1, columns_nbytes(columns) // len(probe), nbytes(self.parser(columns, probe)) // len(probe))

    def load(self, block: Block) -> "Parsed":
        """Read and parse one block."""
        inputs = self.parser(self.reader.read(block.keys), block.keys)
        labels = self.reader.labels(block.keys)
        if labels is not None and self.label_transform is not None:
            labels = self.label_transform(labels)
        return Parsed(block, inputs, None if labels is None else _tensor(labels, len(block.keys)), _weights(block))


@dataclass(frozen=True, eq=False)
class Parsed:
    """A block with its tensors."""

    block: Block
    inputs: Inputs
    labels: Tensor | None
    weights: Tensor | None


def _weights(block: Block) -> Tensor | None:
    return None if block.weights is None else torch.from_numpy(np.ascontiguousarray(block.weights, dtype=np.float32))


def _tensor(labels: Any, num_rows: int) -> Tensor:
    if not isinstance(labels, Tensor):
        array = np.ascontiguousarray(labels)
        if array.dtype.kind not in "biuf":
            raise DataError(f"labels are {array.dtype}; a model learns from numbers: give the dataset numeric labels")
        labels = torch.from_numpy(array if array.flags.writeable else array.copy())
    if labels.ndim == 0 or len(labels) != num_rows:
        raise DataError(f"label_transform gave shape {list(labels.shape)} for {num_rows} labels")
    tensor: Tensor = labels
    return tensor


def _cut(blocks: Iterator[Parsed], batch_size: int, examine: Examine | None) -> Iterator[Batch]:
    for parsed in blocks:
        block = parsed.block
        if examine is not None:
            examine(parsed.labels, block.keys)
        for start in range(block.skip, len(block.keys), batch_size):
            end = min(start + batch_size, len(block.keys))
            yield Batch(
                rows(parsed.inputs, start, end),
                None if parsed.labels is None else parsed.labels[start:end],
                None if parsed.weights is None else parsed.weights[start:end],
                block.keys[start:end],
                block.epoch,
                block.first_step + start // batch_size,
            )


T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator that is advanced in a background thread, at most ``depth`` items ahead; its errors are raised here."""

    def __init__(self, items: Iterator[T], *, depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modyn-loader", daemon=True)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as caught:
            error = caught
        self._put((None, error))

    def _put(self, entry: tuple[T | None, BaseException | None]) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._received()

    def _received(self) -> Iterator[T]:
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
