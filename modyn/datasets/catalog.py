"""The catalog's tables of datasets, and the few statements that read and change them.

Portable SQL only: SQLite and PostgreSQL run the same statements. A row is small: shards, the commits that added or deleted
samples, and the deleted keys as compressed bitmaps. Samples are in the catalog only while their shard is small (``inline``).
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import sqlalchemy as sa

from modyn.datasets.columns import Column
from modyn.errors import DataError, NotFound, did_you_mean
from modyn.workspace import Workspace

TABLES = sa.MetaData()
Classes: TypeAlias = tuple[str, ...] | None

DATASETS = sa.Table(
    "datasets",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("storage", sa.String(10), nullable=False),
    sa.Column("retention_us", sa.BigInteger),
    sa.Column("schema", sa.Text, comment="JSON: columns and label; null until the first append"),
    sa.Column("label_classes", sa.Text, comment="JSON: the text classes in the order of their codes"),
    sa.Column("classes_fixed", sa.Boolean, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("end_key", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False, comment="grows with every change, also of the layout"),
)

COMMITS = sa.Table(
    "dataset_commits",
    TABLES,
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False, comment="wall clock, microseconds UTC"),
    sa.Column("start_key", sa.BigInteger, nullable=False),
    sa.Column("end_key", sa.BigInteger, nullable=False),
    sa.Column("num_deleted", sa.BigInteger, nullable=False),
)

SHARDS = sa.Table(
    "dataset_shards",
    TABLES,
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("file", sa.String(100), primary_key=True, comment="name in the dataset's folder, unique for ever"),
    sa.Column("kind", sa.String(10), nullable=False, comment="arrow, inline, files or records"),
    sa.Column("first_key", sa.BigInteger, nullable=False),
    sa.Column("end_key", sa.BigInteger, nullable=False),
    sa.Column("num_rows", sa.BigInteger, nullable=False),
    sa.Column("min_time", sa.BigInteger, nullable=False),
    sa.Column("max_time", sa.BigInteger, nullable=False),
    sa.Column("in_time_order", sa.Boolean, nullable=False),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("link", sa.Text, comment="JSON: where linked records lie"),
)

CONTENTS = sa.Table(
    "dataset_contents",
    TABLES,
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("file", sa.String(100), primary_key=True, comment="the inline shard's name"),
    sa.Column("bytes", sa.LargeBinary, nullable=False, comment="what its file would hold"),
)

DELETIONS = sa.Table(
    "dataset_deletions",
    TABLES,
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("bitmap", sa.LargeBinary, nullable=False, comment="a serialised 64-bit roaring bitmap"),
)

LABELS = sa.Table(
    "dataset_labels",
    TABLES,
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sample_keys", sa.LargeBinary, nullable=False, comment="little-endian int64"),
    sa.Column("labels", sa.LargeBinary, nullable=False, comment="of the label's type, little-endian"),
)

PURGES = sa.Table(
    "dataset_purges",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dataset_id", sa.ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False, comment="JSON"),
)


@dataclass(frozen=True)
class Schema:
    """What every sample of a dataset has: its payload ``columns`` by name, and its ``label`` (None = unlabelled)."""

    columns: Mapping[str, Column]
    label: Column | None
    late: bool = False
    """Whether labels may come after their samples."""

    @cached_property
    def as_json(self) -> str:
        """What the catalog keeps."""
        label = None if self.label is None else self.label.to_document()
        late = {"late": True} if self.late else {}
        return json.dumps({"columns": [c.to_document() for c in self.columns.values()], "label": label, **late})

    @classmethod
    @lru_cache(maxsize=256)  # each transaction reads it again
    def from_json(cls, text: str) -> "Schema":
        document = json.loads(text)
        columns = [Column.from_document(c) for c in document["columns"]]
        label = document["label"]
        known = None if label is None else Column.from_document(label)
        return cls({c.name: c for c in columns}, known, late=document.get("late", False))


@dataclass(frozen=True, kw_only=True)
class Head:
    """A dataset's row in the catalog: its state right now."""

    id: int
    name: str
    created_at: int
    storage: str
    retention_us: int | None
    schema: Schema | None
    label_classes: tuple[str, ...] | None
    classes_fixed: bool
    version: int
    end_key: int
    generation: int


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard as the catalog knows it: where it lies, its half-open key range and its time range (inclusive)."""

    file: str
    kind: str
    first_key: int
    end_key: int
    num_rows: int
    min_time: int
    max_time: int
    in_time_order: bool
    num_bytes: int
    sha256: str
    link: str | None = None

    @property
    def is_dense(self) -> bool:
        """Whether every key of the range is there, so that a row is ``key - first_key``."""
        return self.num_rows == self.end_key - self.first_key


_lock = threading.Lock()


def engine(workspace: Workspace) -> sa.Engine:
    """The catalog's engine with the tables made, safe to use after a fork."""
    found = workspace.engine
    with _lock:
        owner = getattr(found, "_modyn_pid", None)
        if owner is None:
            _make_tables(found)
        elif owner != os.getpid():
            found.dispose(close=False)  # connections of the parent process; closing them here would break the parent's
        found._modyn_pid = os.getpid()  # type: ignore[attr-defined]
    return found


