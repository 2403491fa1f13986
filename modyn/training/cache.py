"""Parsed inputs kept by sample key, in memory or on disk, so that a sample is parsed once: in all epochs, rounds and runs.

What is kept belongs to the code that made it (``source``), and to the dataset: the folder is one that a purge removes. It is not what says
whether a sample is still there; the reader is asked that.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from modyn.errors import DataError
from modyn.training.kept import KeptRows, Unlike, prune
from modyn.training.tensors import Inputs, Layout, assembled, each, layout
from modyn.types import Int64s

Bytes = npt.NDArray[np.uint8]
Parse = Callable[[Int64s], Inputs]
LOOKED_AT = 4
"""Samples that are parsed once more to see whether what an earlier run kept is what the parser gives now."""


class Rows(Protocol):
    """Where rows of tensors are kept: ``MemoryRows``, or ``KeptRows`` on disk."""

    layout: Layout | None
    num_rows: int

    @property
    def is_gone(self) -> bool: ...
    def renew(self) -> None: ...
    def discard(self) -> None: ...
    def added(self) -> Int64s: ...
    def append(self, keys: Int64s, inputs: Inputs, tensors: Sequence[Tensor]) -> Int64s: ...
    def take(self, rows: Int64s) -> list[Tensor]: ...


class ParsedCache:
    """Rows of parsed inputs by key; costs 8 bytes for each key up to the largest, and a row for each sample kept.

    What cannot be kept, on a full disk say, is parsed anew each time; ``told`` says so, once. Several threads may share one.
    """

    def __init__(self, open_rows: Callable[[], Rows]) -> None:
        """``open_rows`` is called when the first sample is asked for."""
        self._open_rows = open_rows
        self._lock = threading.RLock()
        self._slots: Int64s = np.empty(0, dtype=np.int64)
        self._is_trusted = False
        self._takes_more = True
        self.told: list[str] = []

    @cached_property
    def _rows(self) -> Rows:
        try:
            return self._open_rows()
        except OSError as error:
            self._takes_more = False
            self._tell(f"cannot be opened ({_reason(error)}): samples are parsed anew each time")
            return MemoryRows()

    def inputs(self, keys: Int64s, parse: Parse) -> Inputs:
        """The inputs of ``keys``; ``parse`` is called with those that are not kept yet."""
        with self._lock:
            self.trust(keys, parse)
            try:
                return self._found(keys, self.missing(keys), parse)
            except OSError as error:
                self._forget(f"cannot be read ({_reason(error)}): samples are parsed anew")
                return self._found(keys, self.missing(keys), parse)

    def _found(self, keys: Int64s, missing: Int64s, parse: Parse) -> Inputs:
        if not len(missing):
            return self._taken(self._slots[keys])
        parsed = parse(missing)
        before = self._slots[keys]
        self.keep(missing, parsed)
        return self._joined(keys, missing, parsed, before)

    def missing(self, keys: Int64s) -> Int64s:
        """The keys that are not kept, each once, ascending."""
        with self._lock:
            self._learn()
            self._reach(keys)
            return np.unique(keys[self._slots[keys] < 0])

    def keep(self, keys: Int64s, inputs: Inputs) -> bool:
        """Keep inputs of keys; whether they are kept. Raises DataError if their shape is not that of the samples before."""
        with self._lock:
            if self._rows.is_gone or not self._takes_more:
                return False
            try:
                self._append(keys, inputs)
            except OSError as error:
                self._takes_more = False
                self._tell(f"takes no more ({_reason(error)}): what is not in it is parsed anew each time")
            return self._takes_more

    def _append(self, keys: Int64s, inputs: Inputs) -> None:
        first = self._rows.num_rows
        try:
            added = self._rows.append(keys, inputs, list(each(inputs)))
        except Unlike:
            if self._is_trusted:
                raise DataError(
                    f"samples {keys[0]} to {keys[-1]}: the parser gave {layout(inputs)}, unlike before"
                ) from None
            self._forget("holds inputs of another shape or type than the parser gives now: samples are parsed anew")
            first, added = 0, self._rows.append(keys, inputs, list(each(inputs)))
        self._is_trusted = True
        self._note(added, first)

    def trust(self, keys: Int64s, parse: Parse) -> None:
        """See once whether what an earlier run kept is what the parser gives; forget it if not."""
        with self._lock:
            if self._is_trusted:
                return
            self._learn()
            self._reach(keys)
            kept = np.unique(keys[self._slots[keys] >= 0])[:LOOKED_AT]
            if len(kept) and not self._is_as_before(kept, parse(kept)):
                self._forget(
                    "holds other inputs than the parser gives now, though its source is the same: they are parsed anew"
                )
            self._is_trusted = self._is_trusted or len(kept) > 0

    def _is_as_before(self, kept: Int64s, now: Inputs) -> bool:
        try:
            before = list(each(self._taken(self._slots[kept])))
        except OSError:
            return False
        return self._rows.layout == Layout.of(now, 0) and all(map(_same_bytes, before, each(now)))

    def _learn(self) -> None:
        """Look what was added, by whatever process, and whether all was removed."""
        try:
            if self._rows.is_gone:
                self._renew()
            first = self._rows.num_rows
            self._note(self._rows.added(), first)
        except OSError as error:
            self._forget(f"cannot be read ({_reason(error)}): samples are parsed anew")

    def _note(self, added: Int64s, first: int) -> None:
        self._reach(added)
        self._slots[added] = np.arange(first, first + len(added))

    def _reach(self, keys: Int64s) -> None:
        if len(keys) and (top := int(keys.max())) >= len(self._slots):
            grown = np.full(max(top + 1, 2 * len(self._slots)), -1, dtype=np.int64)
            grown[: len(self._slots)] = self._slots
            self._slots = grown

    def _renew(self) -> None:
        self._slots.fill(-1)
        self._rows.renew()

    def _forget(self, why: str) -> None:
        self._tell(why)
        self._slots.fill(-1)
        try:
            self._rows.discard()
        except OSError as error:
            self._takes_more = False
            self._tell(f"cannot be used ({_reason(error)})")

    def _tell(self, message: str) -> None:
        self.told.append(f"training.cache: {message}")

    def _taken(self, slots: Int64s) -> Inputs:
        assert self._rows.layout is not None
        return assembled(self._rows.layout.structure, self._rows.take(slots))

    def _joined(self, keys: Int64s, missing: Int64s, parsed: Inputs, slots: Int64s) -> Inputs:
        """The inputs of ``keys``, out of what was just parsed and what was kept before, in ``slots``."""
        places = torch.from_numpy(np.searchsorted(missing, keys).clip(max=max(0, len(missing) - 1)))
        fresh = [tensor[places] for tensor in each(parsed)]
        old = np.flatnonzero(missing[places.numpy()] != keys)
        if len(old):
            for tensor, kept in zip(fresh, self._rows.take(slots[old]), strict=True):
                tensor[torch.from_numpy(old)] = kept
        return assembled(Layout.of(parsed, 0).structure, fresh)


def _same_bytes(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class MemoryRows:
    """Rows of tensors in arrays that grow."""

    is_gone = False

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget all."""
        self.layout: Layout | None = None
        self.num_rows = 0
        self._columns: list[Bytes] = []

    discard = renew

    def added(self) -> Int64s:
        """None but those that ``append`` has told of."""
        return np.empty(0, np.int64)

    def append(self, keys: Int64s, inputs: Inputs, tensors: Sequence[Tensor]) -> Int64s:
        """Append rows; returns their keys. Raises Unlike."""
        given = Layout.of(inputs, 0)
        if self.layout is None:
            self.layout = given
            self._columns = [np.empty((0, width), np.uint8) for width in given.widths]
        if self.layout != given:
            raise Unlike
        end = self.num_rows + len(keys)
        for number, tensor in enumerate(tensors):
            self._reach(number, end)
            raw = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
            self._columns[number][self.num_rows : end] = raw.reshape(len(keys), -1)
        self.num_rows = end
        return keys

    def _reach(self, number: int, end: int) -> None:
        before = self._columns[number]
        if end > len(before):
            grown = np.empty((max(end, 2 * len(before), 1024), before.shape[1]), np.uint8)
            grown[: self.num_rows] = before[: self.num_rows]
            self._columns[number] = grown

    def take(self, rows: Int64s) -> list[Tensor]:
        """The tensors of rows, which must be below ``num_rows``."""
        assert self.layout is not None
        return [
            torch.from_numpy(column.take(rows, axis=0)).view(-1).view(dtype).view(len(rows), *shape)
            for column, dtype, shape in zip(self._columns, self.layout.dtypes, self.layout.shapes, strict=True)
        ]


_in_memory: dict[Path, ParsedCache] = {}
"""The cache in memory that was used last, for the next run in this process."""


def in_memory(folder: Path | None) -> ParsedCache:
    """A cache in memory; of what a run before in this process kept, if ``folder`` (dataset and parser) is the same."""
    if folder is None:
        return ParsedCache(MemoryRows)
    found = _in_memory.get(folder) or ParsedCache(MemoryRows)
    _in_memory.clear()
    _in_memory[folder] = found
    return found


def on_disk(folder: Path | None, *, otherwise: Path) -> ParsedCache:
    """A cache in ``folder``, which later runs find again; if it is None, in files of ``otherwise`` that are gone with the process."""

    def opened() -> Rows:
        if folder is None:
            return KeptRows(otherwise, named=False)
        rows = KeptRows(folder, named=True)
        prune(folder)
        return rows

    return ParsedCache(opened)
