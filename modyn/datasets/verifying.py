"""Comparing what is on the disk with what was written."""

from modyn.datasets import links, shards
from modyn.datasets.catalog import Schema
from modyn.datasets.links import OpenFiles
from modyn.datasets.snapshot import Snapshot
from modyn.errors import Damaged


def verify(snapshot: Snapshot) -> list[str]:
    """Everything that is wrong with a dataset's files, each a line that names the file; empty if they are sound.

    Reads every byte of every shard. Linked files are compared by size and modification time (one a sample) or by the
    hash of both ends (records).
    """
    folder, schema, found = snapshot.files.folder, snapshot.head.schema or Schema({}, None), []
    for shard in snapshot.shards:
        try:
            if shard.kind != "records" or not shard.is_dense:
                content = snapshot.files.contents(shard.file) if shard.kind == "inline" else None
                shards.check(folder, shard, content)
            opened = links.open_shard(folder, shard, schema, snapshot.files.contents)
            if isinstance(opened, OpenFiles):
                opened.verify_links()
        except Damaged as damage:
            found.append(str(damage))
        except FileNotFoundError:
            found.append(f"{folder / shard.file}: the file is missing")
    return found
