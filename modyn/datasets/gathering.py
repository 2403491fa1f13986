"""Appended rows on their way to a shard: copied once, into memory that is used again for the shard after the next.

Fresh memory for each append would cost more than the copy: the kernel has to find and clear every page of it.
"""

import math
from collections.abc import Iterator

import numpy as np

from modyn.datasets import columns
from modyn.datasets.catalog import Schema
from modyn.datasets.columns import Values
from modyn.datasets.shards import Rows
from modyn.types import Array

_INDEX_BYTES = 16


class Gathering:
    """Collects rows and gives them back in stretches of about ``shard_bytes``; two stretches are in memory at most.

    A stretch is good until the one after the next is begun.
    """

    def __init__(self, schema: Schema, shard_bytes: int) -> None:
        self._schema = schema
        self._shard_bytes = shard_bytes
        arrays = [c for c in (*schema.columns.values(), schema.label) if c is not None and c.kind == "array"]
        width = _INDEX_BYTES + sum(c.storage_dtype.itemsize * math.prod(c.shape) for c in arrays)
        self._capacity = max(1, shard_bytes // width)
        self._sets: list[dict[str, Array]] = [{}, {}]
        self._turn = 0
        self._begin()

    def _begin(self) -> None:
        self._num = 0
        self._bytes_of_any_length = 0
        self._parts: dict[str, list[Values]] = {n: [] for n, c in self._schema.columns.items() if c.kind != "array"}

    def __len__(self) -> int:
        return self._num

    def add(self, rows: Rows) -> Iterator[Rows]:
        """Copy rows in; yields each stretch that is full, to be written before the iteration goes on."""
        done = 0
        while done < len(rows):
            step = min(self._capacity - self._num, len(rows) - done)
            self._copy(rows, slice(done, done + step))
            done += step
            if self._num == self._capacity or self._bytes_of_any_length >= self._shard_bytes:
                yield self.take()

    def _copy(self, rows: Rows, part: slice) -> None:
        self._put("__timestamp", rows.timestamps[part])
        if rows.labels is not None:
            self._put("__label", rows.labels[part])
        for name, values in rows.columns.items():
            if isinstance(values, np.ndarray):
                self._put(name, values[part])
            else:
                self._parts[name].append(values[part])
                self._bytes_of_any_length += columns.size_of(values[part])
        self._num += part.stop - part.start

    def _put(self, name: str, values: Array) -> None:
        memory, end = self._sets[self._turn], self._num + len(values)
        known = memory.get(name)
        if known is None or len(known) < end:
            # Grown step by step: a small append must not pay for the clearing of large pages.
            grown = np.empty((min(self._capacity, max(end, self._num * 4)), *values.shape[1:]), values.dtype)
            if known is not None:
                grown[: self._num] = known[: self._num]
            known = memory[name] = grown
        known[self._num : end] = values

    def take(self) -> Rows:
        """What has been collected, to be written; collecting goes on in the other memory."""
        memory, num = self._sets[self._turn], self._num
        stored: dict[str, Values] = {
            name: memory[name][:num] if column.kind == "array" else columns.join(self._parts[name])
            for name, column in self._schema.columns.items()
        }
        labels = None if self._schema.label is None else memory["__label"][:num]
        rows = Rows(memory["__timestamp"][:num], labels, stored)
        self._turn = 1 - self._turn
        self._begin()
        return rows