def _make_tables(found: sa.Engine) -> None:
    """Make the tables that are missing. Two processes may race here: the loser's error is retried once."""
    for last in (False, True):
        try:
            with found.begin() as connection:
                TABLES.create_all(connection)
            return
        except sa.exc.DBAPIError:
            if last:
                raise


@contextmanager
def reading(workspace: Workspace) -> Iterator[sa.Connection]:
    """A consistent read of the catalog that takes no write lock."""
    with workspace.clear_errors(), engine(workspace).connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection.execution_options(read_only=True)


@contextmanager
def changing(workspace: Workspace) -> Iterator[sa.Connection]:
    """One transaction on the catalog: all of it happens, or none."""
    with workspace.clear_errors(), engine(workspace).begin() as connection:
        yield connection


def head(connection: sa.Connection, name: str) -> Head:
    """The dataset's row. Raises NotFound, naming the nearest name."""
    row = connection.execute(sa.select(DATASETS).where(DATASETS.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"there is no dataset '{name}'. {did_you_mean(name, names(connection))}")
    return _head(row._mapping)


def head_by_id(connection: sa.Connection, dataset_id: int) -> Head | None:
    """The dataset's row, or None if it has been removed."""
    row = connection.execute(_HEAD_BY_ID, {"dataset_id": dataset_id}).one_or_none()
    return None if row is None else _head(row._mapping)


_HEAD_BY_ID = sa.select(DATASETS).where(DATASETS.c.id == sa.bindparam("dataset_id"))


def _head(row: Mapping[Any, Any]) -> Head:
    schema, classes = row["schema"], row["label_classes"]
    known = {
        "schema": None if schema is None else Schema.from_json(schema),
        "label_classes": None if classes is None else tuple(json.loads(classes)),
        "classes_fixed": bool(row["classes_fixed"]),
    }
    return Head(**{**row, **known})


def names(connection: sa.Connection) -> list[str]:
    """The names of all datasets, sorted."""
    return sorted(connection.execute(sa.select(DATASETS.c.name)).scalars())


def shards(connection: sa.Connection, dataset_id: int) -> list[Shard]:
    """The shards that hold the dataset now, in key order."""
    return [shard_of(row._mapping) for row in connection.execute(_SHARDS, {"dataset_id": dataset_id})]


_SHARDS = sa.select(SHARDS).where(SHARDS.c.dataset_id == sa.bindparam("dataset_id")).order_by(SHARDS.c.first_key)


def shard_of(row: Mapping[Any, Any]) -> Shard:
    """A shard from its row."""
    return Shard(**{str(key): value for key, value in row.items() if key != "dataset_id"})


_ADVANCE = (
    sa.update(DATASETS)
    .where(DATASETS.c.id == sa.bindparam("dataset_id"))
    .values(version=DATASETS.c.version + sa.bindparam("by"), generation=DATASETS.c.generation + sa.literal_column("1"))
    .returning(*DATASETS.c)
)
_EXTEND = _ADVANCE.where(DATASETS.c.end_key == sa.bindparam("start_key")).values(
    end_key=sa.bindparam("new_end_key"),
    schema=sa.bindparam("new_schema"),
    label_classes=sa.bindparam("new_classes"),
)


def advance(connection: sa.Connection, dataset_id: int, *, by: int = 1) -> Head:
    """Take the dataset's row for this transaction and count it up; returns the row as it is then.

    ``by=0`` changes the layout but not what the dataset holds. Raises NotFound if the dataset has been removed.
    """
    return _taken(connection.execute(_ADVANCE, {"dataset_id": dataset_id, "by": by}).mappings().one_or_none())


def extend(connection: sa.Connection, dataset_id: int, *, keys: range, schema: Schema, classes: Classes) -> Head:
    """``advance`` for an append of ``keys``: also set the new end key, the schema and the label classes.

    Raises DataError if other samples have got these keys, in spite of the append lock.
    """
    values = {
        "dataset_id": dataset_id,
        "by": 1,
        "start_key": keys.start,
        "new_end_key": keys.stop,
        "new_schema": schema.as_json,
        "new_classes": None if classes is None else json.dumps(classes),
    }
    row = next(iter(_run(connection, _EXTEND, values)), None)
    if row is None and head_by_id(connection, dataset_id) is not None:
        raise DataError("the dataset was appended to in spite of its lock; nothing was added")
    return _taken(row)


def _run(connection: sa.Connection, statement: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a statement, compiled once and then run by the driver alone: each append waits for four of them (measured there: 13 to 65 us instead of 55 to 226)."""
    text, names = _compiled(statement, connection.dialect)
    given: Any = dict(values) if names is None else tuple([values[name] for name in names])
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, given)
    except connection.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DBAPIError(text, None, error) from error
    if not cursor.description:
        return []
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@lru_cache(maxsize=32)
def _compiled(statement: Any, dialect: sa.Dialect) -> tuple[str, Sequence[str] | None]:
    found = statement.compile(dialect=dialect)
    return str(found), found.positiontup if found.positional else None


def _taken(row: Any) -> Head:
    if row is None:
        raise NotFound("the dataset has been removed meanwhile")
    return _head(row)


def add_commit(connection: sa.Connection, head: Head, *, start_key: int, num_deleted: int) -> None:
    """Record the version that the transaction makes."""
    row = {"dataset_id": head.id, "version": head.version, "at": time.time_ns() // 1000}
    _run(connection, _ADD_COMMIT, {**row, "start_key": start_key, "end_key": head.end_key, "num_deleted": num_deleted})


def add_shards(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add shards' rows; each has ``dataset_id`` and the fields of ``Shard``."""
    for row in rows:
        _run(connection, _ADD_SHARDS, row)


_ADD_COMMIT, _ADD_SHARDS = sa.insert(COMMITS), sa.insert(SHARDS)


def add_content(connection: sa.Connection, dataset_id: int, file: str, content: memoryview) -> None:
    """Keep the bytes of an inline shard."""
    _run(connection, _ADD_CONTENT, {"dataset_id": dataset_id, "file": file, "bytes": content})


def contents(workspace: Workspace, dataset_id: int, files: Sequence[str]) -> dict[str, bytes]:
    """The bytes of inline shards. Raises FileNotFoundError for one that the catalog does not have any more."""
    found: dict[str, bytes] = {}
    with reading(workspace) as connection:
        for start in range(0, len(files), 500):
            asked = {"dataset_id": dataset_id, "files": list(files[start : start + 500])}
            found.update((row.file, bytes(row.bytes)) for row in connection.execute(_CONTENTS, asked))
    for file in files:
        if file not in found:
            raise FileNotFoundError(file)
    return found


_ADD_CONTENT = sa.insert(CONTENTS)
_CONTENTS = sa.select(CONTENTS.c.file, CONTENTS.c.bytes).where(
    CONTENTS.c.dataset_id == sa.bindparam("dataset_id"), CONTENTS.c.file.in_(sa.bindparam("files", expanding=True))
)


def keeps_contents(workspace: Workspace) -> bool:
    """Whether small shards may be inline: in SQLite, which shares its log with them and overwrites what is removed."""
    return bool(workspace.engine.dialect.name == "sqlite")


def empty_log(workspace: Workspace) -> None:
    """Have SQLite write its log back and cut it, as it may still hold what was removed from tables."""
    found = engine(workspace)
    if found.dialect.name == "sqlite":
        with found.connect().execution_options(read_only=True) as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
