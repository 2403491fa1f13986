"""The workspace: one folder with the catalog database, ``datasets/``, ``runs/`` and ``models/``.

Several processes may use one workspace at once: SQLite in write-ahead mode (or PostgreSQL, by ``MODYN_CATALOG`` or the
``catalog`` argument) serialises what changes, and every file is written under a temporary name, synced and renamed.
A workspace on a read-only or a full disk can be read; what would change it is refused by the disk or by SQLite.
"""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from modyn.errors import ConfigError, DataError

DEFAULT = "modyn-workspace"
CATALOG, FOLDERS = "catalog.sqlite", ("datasets", "runs", "models", "caches")
"""What lies in a workspace."""
_LEAST_FREE = 64 * 1024
"""Bytes that SQLite needs beside its file to open it for changes."""


class Workspace:
    """One folder that holds everything Modyn keeps; made on first use.

    ``root`` defaults to ``$MODYN_WORKSPACE``, then ``./modyn-workspace``; ``catalog`` to ``$MODYN_CATALOG``, then a SQLite
    file in the folder.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, *, catalog: str | None = None) -> None:
        self.root = Path(root or os.environ.get("MODYN_WORKSPACE") or DEFAULT).absolute()
        self.catalog_url = catalog or os.environ.get("MODYN_CATALOG") or f"sqlite:///{self.root / CATALOG}"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def caches(self) -> Path:
        """What can be made again: ``caches/DATASET/...``, all of which a purge of that dataset removes."""
        return self.root / "caches"

    @cached_property
    def engine(self) -> sa.Engine:
        """The catalog's database. Raises ConfigError if the folder or the database cannot be used."""
        try:
            engine = sa.create_engine(self.catalog_url)
            catalog = Path(engine.url.database or "").absolute()
            is_file = engine.dialect.name == "sqlite"
            if is_file and _is_read_only(catalog):
                return _reading(catalog)
            for folder in (self.datasets, self.runs, self.models):
                folder.mkdir(parents=True, exist_ok=True)
            if is_file:
                sa.event.listen(engine, "connect", _set_up_sqlite)
                sa.event.listen(engine, "begin", _begin_immediately)
            try:
                with engine.connect():
                    return engine
            except sa.exc.OperationalError:
                if is_file and catalog.is_file() and catalog.stat().st_size and self._is_full:
                    return _reading(catalog)
                raise
        except (OSError, sa.exc.SQLAlchemyError, ImportError) as error:
            raise ConfigError(f"the workspace {self.root} cannot be used: {self._reason(error)}") from error

    @property
    def _is_full(self) -> bool:
        return self.root.is_dir() and shutil.disk_usage(self.root).free < _LEAST_FREE

    def _reason(self, error: Exception) -> str:
        """Why the catalog failed, in words: what it says, and that the disk is full if it is."""
        found = getattr(error, "orig", None) or error
        return f"its disk is full ({found})" if self._is_full else str(found)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction on the catalog: all of it happens, or none. Raises DataError if the database refuses."""
        with self.clear_errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def clear_errors(self) -> Iterator[None]:
        """Turn the database's errors into DataError that names it."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            url = sa.make_url(self.catalog_url).render_as_string(hide_password=True)
            raise DataError(f"the catalog {url} cannot be used: {self._reason(error)}") from error

    def close(self) -> None:
        """Close the connections to the catalog; the next use opens new ones."""
        if "engine" in self.__dict__:
            self.__dict__.pop("engine").dispose()

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "catalog_url": self.catalog_url}


def check_name(name: str, what: str) -> str:
    """The name, if it can name a folder everywhere. Raises ConfigError if not.

    >>> check_name("flights-2013", "dataset")
    'flights-2013'
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(
            f"'{name}' cannot name a {what}: a name has 1 to 100 letters, digits, '.', '_' or '-', and begins with a letter or digit"
        )
    return name


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a crash at any instant it is there whole, or not at all.

    A link stays, and what it points to is written; into a device or a pipe the content goes as it is.
    """
    if path.exists() and not path.is_file():
        with naming(path), path.open("wb") as file:
            file.write(content)
        return
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors of a file that is open tell which one, as those of opening it do: a full disk is first met by a write."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_read_only(catalog: Path) -> bool:
    """Whether a SQLite file is there that cannot be written, or not beside it, where its log must lie."""
    return catalog.is_file() and not (os.access(catalog, os.W_OK) and os.access(catalog.parent, os.W_OK))


def _reading(catalog: Path) -> sa.Engine:
    """An engine that only reads. Raises OperationalError if it cannot."""
    engine = sa.create_engine("sqlite://", creator=lambda: _open_read_only(catalog), poolclass=sa.NullPool)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.connect():
        return engine


def _open_read_only(catalog: Path) -> sqlite3.Connection:
    """A connection that only reads. Each is opened anew, as a folder that is read-only here may be written from elsewhere.

    Without a log nobody has the file open, and SQLite may take it for unchanging: it could not make the log's index here. A log that holds
    nothing may be somebody's who has the file open, or left by who could not make its index.
    """
    log = catalog.with_name(f"{catalog.name}-wal")
    try:
        if not log.exists():
            return _connect(catalog, "mode=ro&immutable=1")
        try:
            return _connect(catalog, "mode=ro")
        except sqlite3.Error:
            if log.stat().st_size:
                raise
            return _connect(catalog, "mode=ro&immutable=1")
    except (OSError, sqlite3.Error) as error:
        raise sqlite3.OperationalError(
            f"{catalog} is on a read-only or full disk and cannot be read: {error}"
        ) from error


def _connect(catalog: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{catalog.as_uri()}?{options}", uri=True, check_same_thread=False)
    connection.isolation_level = None
    connection.execute("SELECT count(*) FROM sqlite_master")
    return connection


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediately(connection: sa.Connection) -> None:
    """Take the write lock at the start, so that a read followed by a write in one transaction never fails half-way."""
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE" if not connection.get_execution_options().get("read_only") else "BEGIN"
    )
