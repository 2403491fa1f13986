"""Finding a source's files, here or on an object store, and knowing them again."""

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from modyn.errors import DataError, MissingExtra, did_you_mean
from modyn.sources.rows import File, Unreachable
from modyn.types import to_microseconds
from modyn.workspace import CATALOG, FOLDERS

EDGE = 64 * 1024
"""Bytes at each end of a file that its fingerprint covers."""
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp", "~")
_EXTRAS = {"s3": "s3", "s3a": "s3"}


def open_file_system(path: str) -> tuple[Any, str]:
    """The file system of a path and the path on it. Raises MissingExtra if its package is not installed."""
    protocol = path.partition("://")[0] if "://" in path else "file"
    try:
        fs, inside = fsspec.core.url_to_fs(path)
    except ImportError as error:
        if protocol in _EXTRAS:
            raise MissingExtra("s3fs", extra=_EXTRAS[protocol]) from None
        raise DataError(f"{path} cannot be reached: {error}") from None
    except ValueError as error:
        raise DataError(f"{path} cannot be reached: {error}") from None
    return fs, inside


def is_local(path: str) -> bool:
    """Whether the path is on this machine's own file system."""
    return "://" not in path or path.startswith("file://")


def anchored(path: str) -> str:
    """The path in a form that means the same from every working directory."""
    return str(Path(path).expanduser().absolute()) if is_local(path) and "://" not in path else path


def real_path(path: str) -> str:
    """The path without links and ``..``, to see that two mean the same."""
    return os.path.realpath(path.removeprefix("file://")) if is_local(path) else path.rstrip("/")


def find_files(path: str, *, suffixes: tuple[str, ...], include: str | None) -> list[File]:
    """The files of a source, sorted by path: the path itself, those in a folder at any depth, or those that match its pattern.

    Hidden files, those under a name that says that they are being written (``.tmp``, ``.part``, ...) and those of a Modyn workspace in the
    folder are left out. Raises
    Unreachable, naming what is near, if there is nothing at the path, or no folder in which the pattern's files could lie.
    """
    fs, inside = open_file_system(path)
    try:
        fs.invalidate_cache()
        if any(mark in inside for mark in "*?[") and not fs.exists(inside):
            found: Mapping[str, Any] = fs.glob(inside, detail=True)
            if not found and is_local(path) and not fs.isdir(_fixed_part(inside)):
                raise FileNotFoundError(inside)
            return _files(fs, found.values(), inside.rstrip("/").rpartition("/")[0])
        if fs.isdir(inside):
            found = fs.find(inside, detail=True)
            roots = [name.removesuffix(CATALOG) for name in found if name.endswith(f"/{CATALOG}")]
            own = tuple(f"{root}{name}" for root in roots for name in (CATALOG, *(f"{folder}/" for folder in FOLDERS)))
            wanted = (i for name, i in found.items() if not name.startswith(own) and _matches(name, suffixes, include))
            return _files(fs, wanted, inside)
        return [_file(fs, fs.info(inside))]
    except FileNotFoundError:
        raise Unreachable(f"there is no file or folder {path}.{_near(fs, inside)}") from None
    except OSError as error:
        raise Unreachable(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        raise Unreachable(f"{path} cannot be read: {error}") from error


def _is_of_a_store(error: Exception) -> bool:
    """Whether an object store's client raised it: no credentials, no answer. Those are of no kind that Python has."""
    return type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp")


def _fixed_part(pattern: str) -> str:
    """The folder that a pattern begins with, before its first variable name."""
    while any(mark in pattern for mark in "*?["):
        pattern = pattern.rpartition("/")[0]
    return pattern or "/"


def _matches(path: str, suffixes: tuple[str, ...], include: str | None) -> bool:
    name = path.rpartition("/")[2]
    if include is not None:
        return fnmatch.fnmatchcase(name, include)
    return not suffixes or name.lower().endswith(suffixes)


def _files(fs: Any, found: Iterable[Any], root: str) -> list[File]:
    files = [
        _file(fs, info)
        for info in map(_followed, found)
        if info["type"] == "file" and not _unfinished(info["name"], root)
    ]
    return sorted(files, key=lambda file: file.path)


def _followed(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a link to a local file leads to, under the link's name. Links to folders are not followed: they may lead in circles."""
    if info["type"] not in ("link", "other") or not info.get("islink"):
        return info
    try:
        found = os.stat(info["name"])
    except OSError:
        return info
    kind = "file" if stat.S_ISREG(found.st_mode) else "other"
    return {**info, "type": kind, "size": found.st_size, "mtime": found.st_mtime}


def _unfinished(path: str, root: str) -> bool:
    below = path[len(root) :] if path.startswith(root) else path
    return any(part.startswith(".") for part in below.split("/")) or path.endswith(_UNFINISHED)


def _file(fs: Any, info: Mapping[str, Any]) -> File:
    path = info["name"]
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    shown = path if protocol in ("file", "local") or "://" in path else f"{protocol}://{path.lstrip('/')}"
    inode = info.get("ino") if shown == path and info.get("nlink") == 1 and not info.get("islink") else None
    return File(path=shown, size=int(info["size"] or 0), mtime_us=_mtime(info), fs=fs, inode=inode)


def _mtime(info: Mapping[str, Any]) -> int:
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, int | float):
            return int(value * 1_000_000)
        if isinstance(value, datetime):
            return to_microseconds(value.astimezone(UTC))
        if isinstance(value, str):
            return to_microseconds(datetime.fromisoformat(value))
    return 0


def _near(fs: Any, path: str) -> str:
    folder, _, name = path.rstrip("/").rpartition("/")
    try:
        names = [p.rstrip("/").rpartition("/")[2] for p in fs.ls(folder, detail=False)]
    except OSError:
        return ""
    near = did_you_mean(name, names)
    return f" {near}" if near.startswith("Did") else ""


def fingerprint(file: File, size: int | None = None) -> tuple[str, str]:
    """Hashes of the first and last 64 KiB of a file, or of its first ``size`` bytes."""
    end = file.size if size is None else size
    if end <= EDGE:
        edge = _hash(file, 0, end)
        return edge, edge
    return _hash(file, 0, EDGE), _hash(file, end - EDGE, end)


def _hash(file: File, start: int, end: int) -> str:
    data = file.read(start, end) if end > start else b""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def is_there(path: str) -> bool:
    """Whether there is a file or a folder at the path."""
    fs, inside = open_file_system(path)
    return bool(fs.exists(inside))


def look_at(path: str) -> File | None:
    """A file as it is now; None if it is gone."""
    fs, inside = open_file_system(path)
    try:
        fs.invalidate_cache()
        return _file(fs, fs.info(inside))
    except FileNotFoundError:
        return None
