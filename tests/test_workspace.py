"""Files are written whole or not at all, to wherever their name leads."""

import os
import threading
from pathlib import Path

import pytest

from modyn.workspace import write_durably


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for content in (b"before", b"after"):
        write_durably(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_link_stays_a_link_to_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    target, link = tmp_path / "reports" / "march.html", tmp_path / "latest.html"
    link.symlink_to(target)
    for content in (b"new", b"newer"):
        write_durably(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert os.listdir(target.parent) == ["march.html"]


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "latest.html"
    link.symlink_to(link)
    write_durably(link, b"new")
    assert link.read_bytes() == b"new"


def test_into_a_pipe_goes_the_content_and_the_pipe_stays(tmp_path: Path) -> None:
    """As it does into a device: whoever writes to /dev/null with all rights must not put a file in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_durably(pipe, b"content")
    reader.join(10)
    assert read == [b"content"]
    assert pipe.is_fifo()


def test_what_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_durably(path, b"before")
    with pytest.raises(TypeError):
        write_durably(path, 3)  # type: ignore[arg-type]
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["report.html"]
