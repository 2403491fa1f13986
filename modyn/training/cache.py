"""Parsed inputs kept by sample key, in memory or in a file, so that a sample is parsed once.

The file has no name: it is gone when the process ends, however it ends, so that a purge of the dataset leaves no copies behind.
"""

import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modyn.errors import DataError
from modyn.training.tensors import Inputs, Structure, assembled, each, layout, structure_of
from modyn.types import Int64s

Bytes = npt.NDArray[np.uint8]


class ParsedCache:
    """Rows of parsed inputs by key; costs 8 bytes for each key up to the largest, and a row for each sample kept."""

    def __init__(self, *, folder: Path | None) -> None:
        """Keep rows in an unnamed file in ``folder``, or in memory if it is None."""
        self._folder = folder
        self._slots: Int64s = np.empty(0, dtype=np.int64)
        self._count = 0
        self._columns: list[_Rows] = []
        self._structure: Structure = None

    def inputs(self, keys: Int64s, parse: Callable[[Int64s], Inputs]) -> Inputs:
        """The inputs of ``keys``; ``parse`` is called with those that are not kept yet."""
        missing = self.missing(keys)
        if len(missing):
            self.keep(missing, parse(missing))
        slots = self._slots[keys]
        return assembled(self._structure, [column.take(slots) for column in self._columns])

    def missing(self, keys: Int64s) -> Int64s:
        """The keys that are not kept, each once, ascending."""
        if len(keys) and (top := int(keys.max())) >= len(self._slots):
            grown = np.full(max(top + 1, 2 * len(self._slots)), -1, dtype=np.int64)
            grown[: len(self._slots)] = self._slots
            self._slots = grown
        return np.unique(keys[self._slots[keys] < 0])

    def keep(self, keys: Int64s, inputs: Inputs) -> None:
        """Keep inputs. Raises DataError if their shape is not that of the samples before."""
        tensors = list(each(inputs))
        if not self._columns:
            self._structure = structure_of(inputs)
            self._columns = [_Rows(tensor, self._folder) for tensor in tensors]
        if structure_of(inputs) != self._structure or not all(
            column.fits(tensor) for column, tensor in zip(self._columns, tensors, strict=True)
        ):
            raise DataError(f"samples {keys[0]} to {keys[-1]}: the parser gave {layout(inputs)}, unlike before")
        for column, tensor in zip(self._columns, tensors, strict=True):
            column.append(tensor, at=self._count)
        self._slots[keys] = np.arange(self._count, self._count + len(keys))
        self._count += len(keys)


class _Rows:
    """Rows of one tensor, as bytes, in an array that grows."""

    def __init__(self, example: Tensor, folder: Path | None) -> None:
        self.dtype, self.shape = example.dtype, tuple(example.shape[1:])
        self._width = example[:1].nbytes if len(example) else 0
        self._file: Any = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._rows: Bytes = self._map(1024)
        if self._file is not None:
            weakref.finalize(self, self._file.close)

    def fits(self, tensor: Tensor) -> bool:
        return tensor.dtype == self.dtype and tuple(tensor.shape[1:]) == self.shape

    def append(self, tensor: Tensor, *, at: int) -> None:
        end = at + len(tensor)
        if end > len(self._rows):
            before = self._rows
            self._rows = self._map(max(end, 2 * len(before)))
            if self._file is None:
                self._rows[:at] = before[:at]
        raw = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
        self._rows[at:end] = raw.reshape(len(tensor), self._width)

    def take(self, slots: Int64s) -> Tensor:
        raw = torch.from_numpy(self._rows.take(slots, axis=0))
        return raw.view(-1).view(self.dtype).view(len(slots), *self.shape)

    def _map(self, num_rows: int) -> Bytes:
        if self._file is None:
            return np.empty((num_rows, self._width), dtype=np.uint8)
        os.ftruncate(self._file.fileno(), max(1, num_rows * self._width))
        return np.memmap(self._file, dtype=np.uint8, mode="r+", shape=(num_rows, self._width))
