"""What a run was made with: package versions, git commit, the user's own code."""

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def user_files(document: Any, base_dir: Path) -> Iterator[Path]:
    """The Python files that a pipeline document names (``./flights.py:features``), each once."""
    names = sorted({match[1] for text in _texts(document) if (match := re.fullmatch(r"(.+\.py):[\w.]+", text))})
    for name in names:
        path = (base_dir / name).resolve()
        if path.is_file():
            yield path


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
