"""The loader: from keys to batches of tensors, in an order that depends on nothing but (seed, round, epoch).

Rows are read and parsed in blocks of many batches with one gather, and cut into batches as views. A block is prepared while the
one before it is trained on: for a batch parser in a background thread (measured on 160-byte records: 15M samples/s, against
11M through processes), for which a few more threads gather rows, as NumPy lets go of Python's lock; in worker processes for a
per-sample parser, which holds the lock.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from modyn.errors import DataError, ModynError
from modyn.training import workers
from modyn.training.blocks import Batch, Block, Parsed, Plan, Stretch
from modyn.training.cache import ParsedCache
from modyn.training.joined import Joined
from modyn.training.parsing import columns_nbytes, raised
from modyn.training.recipe import Recipe
from modyn.training.tensors import Inputs, mapped, nbytes, rows
from modyn.types import Array, Columns, Int64s, Reader, Selection

BLOCK_ROWS = 32_768
BLOCK_BYTES = 16 * 2**20
LABEL_ROWS, WIDE_LABEL = 8_000_000, 64
"""Labels are read all at once of so many samples at most, and with their block if one takes more bytes than that."""
MOST_READERS = 4
"""Threads that gather rows at most: each works on a block of its own."""
LabelTransform = Callable[[Array], Any]
Examine = Callable[[Tensor | None, Int64s], None]


class Loader:
    """Prepares batches from a reader and a recipe.

    ``num_workers``: 0 = in the calling thread, n = in so many processes, None = in a background thread, or for recipes that go
    sample by sample in one process less than there are cores. ``beside``: whether there is a core for a background thread; the calling one
    loads otherwise.
    """

    def __init__(
        self,
        reader: Reader,
        recipe: Recipe,
        *,
        num_workers: int | None = None,
        label_transform: LabelTransform | None = None,
        cache: ParsedCache | None = None,
        pin: bool = False,
        beside: bool = True,
    ) -> None:
        self.reader = reader
        self.recipe = recipe
        self.label_transform = label_transform
        self.cache = cache
        self.pin = pin
        self.num_processes = self._processes(num_workers)
        self.in_background = beside and num_workers is None and not recipe.is_per_sample
        self._pool: workers.Pool | None = None
        self._labelled: tuple[Selection, Joined | None] | None = None
        self._only: tuple[Selection, Reader] | None = None
        self._wide_labels: bool | None = None

    def _processes(self, num_workers: int | None) -> int:
        if not workers.available() or (num_workers is None and not self.recipe.is_per_sample):
            return 0
        return len(os.sched_getaffinity(0)) - 1 if num_workers is None else num_workers

    def batches(self, selection: Selection, plan: Plan, *, examine: Examine | None = None) -> Iterator[Batch]:
        """Every batch of the plan; ``examine`` is shown the labels and keys of each block first.

        The tensors of a batch hold until the next but one is asked for. Close the iterator (or exhaust it) to stop what runs in the
        background. Raises BadSample or DataError if samples cannot be read or parsed.
        """
        if not len(selection) and not plan.selections:
            return
        max_batches = self._max_batches(plan.selection_of(selection, 0), plan)
        shuffled = plan.labelled and plan.shuffle_window != 0
        blocks = plan.blocks(selection, max_batches=max_batches, stretch_of=self._stretch if shuffled else Stretch.of)
        by_cache = self.cache is not None and self._fill(self.cache, selection, plan)
        if self.in_background or (by_cache and self._may_load_ahead):
            with Ahead(self._by_threads(blocks, plan), depth=2) as ahead:
                yield from _cut(ahead, examine)
        elif self.num_processes and not by_cache:
            yield from _cut(self._by_processes(blocks, plan), examine)
        else:
            yield from _cut((self.load(block, plan) for block in self._announced(blocks)), examine)

    @property
    def _may_load_ahead(self) -> bool:
        """Whether a thread may do what is left to do once all samples are parsed."""
        augment = self.recipe.augment
        return self.num_processes > 0 and (augment is None or augment.per_sample is None)

    def _max_batches(self, selection: Selection, plan: Plan) -> int:
        """Batches in the largest block: 32,768 rows or 16 MB. With smaller ones threads wait for Python's lock more often."""
        if len(selection) <= plan.batch_size:
            return 1
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // self.row_bytes(selection.keys)) // plan.batch_size)

    def row_bytes(self, keys: Int64s) -> int:
        """Bytes of a sample, as a payload or parsed, whichever is more; by the first two keys."""
        probe = keys[:2]
        columns = self.reader.read(probe)
        return max(1, columns_nbytes(columns) // len(probe), nbytes(self.recipe.parse(columns, probe)) // len(probe))

    def _announced(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The blocks, each announced to the reader one block before it is read."""
        before: Block | None = None
        for block in blocks:
            self.reader.announce(block.keys if self.cache is None else self.cache.missing(block.keys))
            if before is not None:
                yield before
            before = block
        if before is not None:
            yield before

    def load(self, block: Block, plan: Plan) -> Parsed:
        """Read and parse one block in this thread."""
        return self._parsed(block, self._fetch(block), plan)

    def _by_threads(self, blocks: Iterator[Block], plan: Plan) -> Generator[Parsed, None, None]:
        """The blocks in order: read by several threads, each a block of its own, and parsed by the calling one.

        A block is handed on as soon as it is there, so that the first, small ones do not wait for those that are read meanwhile.
        """
        num_readers = min(MOST_READERS, len(os.sched_getaffinity(0)))
        pending: deque[tuple[Block, Future[Columns | None]]] = deque()
        with ThreadPoolExecutor(num_readers, thread_name_prefix="modyn-reader") as readers:
            try:
                for block in self._announced(blocks):
                    pending.append((block, readers.submit(self._fetch, block)))
                    if plan.labelled:
                        self._read_labels(block.stretch)  # by this thread, while others read
                    while pending and (pending[0][1].done() or len(pending) >= 3 * num_readers):
                        yield self._next_parsed(pending, plan)
                while pending:
                    yield self._next_parsed(pending, plan)
            finally:
                readers.shutdown(cancel_futures=True)

    def _next_parsed(self, pending: deque[tuple[Block, Future[Columns | None]]], plan: Plan) -> Parsed:
        block, fetched = pending.popleft()
        return self._parsed(block, fetched.result(), plan)

    def _fetch(self, block: Block) -> Columns | None:
        """The payloads of a block; None where a cache asks for those that it lacks.

        A device's share of a batch with fewer samples than devices has no keys of its own.
        """
        if self.cache is None:
            return self._reader_of(block).read(block.keys if len(block.keys) else block.selection.keys[:1])
        self.reader.labels(block.keys)  # says if one is deleted, which the cache would not know
        return None

    def _reader_of(self, block: Block) -> Reader:
        """A reader of the selection alone, which is looked up once, where it takes several blocks."""
        selection = block.selection
        if len(block.keys) == len(selection):
            return self.reader
        only = self._only  # other threads may be at another epoch's selection
        if only is None or only[0] is not selection:
            only = self._only = selection, self.reader.only(selection.keys)
        return only[1]

    def _parsed(self, block: Block, columns: Columns | None, plan: Plan) -> Parsed:
        labels = self._labels(block, plan)
        if not len(block.keys):
            return self._finished(block, rows(self._parse(block.selection.keys[:1], columns), 0, 0), labels)
        inputs = self._parse(block.keys, columns)
        if plan.augment:
            inputs = self.recipe.augmented(inputs, block.keys, round=plan.round, epoch=block.epoch)
        return self._finished(block, inputs, labels)

    def _parse(self, keys: Int64s, columns: Columns | None) -> Inputs:
        if columns is not None:
            return self.recipe.parse(columns, keys)
        assert self.cache is not None
        return self.cache.inputs(keys, self._read_and_parse)

    def _read_and_parse(self, keys: Int64s) -> Inputs:
        return self.recipe.parse(self.reader.read(keys), keys)

    def _finished(self, block: Block, inputs: Inputs, labels: Any) -> Parsed:
        if labels is not None:
            labels = self.transformed(labels)
        parsed = Parsed(
            block, inputs, None if labels is None else _tensor(labels, len(block.keys)), Parsed.weights_of(block)
        )
        return _pinned(parsed) if self.pin else parsed

    def transformed(self, labels: Array) -> Any:
        """Labels as the loss is told them. Raises DataError with the line at which the user's function fails."""
        if self.label_transform is None:
            return labels
        try:
            return self.label_transform(labels)
        except ModynError:
            raise
        except Exception as error:
            raise DataError(f"label_transform {raised(error)}") from error

    def _labels(self, block: Block, plan: Plan) -> Array | None:
        """The block's labels, out of those of its stretch; None if there are none, or none are asked for."""
        if not plan.labelled:
            return None
        if self._has_wide_labels(block.selection):
            return self.reader.labels(block.keys)
        self._read_labels(block.stretch)
        return None if block.stretch.labels is None else block.stretch.labels[block.places]

    def _read_labels(self, stretch: Stretch) -> None:
        """Put a stretch's labels beside its keys, unless they are there, or read block by block."""
        if not stretch.has_labels and not self._has_wide_labels(stretch.selection):
            stretch.labels = self._labels_of(stretch)
            stretch.has_labels = True

    def _has_wide_labels(self, selection: Selection) -> bool:
        """Whether labels take so much (1,000 classes' shares, say) that those of many samples are not held at once."""
        if self._wide_labels is None:
            labels = self.reader.labels(selection.keys[:1])
            self._wide_labels = labels is not None and labels.nbytes > WIDE_LABEL * len(labels)
        return self._wide_labels

    def _labels_of(self, stretch: Stretch) -> Array | None:
        """Labels out of those of the whole selection, which are read at once unless there are very many."""
        selection = stretch.selection
        if len(selection) > LABEL_ROWS:
            return self.reader.labels(stretch.keys)
        if self._labelled is None or self._labelled[0] is not selection:
            labels = self.reader.labels(selection.keys)
            self._labelled = selection, None if labels is None else Joined(selection.keys, labels)
        known = self._labelled[1]
        return None if known is None else known.labels.take(stretch.rows, axis=0)

    def _stretch(self, selection: Selection, rows: Array) -> Stretch:
        """A stretch of rows, with labels once those of the selection have been read."""
        known = self._labelled[1] if self._labelled is not None and self._labelled[0] is selection else None
        return Stretch.of(selection, rows, known)

    def _by_processes(self, blocks: Iterator[Block], plan: Plan) -> Iterator[Parsed]:
        first = next(blocks, None)
        if first is None:
            return
        pool = self._open_pool(first.keys, plan)
        for block, inputs in pool.run(_chained(first, blocks), round=plan.round, augment=plan.augment):
            yield self._finished(block, inputs, self._labels(block, plan))

    def _open_pool(self, keys: Int64s, plan: Plan) -> workers.Pool:
        """The pool of before if it can hold the plan's blocks, else a new one."""
        probe = keys[:1]
        columns = self.reader.read(probe)
        example = self.recipe.parse(columns, probe)
        if plan.augment:
            example = self.recipe.augmented(example, probe, round=plan.round, epoch=0)
        size = max(1, columns_nbytes(columns), nbytes(example))
        capacity = max(plan.batch_size, min(BLOCK_ROWS, BLOCK_BYTES // size))
        pool = self._pool
        if pool is None or not pool.is_open or not pool.layout.same(example) or pool.layout.capacity < capacity:
            self.close()
            self._pool = pool = workers.Pool(
                self.reader,
                self.recipe,
                num_workers=self.num_processes,
                example=example,
                capacity=capacity,
                split=self.recipe.is_per_sample,
            )
        return pool

    def _fill(self, cache: ParsedCache, selection: Selection, plan: Plan) -> bool:
        """Have processes, if there are any, parse what the cache lacks; whether blocks are to be had from it."""
        keys = np.unique(np.concatenate([s.keys for s in plan.selections] or [selection.keys]))
        cache.trust(keys, self._read_and_parse)
        missing = cache.missing(keys) if self.num_processes else keys[:0]
        if not len(missing):
            return True
        filling = Plan(batch_size=min(len(missing), 1024))
        blocks = filling.blocks(Selection(missing), max_batches=self._max_batches(Selection(missing), filling))
        pool = self._open_pool(missing, filling)
        with closing(pool.run(blocks, round=plan.round, augment=False)) as parsed:
            for block, inputs in parsed:
                if not cache.keep(block.keys, inputs):
                    return False
        return True

    def forget(self) -> None:
        """Let go of labels that were read, which others may change before they are asked for again."""
        self._labelled = self._only = self._wide_labels = None

    def close(self) -> None:
        """End worker processes. The loader can be used again."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


def _chained(first: Block, others: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from others


def _tensor(labels: Any, num_rows: int) -> Tensor:
    if not isinstance(labels, Tensor):
        array = np.ascontiguousarray(labels)
        if array.dtype.kind not in "biuf":
            raise DataError(f"labels are {array.dtype}; a model learns from numbers: give the dataset numeric labels")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch computes little with those
            array = array.astype(np.int64)
        labels = torch.from_numpy(array if array.flags.writeable else array.copy())
    if labels.ndim == 0 or len(labels) != num_rows:
        raise DataError(f"label_transform gave shape {list(labels.shape)} for {num_rows} labels")
    tensor: Tensor = labels
    return tensor


def _pinned(parsed: Parsed) -> Parsed:
    """The block in page-locked memory, from which a GPU copies while the processor goes on."""
    labels = None if parsed.labels is None else parsed.labels.pin_memory()
    weights = None if parsed.weights is None else parsed.weights.pin_memory()
    return Parsed(parsed.block, mapped(Tensor.pin_memory, parsed.inputs), labels, weights)


def _cut(blocks: Iterator[Parsed], examine: Examine | None) -> Iterator[Batch]:
    for parsed in blocks:
        if examine is not None:
            examine(parsed.labels, parsed.block.keys)
        yield from parsed.batches()


T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator that is advanced in a background thread, at most ``depth`` items ahead; its errors are raised here."""

    def __init__(self, items: Generator[T, None, None], *, depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modyn-loader", daemon=True)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with closing(self._items):
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
