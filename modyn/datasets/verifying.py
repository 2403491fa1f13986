"""Comparing what is on the disk with what was written."""

from modyn.datasets import links, shards
from modyn.datasets.catalog import Schema, Shard
from modyn.datasets.links import OpenFiles, OpenRecords
from modyn.datasets.snapshot import Snapshot
from modyn.datasets.state import State
from modyn.errors import Damaged


def verify(state: State) -> list[str]:
    """Everything that is wrong with a dataset's files, each a line that names the file; empty if they are sound.

    Reads every byte of every shard. Linked files are compared by size and modification time (one a sample) or by the
    hash of both ends (records). A shard that compaction or purge replaces meanwhile is no fault: what took its place is
    checked instead.
    """
    found: dict[Shard, list[str]] = {}
    while True:
        snapshot = state.renew()
        unread = [shard for shard in snapshot.shards if shard not in found]
        if not unread:
            return [line for shard in snapshot.shards for line in found[shard]]
        for shard in unread:
            found[shard] = _faults(snapshot, shard)


def _faults(snapshot: Snapshot, shard: Shard) -> list[str]:
    folder, schema = snapshot.files.folder, snapshot.head.schema or Schema({}, None)
    try:
        content = snapshot.files.contents_of([shard]).get(shard.file)
        if shard.kind != "records" or not shard.is_dense:
            shards.check(folder, shard, content)
        opened = links.open_shard(folder, shard, schema, content)
        return opened.link_faults() if isinstance(opened, OpenFiles | OpenRecords) else []
    except Damaged as damage:
        return [str(damage)]
    except FileNotFoundError:
        return [f"{folder / shard.file}: the file is missing"]
