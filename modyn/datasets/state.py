"""What a process knows of a dataset now: a snapshot that is renewed when another process has changed the dataset.

Every change counts up the dataset's generation in a file of eight bytes that every process maps, and in the catalog, in this
order: the file is never behind. So whether a snapshot is still the newest costs a look into memory (about 0.3 us), not a query.
A crash in between leaves the file ahead until the next change; readers ask the catalog at each read then, and are right.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from modyn.datasets import catalog, snapshot, sweeping
from modyn.datasets.snapshot import Files, Snapshot, Superseded
from modyn.errors import Damaged
from modyn.workspace import Workspace

GENERATION = "generation"
T = TypeVar("T")


class State:
    """A dataset in a workspace, at its newest version, or pinned to one. Picklable."""

    def __init__(self, workspace: Workspace, dataset_id: int, name: str, version: int | None = None) -> None:
        self.workspace = workspace
        self.dataset_id = dataset_id
        self.name = name
        self.version = version
        self.folder = workspace.datasets / name
        self._files = Files(self.folder, partial(catalog.contents, workspace, dataset_id))
        self._snapshot: Snapshot | None = None
        self._counter: mmap.mmap | None = None
        self._swept = False

    def __getstate__(self) -> tuple[Any, ...]:
        return self.workspace, self.dataset_id, self.name, self.version

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def snapshot(self) -> Snapshot:
        """The newest snapshot. Raises NotFound if the dataset has been removed."""
        found = self._snapshot
        if found is None or self.generation() != found.head.generation:
            found = self.renew()
        return found

    def renew(self) -> Snapshot:
        """Read the catalog again."""
        with catalog.reading(self.workspace) as connection:
            found = snapshot.take(connection, self.dataset_id, self._files, version=self.version)
        if found.head.generation > self.generation():
            tell(self.folder, found.head.generation)  # the folder was restored or copied without it
        self._snapshot = found
        return found

    def take(self, newer: Snapshot, *, before: Snapshot) -> None:
        """Take what this process has just committed, if nobody else has changed the dataset since ``before``."""
        if newer.head.generation == before.head.generation + 1:
            self._snapshot = newer

    def retrying(self, use: Callable[[Snapshot], T]) -> T:
        """Use the newest snapshot; once more on a newer one if compaction or purge replaced a shard meanwhile.

        Raises Damaged, naming the file, if a shard that the catalog still names is missing.
        """
        current = self.snapshot()
        while True:
            try:
                return use(current)
            except Superseded as gone:
                newer = self.renew()
                if gone.path.name in {shard.file for shard in newer.shards}:
                    raise Damaged(f"{gone.path}: the file is missing") from None
                current = newer

    def sweep_once(self) -> None:
        """Remove what crashes left, once in the life of this object."""
        if not self._swept:
            self._swept = True
            self.sweep()

    def sweep(self) -> list[str]:
        """Remove files that no catalog names and that nobody is writing; returns their names."""
        return sweeping.sweep(self.workspace, self.dataset_id, self.folder)

    def _mapped(self) -> mmap.mmap:
        if self._counter is None:
            path = self.folder / GENERATION
            with path.open("rb") as file:
                self._counter = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
        return self._counter

    def generation(self) -> int:
        """The generation that was last told, by whatever process; -1 if none was."""
        try:
            return int(_NUMBER.unpack_from(self._mapped())[0])
        except (FileNotFoundError, ValueError):
            return -1


_NUMBER = struct.Struct("<q")


def tell(folder: Path, generation: int) -> None:
    """Write the generation into the file that every process maps; never back to an older one."""
    path = folder / GENERATION
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return  # a read-only workspace: nobody can change it either
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        known = os.pread(descriptor, 8, 0)
        if len(known) < 8 or _NUMBER.unpack(known)[0] < generation:
            os.pwrite(descriptor, _NUMBER.pack(generation), 0)
    finally:
        os.close(descriptor)
