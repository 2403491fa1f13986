"""What has been taken from where: the catalog's tables of sources, their files, and the keys that each file became.

Rows here are written in the transaction of the append that they describe, so neither can be there without the other.
"""

import base64
import json
import shlex
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sqlalchemy as sa

from modyn.errors import DataError, NotFound, counted, did_you_mean
from modyn.policy import build, to_document
from modyn.sources import Source
from modyn.sources.hashing import Hashes
from modyn.sources.paths import real_path
from modyn.sources.rows import START, Bad, Cursor
from modyn.sources.shape import Layout
from modyn.types import Int64s
from modyn.workspace import Workspace

TABLES = sa.MetaData()
DATASETS = sa.Table(
    "datasets", TABLES, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(100), unique=True)
)
"""Only what is needed to refer to it: the datasets package makes this table."""
SOURCES = sa.Table(
    "sources",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("document", sa.Text, nullable=False, comment="JSON: {format: options}"),
    sa.Column("layout", sa.LargeBinary, comment="Arrow schema of the payload; null until the first append"),
    sa.Column(
        "generation", sa.BigInteger, nullable=False, comment="grows with every commit, so that two followers notice"
    ),
    sa.Column("added_at", sa.BigInteger, nullable=False),
)
FILES = sa.Table(
    "source_files",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("source_id", sa.ForeignKey("sources.id", ondelete="CASCADE"), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_us", sa.BigInteger, nullable=False),
    sa.Column("head", sa.String(32), nullable=False, comment="hash of the first 64 KiB"),
    sa.Column("tail", sa.String(32), nullable=False, comment="hash of the last 64 KiB"),
    sa.Column("position", sa.BigInteger, nullable=False, comment="where reading goes on, in the format's unit"),
    sa.Column("num_rows", sa.BigInteger, nullable=False, comment="rows read so far, bad ones counted"),
    sa.Column("gone", sa.Boolean, nullable=False, comment="the file has vanished"),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("source_id", "path"),
)
EXTENTS = sa.Table(
    "source_extents",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("file_id", sa.ForeignKey("source_files.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("first_key", sa.BigInteger, nullable=False),
    sa.Column("end_key", sa.BigInteger, nullable=False),
    sa.Column("contents", sa.LargeBinary, comment="uint64[n]: hash of each row; 0 where it has been taken back"),
    sa.Column("subjects", sa.LargeBinary, comment="uint64[n]: hash of each row's id"),
)
QUARANTINE = sa.Table(
    "quarantine",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("source_id", sa.ForeignKey("sources.id", ondelete="CASCADE"), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("row", sa.BigInteger, nullable=False, comment="number of the row in the file, from 0"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column(
        "content", sa.Text, comment="JSON: the value at fault and, if few, the row's bytes in base 64; purge empties it"
    ),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_MINE = [SOURCES, FILES, EXTENTS, QUARANTINE]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the ledger knows of a file: its fingerprint when last read, and where reading goes on."""

    path: str
    size: int
    mtime_us: int
    head: str
    tail: str
    cursor: Cursor = START
    gone: bool = False
    id: int = 0


@dataclass(frozen=True, kw_only=True)
class Known:
    """A source as the ledger has it."""

    id: int
    dataset_id: int
    source: Source
    layout: Layout | None
    generation: int
    files: Mapping[str, Taken] = field(default_factory=dict)


@dataclass(frozen=True)
class Extent:
    """A run of keys that came from one file, with the hashes of their rows if they are kept."""

    first_key: int
    end_key: int
    contents: Hashes | None = field(default=None, kw_only=True)
    subjects: Hashes | None = field(default=None, kw_only=True)
    id: int = field(default=0, kw_only=True)

    def __len__(self) -> int:
        return self.end_key - self.first_key


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """An unusable sample set aside."""

    id: int
    source_id: int
    path: str
    bad: Bad
    at: int


_lock = threading.Lock()


def prepare(workspace: Workspace) -> None:
    """Make the tables, once for each database. They refer to the datasets' tables, which must be there."""
    with _lock:
        if getattr(workspace.engine, "_modyn_sources", False):
            return
        for last in (False, True):
            try:
                with workspace.transaction() as connection:
                    TABLES.create_all(connection, tables=_MINE)
                break
            except DataError:  # another process made them at the same moment
                if last:
                    raise
        workspace.engine._modyn_sources = True  # type: ignore[attr-defined]


def is_there(workspace: Workspace) -> bool:
    """Whether the tables are there: a workspace that cannot be written, and took from no source, is read without them."""
    return bool(sa.inspect(workspace.engine).has_table(SOURCES.name))


def dataset_id(connection: sa.Connection, name: str) -> int:
    """The dataset's number in the catalog. Raises NotFound, naming the nearest name."""
    found = connection.execute(sa.select(DATASETS.c.id).where(DATASETS.c.name == name)).scalar()
    if found is None:
        known = connection.execute(sa.select(DATASETS.c.name)).scalars()
        raise NotFound(f"there is no dataset '{name}'. {did_you_mean(name, list(known))}")
    return int(found)


def register(connection: sa.Connection, dataset: str, source: Source, *, at: int) -> int:
    """Remember that a dataset comes from a source: the source's number, new or, for an equal one, the old.

    Raises DataError for the same files with other options, of which every row would be taken twice.
    """
    number = dataset_id(connection, dataset)
    connection.execute(sa.select(DATASETS.c.id).where(DATASETS.c.id == number).with_for_update())  # one at a time
    document = json.dumps(to_document(source))
    query = sa.select(SOURCES.c.document, SOURCES.c.id).where(SOURCES.c.dataset_id == number)
    known = {row.document: int(row.id) for row in connection.execute(query)}
    if document in known:
        return known[document]
    for other in known:
        if _reads_the_same(json.loads(document), json.loads(other)):
            path = next(iter(json.loads(other).values()))["path"]
            which = f" --source {shlex.quote(path)}" if len(known) > 1 else ""
            raise DataError(
                f"dataset '{dataset}' takes from {source.describe()} already, with other options "
                f"({_different(json.loads(other), json.loads(document))}); change them with "
                f"modyn data watch {dataset} --once{which} --set option=value"
            )
    row = sa.insert(SOURCES).values(dataset_id=number, document=document, generation=0, added_at=at)
    return int(connection.execute(row).inserted_primary_key[0])  # type: ignore[index]


def forget_unused(connection: sa.Connection, source_id: int) -> None:
    """Forget a source of which nothing was ever taken, so that it can be named again with other options."""
    connection.execute(sa.delete(SOURCES).where(SOURCES.c.id == source_id, SOURCES.c.generation == 0))


def _different(one: Any, other: Any) -> str:
    """The options of the first document that the second has otherwise; of its path only if that is all."""
    (mine,), (theirs,) = one.values(), other.values()
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    told = [name for name in names if name != "path"] or names
    return ", ".join(f"{name}: {'none' if mine.get(name) is None else mine[name]}" for name in told)


def _reads_the_same(one: Any, other: Any) -> bool:
    """Whether two documents ``{format: options}`` name one format and the same files, both for samples or both for labels."""

    def named(document: Any) -> Any:
        format_, options = (document, {}) if isinstance(document, str) else next(iter(document.items()))
        path = options.get("path")
        is_of_labels = options.get("labels_of") is not None
        return None if path is None else (format_, real_path(path), options.get("include"), is_of_labels)

    return named(one) is not None and named(one) == named(other)


def sources_of(connection: sa.Connection, dataset: str) -> list[tuple[int, Source]]:
    """The sources that a dataset comes from, oldest first."""
    query = sa.select(SOURCES.c.id, SOURCES.c.document).where(SOURCES.c.dataset_id == dataset_id(connection, dataset))
    return [
        (row.id, build(Source, json.loads(row.document))) for row in connection.execute(query.order_by(SOURCES.c.id))
    ]


def redefine(connection: sa.Connection, source_id: int, source: Source) -> None:
    """Remember other options of a source."""
    values = {"document": json.dumps(to_document(source)), "generation": SOURCES.c.generation + 1}
    connection.execute(sa.update(SOURCES).where(SOURCES.c.id == source_id).values(**values))


def known(connection: sa.Connection, source_id: int, source: Source) -> Known:
    """The source and its files. Raises NotFound if the dataset has been removed."""
    row = connection.execute(sa.select(SOURCES).where(SOURCES.c.id == source_id)).one_or_none()
    if row is None:
        raise NotFound("the dataset that this source fills has been removed")
    layout = None if row.layout is None else Layout.from_bytes(row.layout)
    if layout is None and source.labels_of is None:  # a second source of samples follows the first one's types
        others = sa.select(SOURCES.c.document, SOURCES.c.layout).where(
            (SOURCES.c.dataset_id == row.dataset_id) & SOURCES.c.layout.is_not(None)
        )
        found = connection.execute(others.order_by(SOURCES.c.id)).all()
        layout = next((Layout.from_bytes(o.layout) for o in found if not _brings_labels(json.loads(o.document))), None)
    files = {
        f.path: Taken(
            path=f.path, size=f.size, mtime_us=f.mtime_us, head=f.head, tail=f.tail,
            cursor=Cursor(f.position, f.num_rows), gone=f.gone, id=f.id,
        )
        for f in connection.execute(sa.select(FILES).where(FILES.c.source_id == source_id))
    }  # fmt: skip
    return Known(
        id=row.id, dataset_id=row.dataset_id, source=source, layout=layout, generation=row.generation, files=files
    )


def _brings_labels(document: Any) -> bool:
    """Whether a document ``{format: options}`` is of a source whose rows are labels, not samples."""
    return isinstance(document, dict) and next(iter(document.values())).get("labels_of") is not None


def advance(connection: sa.Connection, seen: Known, layout: Layout | None) -> Known | None:
    """Take the source for this transaction; None if somebody else has taken from it since ``seen``."""
    values: dict[str, Any] = {"generation": seen.generation + 1}
    if layout is not None:
        values["layout"] = layout.to_bytes()
    mine = (SOURCES.c.id == seen.id) & (SOURCES.c.generation == seen.generation)
    if connection.execute(sa.update(SOURCES).where(mine).values(**values)).rowcount != 1:
        return None
    return replace(seen, generation=seen.generation + 1, layout=layout or seen.layout)


def record(connection: sa.Connection, seen: Known, files: Sequence[Taken], *, at: int) -> Known:
    """Write what was read of files; the ledger with their numbers. A file with a number may have another path now."""
    files = [f if f.id or f.path not in seen.files else replace(f, id=seen.files[f.path].id) for f in files]
    rows = [
        {
            "source_id": seen.id, "path": f.path, "size": f.size, "mtime_us": f.mtime_us, "head": f.head, "tail": f.tail,
            "position": f.cursor.offset, "num_rows": f.cursor.row, "gone": f.gone, "at": at,
        }
        for f in files
    ]  # fmt: skip
    new = [row for row, f in zip(rows, files, strict=True) if not f.id]
    old = [{**row, "this": f.id} for row, f in zip(rows, files, strict=True) if f.id]
    if old:  # files may have swapped names, which are unique, so the old ones go first
        moved = [{"this": row["this"], "path": f"moving {row['this']}"} for row in old]
        connection.execute(sa.update(FILES).where(FILES.c.id == sa.bindparam("this")), moved)
        connection.execute(sa.update(FILES).where(FILES.c.id == sa.bindparam("this")), old)
        _rename_quarantined(connection, seen, {f.id: f.path for f in files if f.id})
    if new:
        connection.execute(sa.insert(FILES), new)
    ids = {f.path: f.id for f in files if f.id}
    ids |= _numbers_of(connection, seen.id, [str(row["path"]) for row in new])
    return replace(seen, files={**seen.files, **{f.path: replace(f, id=ids[f.path]) for f in files}})


def _rename_quarantined(connection: sa.Connection, seen: Known, paths: Mapping[int, str]) -> None:
    """What was set aside of files that have other names now goes with them; names may have been swapped."""
    moves = [(f.id, f.path, paths[f.id]) for f in seen.files.values() if paths.get(f.id, f.path) != f.path]
    mine = QUARANTINE.c.source_id == seen.id
    steps = [(old, f"moving {number}") for number, old, _ in moves] + [(f"moving {n}", new) for n, _, new in moves]
    for old, new in steps:
        connection.execute(sa.update(QUARANTINE).where(mine & (QUARANTINE.c.path == old)).values(path=new))


def _numbers_of(connection: sa.Connection, source_id: int, paths: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(paths), 500):
        mine = (FILES.c.source_id == source_id) & FILES.c.path.in_(paths[start : start + 500])
        found |= {row.path: row.id for row in connection.execute(sa.select(FILES.c.id, FILES.c.path).where(mine))}
    return found


def add_extents(connection: sa.Connection, extents: Iterable[tuple[int, Extent]]) -> None:
    """Write which keys came from which file."""
    rows = [
        {
            "file_id": file_id, "first_key": e.first_key, "end_key": e.end_key,
            "contents": None if e.contents is None else e.contents.tobytes(),
            "subjects": None if e.subjects is None else e.subjects.tobytes(),
        }
        for file_id, e in extents
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(EXTENTS), rows)


def extents_of(connection: sa.Connection, file_id: int) -> list[Extent]:
    """The keys that came from a file, oldest first, with the hashes of their rows."""
    query = sa.select(EXTENTS).where(EXTENTS.c.file_id == file_id).order_by(EXTENTS.c.first_key)
    return [
        Extent(
            first_key=row.first_key,
            end_key=row.end_key,
            contents=None if row.contents is None else np.frombuffer(row.contents, np.uint64),
            subjects=None if row.subjects is None else np.frombuffer(row.subjects, np.uint64),
            id=row.id,
        )
        for row in connection.execute(query)
    ]


def rewrite_hashes(connection: sa.Connection, extents: Iterable[Extent]) -> None:
    """Write the extents' hashes anew."""
    for extent in extents:
        values = {
            "contents": None if extent.contents is None else extent.contents.tobytes(),
            "subjects": None if extent.subjects is None else extent.subjects.tobytes(),
        }
        connection.execute(sa.update(EXTENTS).where(EXTENTS.c.id == extent.id).values(**values))


def forget(connection: sa.Connection, file_id: int) -> None:
    """Forget a file, so that it is new if it comes again."""
    connection.execute(sa.delete(EXTENTS).where(EXTENTS.c.file_id == file_id))
    connection.execute(sa.delete(FILES).where(FILES.c.id == file_id))


def keys_of(extents: Iterable[Extent]) -> Int64s:
    """The keys of extents, deleted ones among them."""
    return np.concatenate([np.empty(0, np.int64), *(np.arange(e.first_key, e.end_key) for e in extents)])


def keys_from(connection: sa.Connection, dataset: str, path: str) -> Int64s:
    """The keys of the samples that came from a file. Raises NotFound, naming the nearest path."""
    mine = (
        sa.select(FILES.c.id, FILES.c.path).join(SOURCES).where(SOURCES.c.dataset_id == dataset_id(connection, dataset))
    )
    files = {row.path: row.id for row in connection.execute(mine)}
    matching = [p for p in files if p == path or p.endswith("/" + path.removeprefix("./"))]
    if len(matching) != 1:
        hint = f"several end so: {', '.join(sorted(matching)[:5])}" if matching else did_you_mean(path, files)
        raise NotFound(f"dataset '{dataset}' has no file '{path}'. {hint}")
    return keys_of(extents_of(connection, files[matching[0]]))


def quarantine(connection: sa.Connection, seen: Known, bad: Iterable[tuple[str, Bad]], *, at: int) -> int:
    """Set unusable samples aside: how many."""
    rows = [
        {
            "dataset_id": seen.dataset_id, "source_id": seen.id, "path": path, "row": b.row,
            "reason": b.reason, "content": _packed(b), "at": at,
        }
        for path, b in bad
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(QUARANTINE), rows)
    return len(rows)


def _packed(bad: Bad) -> str | None:
    if bad.value is None and bad.raw is None:
        return None
    return json.dumps({"value": bad.value, "raw": None if bad.raw is None else base64.b64encode(bad.raw).decode()})


def _unpacked(row: int, reason: str, content: str | None) -> Bad:
    held = {"value": None, "raw": None} if content is None else json.loads(content)
    raw = None if held["raw"] is None else base64.b64decode(held["raw"])
    return Bad(row=row, reason=reason, value=held["value"], raw=raw)


def quarantined(connection: sa.Connection, dataset: str, *, limit: int | None = None) -> list[Quarantined]:
    """The samples set aside, oldest first."""
    mine = sa.select(QUARANTINE).where(QUARANTINE.c.dataset_id == dataset_id(connection, dataset))
    return [
        Quarantined(
            id=row.id, source_id=row.source_id, path=row.path, at=row.at,
            bad=_unpacked(row.row, row.reason, row.content),
        )
        for row in connection.execute(mine.order_by(QUARANTINE.c.id).limit(limit))
    ]  # fmt: skip


def num_quarantined(connection: sa.Connection, dataset: str) -> int:
    """How many samples of a dataset, and rows of labels that came later, are set aside."""
    mine = QUARANTINE.c.dataset_id == dataset_id(connection, dataset)
    return int(connection.execute(sa.select(sa.func.count()).select_from(QUARANTINE).where(mine)).scalar() or 0)


def set_aside(connection: sa.Connection, dataset: str, *, with_content: bool = False) -> str:
    """What ``num_quarantined`` counts, in words; empty if it is nothing. ``with_content``: that of which a purge empties something."""
    kept = QUARANTINE.c.content.is_not(None) if with_content else sa.true()
    query = sa.select(SOURCES.c.document, sa.func.count()).join_from(QUARANTINE, SOURCES)
    mine = query.where(QUARANTINE.c.dataset_id == dataset_id(connection, dataset), kept).group_by(SOURCES.c.document)
    rows = [(_brings_labels(json.loads(document)), number) for document, number in connection.execute(mine)]
    labels, samples = (sum(number for late, number in rows if late is kind) for kind in (True, False))
    told = [counted(number, what) for number, what in ((samples, "sample"), (labels, "label row")) if number]
    return " and ".join(told)


def release(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Forget samples that were set aside."""
    for start in range(0, len(ids), 500):
        connection.execute(sa.delete(QUARANTINE).where(QUARANTINE.c.id.in_(ids[start : start + 500])))
