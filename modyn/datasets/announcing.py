"""Cold pages fetched ahead: the kernel is told of the rows to come, in a background thread, and only where they are not in memory."""

import os
import queue
import threading
from collections.abc import Sequence

from modyn.datasets.state import State
from modyn.types import Int64s


class Announcer:
    """Announces rows to the kernel in a thread of its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[tuple[State, Sequence[str] | None, Int64s]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def is_mine(self) -> bool:
        """Whether this process made it; a thread does not survive a fork."""
        return self._pid == os.getpid()

    def announce(self, state: State, columns: Sequence[str] | None, keys: Int64s) -> None:
        """Queue keys to be announced."""
