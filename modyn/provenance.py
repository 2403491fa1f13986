"""What a run was made with: package versions, git commit, the user's own code."""

import hashlib
import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modyn.errors import RunError
from modyn.runlog import Event, RunLog
from modyn.usercode import with_neighbours

PACKAGES = ("modyn", "torch", "numpy", "pyarrow", "pandas", "scikit-learn", "scipy", "pydantic")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit(folder: Path) -> str | None:
    """The commit checked out where ``folder`` lies, with ``+`` if files differ from it; None outside git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class UserFile:
    """A Python file that a pipeline names, and the name under which the run's folder keeps it."""

    path: Path
    kept_as: str
    sha256: str

    def to_dict(self) -> dict[str, str]:
        return {"path": str(self.path), "kept_as": self.kept_as, "sha256": self.sha256}


def user_files(document: Any, base_dir: Path) -> list[UserFile]:
    """The Python files that a pipeline document names (``./flights.py:features``) and what they import from beside, each once."""
    names = sorted({match[1] for text in _texts(document) if (match := re.fullmatch(r"(.+\.py):[\w.]+", text))})
    named = {path for name in names if (path := (base_dir / name).resolve()).is_file()}
    paths = sorted({path for file in named for path in with_neighbours(file)})
    files = []
    for number, path in enumerate(paths):
        twin = sum(other.name == path.name for other in paths) > 1
        kept_as = f"code/{path.stem}-{number}.py" if twin else f"code/{path.name}"
        files.append(UserFile(path, kept_as, hashlib.sha256(path.read_bytes()).hexdigest()))
    return files


def check_unchanged(log: RunLog, started: Event) -> None:
    """Raise RunError if a user's file that the run was made with is gone or has changed since: then it could not go on as it began."""
    for file in started.fields.get("user_files", []):
        path = Path(file["path"])
        content = path.read_bytes() if path.is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != file["sha256"]:
            what = "is gone" if content is None else "has changed"
            kept = log.folder / file["kept_as"]
            raise RunError(
                f"run {log.run_id} cannot go on: {path} {what} since it began. Restore it from {kept}, or start a new run"
            )


def check_dataset(log: RunLog, started: Event, identity: str | None) -> None:
    """Raise RunError if the dataset that the run was made with was removed, and the one of that name now is another."""
    if started.fields.get("dataset_identity", identity) != identity:
        raise RunError(
            f"run {log.run_id} cannot go on: its dataset '{started['dataset']}' was removed, and another has that name now. Start a new run"
        )


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(document, list):
        for item in document:
            yield from _texts(item)
