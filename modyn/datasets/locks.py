"""Locks between processes, on files; and files that nobody owns any more.

A lock is the kernel's: it goes when its holder dies, so no crash leaves one behind.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modyn.errors import DataError

_held: set[tuple[str, int]] = set()


@contextmanager
def exclusive(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold the lock ``path``; wait for whoever has it. Raises DataError if this very thread holds it already."""
    mine = (str(path), threading.get_ident())
    if mine in _held:
        raise DataError(f"{purpose} cannot begin inside another change of the same dataset by the same thread")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _held.add(mine)
        yield
    finally:
        _held.discard(mine)
        os.close(descriptor)


@contextmanager
def exclusive_or_none(path: Path) -> Iterator[bool]:
    """Hold the lock ``path`` if nobody else does; yields whether it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def create_owned(path: Path) -> int:
    """Create a file that is marked as being written for as long as the returned descriptor stays open."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # swept between its creation and its lock


@contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether nobody is writing the file; nobody can begin to while the context lasts."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)
