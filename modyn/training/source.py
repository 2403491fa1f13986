"""What a parser's results depend on besides the samples, as a digest: its source code, name and options.

Source code is the whole file a function stands in, and the files of the user's that this one imports; of installed packages it is their
version. What a parser reads itself (a vocabulary, a model) is not seen, unless its name among the options changes.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from modyn.policy import Importable
from modyn.training.options import Named
from modyn.training.parsing import INSTALLED, Parser
from modyn.usercode import with_neighbours


def digest_of(parser: Parser, transforms: Sequence[Named] = ()) -> str | None:
    """A digest that changes with what makes inputs out of samples; None if that cannot be known, as of a function made while running.

    Two runs, and two processes, find the same digest for the same code.
    """
    steps: list[tuple[Any, Mapping[str, Any], str]] = [
        (parser.function, parser.options, "sample" if parser.per_sample else "batch")
    ]
    steps += [(spec.importable, spec.options, "transform") for spec in transforms]
    sources: dict[str, str] = {}
    described = []
    for made, options, kind in steps:
        place = _place_of(made)
        if place is None:
            return None
        name, module, file = place
        beside = isinstance(made, Importable) and made.file is not None
        for path in with_neighbours(file) if beside else [file]:
            _collect(path, module, sources)
        described.append([kind, name, file.name, dict(options)])
    try:
        document = json.dumps([described, sorted(sources.values())], sort_keys=True)
    except (TypeError, ValueError):
        return None
    return hashlib.sha256(document.encode()).hexdigest()[:20]


def _place_of(made: Any) -> tuple[str, str, Path] | None:
    """A function's name, its module's, and its file, if the same name gives the same function in every process."""
    if isinstance(made, Importable):
        module, _, name = made.name.rpartition(":")
        file = made.file or _file_of(module)
        return None if file is None else (name, module, file)
    if not inspect.isfunction(made) or made.__closure__ or "<" in made.__qualname__:
        return None
    found = inspect.getsourcefile(made)
    return (made.__qualname__, made.__module__, Path(found)) if found is not None and Path(found).is_file() else None


def _file_of(module: str) -> Path | None:
    """The Python file of a module; None if there is none, as of what is built in."""
    try:
        loaded = sys.modules.get(module)
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") and Path(origin).is_file() else None


def _collect(file: Path | None, module: str, sources: dict[str, str]) -> None:
    """Add a file of the user's and those it imports; of what is installed, the version of the package."""
    if file is None or str(file.resolve()).startswith(INSTALLED):
        package = module.partition(".")[0]
        sources.setdefault(package, f"{package} {_version_of(package)}")
        return
    path = file.resolve()
    if str(path) not in sources:
        stamp = path.stat()
        digest, imported = _read(path, (stamp.st_mtime_ns, stamp.st_size))
        sources[str(path)] = f"{file.name} {digest}"
        for name, where in imported:
            _collect(where, name, sources)


@lru_cache(maxsize=4096)
def _read(path: Path, _stamp: tuple[int, int]) -> tuple[str, Sequence[tuple[str, Path | None]]]:
    """The digest of a file, and the modules it imports with their files; of one that has not changed, without reading it again."""
    text = path.read_bytes()
    return hashlib.sha256(text).hexdigest(), [(name, _file_of(name)) for name in _imported(text, path)]


def _imported(text: bytes, file: Path) -> Iterator[str]:
    """The modules that a source text imports, wherever it does; what is imported from one may be a module too."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _package_of(file, node.level, node.module) if node.level else node.module or ""
            yield base
            yield from (name for alias in node.names if _file_of(name := f"{base}.{alias.name}") is not None)


def _package_of(file: Path, level: int, module: str | None) -> str:
    """The absolute name of a relative import, out of the folders that are packages."""
    folder = file.resolve().parent
    for _ in range(level - 1):
        folder = folder.parent
    parts: list[str] = []
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join([*parts, *([module] if module else [])])


@lru_cache(maxsize=4096)
def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return sys.version.split()[0]
