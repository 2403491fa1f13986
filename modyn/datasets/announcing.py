"""Cold pages fetched ahead: the kernel is told of the rows to come, in a background thread, and only where they are not in memory.

A gather of rows that are not in memory waits for the disk one page after another. The order in which rows will be read is
known, so all their pages can be asked for at once (``madvise(MADV_WILLNEED)`` on coalesced ranges). On pages in memory that would cost
many times the gather itself, so a few of the pages are looked at first (``mincore``), and less often the longer all of them were there.
"""

import ctypes
import mmap
import os
import queue
import threading
import weakref
from collections.abc import Sequence

import numpy as np

from modyn.datasets.shards import OpenShard
from modyn.datasets.snapshot import Snapshot
from modyn.datasets.state import State
from modyn.errors import ModynError
from modyn.types import Int64s

_PAGE = mmap.PAGESIZE
_LOOKS = 16
"""Pages looked at for each shard of an announcement."""
_MOST_SKIPPED = 64
"""So many announcements at most pass without a look, after all pages were in memory for long."""
_GAP = 4
"""Pages up to so far apart are asked for together: a larger read costs less than another request."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class Announcer:
    """Announces rows to the kernel, in a thread of its own that ends when the announcer is dropped."""

    def __init__(self, state: State, columns: Sequence[str] | None) -> None:
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[Int64s | None] = queue.SimpleQueue()
        self._skip = Backoff()
        arguments = (self._queue, self._skip, state, columns)
        self._thread = threading.Thread(target=_serve, args=arguments, name=f"announce {state.name}", daemon=True)
        self._thread.start()
        # Also run when the interpreter ends: a thread that it would kill instead takes the process down with it.
        weakref.finalize(self, _end, self._queue, self._thread)

    def is_mine(self) -> bool:
        """Whether this process made it; a thread does not survive a fork."""
        return self._pid == os.getpid()

    def announce(self, keys: Int64s) -> None:
        """Queue keys to be announced; returns at once."""
        if not self._skip.should_skip():
            self._queue.put(keys)


class Backoff:
    """Skips more and more announcements while every page is found in memory; none after one was not.

    >>> backoff = Backoff()
    >>> backoff.found(warm=True); backoff.found(warm=True)
    >>> [backoff.should_skip() for _ in range(4)]
    [True, True, True, False]
    >>> backoff.found(warm=False)
    >>> backoff.should_skip()
    False
    """

    def __init__(self) -> None:
        self._length = 0
        self._left = 0

    def found(self, *, warm: bool) -> None:
        """Note what a look found."""
        self._length = min(self._length * 2 + 1, _MOST_SKIPPED) if warm else 0
        self._left = self._length

    def should_skip(self) -> bool:
        """Whether the next announcement passes without a look."""
        if self._left == 0:
            return False
        self._left -= 1
        return True


def _end(announcements: "queue.SimpleQueue[Int64s | None]", thread: threading.Thread) -> None:
    announcements.put(None)
    if thread is not threading.current_thread():
        thread.join(5)


def _serve(
    announcements: "queue.SimpleQueue[Int64s | None]", skip: Backoff, state: State, columns: Sequence[str] | None
) -> None:
    while (keys := announcements.get()) is not None:
        try:
            skip.found(warm=not state.retrying(lambda now, keys=keys: _fetch(now, keys, columns)))  # type: ignore[misc]
        except ModynError:
            continue  # whoever reads these keys is told


def _fetch(now: Snapshot, keys: Int64s, columns: Sequence[str] | None) -> bool:
    """Ask for the pages of these keys; returns whether any was looked for in vain."""
    any_cold = False
    for opened, rows in now.locate(keys).pieces:
        for name in opened.schema.columns if columns is None else columns:
            any_cold |= fetch(opened, name, rows)
    return any_cold


def fetch(opened: OpenShard, name: str, rows: Int64s) -> bool:
    """Ask the kernel for the pages of a column's rows, unless a sample of them is in memory; returns whether it did."""
    span = opened.span(name, rows)
    if span is None or opened.mapping is None:
        return False
    starts, ends = span
    looks = starts[:: max(1, len(starts) // _LOOKS)][:_LOOKS] // _PAGE
    if all(_in_memory(opened.address + page * _PAGE) for page in looks.tolist()):
        return False
    for start, end in zip(*pages(starts, ends), strict=True):
        opened.mapping.madvise(mmap.MADV_WILLNEED, start * _PAGE, (end - start) * _PAGE)
    return True


def pages(starts: Int64s, ends: Int64s) -> tuple[list[int], list[int]]:
    """Byte ranges as half-open runs of pages, ascending; what lies close together is one run.

    >>> pages(np.array([100, 5000, 200_000]), np.array([300, 9000, 200_100]))
    ([0, 48], [3, 49])
    """
    order = np.argsort(starts)
    first, last = starts[order] // _PAGE, np.maximum.accumulate((ends[order] - 1) // _PAGE)
    breaks = np.flatnonzero(first[1:] > last[:-1] + 1 + _GAP)
    firsts = first[np.concatenate(([0], breaks + 1))]
    lasts = last[np.concatenate((breaks, [len(last) - 1]))] + 1
    return firsts.tolist(), lasts.tolist()


def _in_memory(address: int) -> bool:
    found = ctypes.c_ubyte()
    if _libc.mincore(address, 1, ctypes.byref(found)):
        return True  # cannot be told: do nothing
    return bool(found.value & 1)
