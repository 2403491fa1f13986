"""What the tests of datasets share.

The tests that are marked ``postgres`` have a server of their own; they are skipped where none is installed.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from modyn.datasets import writer
from modyn.workspace import Workspace


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _user() -> int | None:
    """Whom the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    pytest.skip("no unprivileged user to run PostgreSQL as")


@pytest.fixture
def in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small an append is, it goes into a shard's file at once."""
    monkeypatch.setattr(writer, "INLINE_BYTES", -1)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty database on a server of its own, in a temporary folder and on a free loopback port."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    user = _user()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="modyn-postgres-") as folder:
        if user is not None:
            os.chown(folder, user, -1)
        run = {"cwd": folder, "user": user, "check": True, "capture_output": True, "env": {"LC_ALL": "C"}}
        data = str(Path(folder, "data"))
        subprocess.run([binaries / "initdb", "-D", data, "-U", "modyn", "-A", "trust", "-E", "UTF8"], **run)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        control = [str(binaries / "pg_ctl"), "-D", data, "-w"]
        subprocess.run([*control, "-o", options, "-l", str(Path(folder, "log")), "start"], **run)
        try:
            yield f"postgresql+psycopg://modyn@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)


@pytest.fixture
def postgres_workspace(tmp_path, postgres_url):
    """An empty workspace whose catalog is in PostgreSQL."""
    workspace = Workspace(tmp_path / "workspace", catalog=postgres_url)
    yield workspace
    with workspace.engine.begin() as connection:
        for name in sa.inspect(connection).get_table_names():
            connection.execute(sa.text(f'drop table "{name}" cascade'))
    workspace.engine.dispose()
