"""The user's own code, named ``package.module:name`` or ``./file.py:name``: found, imported, and told of in one line where it fails.

A file named by its path is a module of a package that stands for its folder. So it can import what lies beside it, as a script could, also
later and in other processes, while ``sys.path`` stays as it is and files of one name in two folders stay apart.
"""

import ast
import builtins
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import core_schema

from modyn.errors import ConfigError, did_you_mean
from modyn.problems import describe_value


@dataclass(frozen=True)
class Importable:
    """A name that user code gives an object: ``package.module:name``, or ``./file.py:name`` beside the pipeline file.

    Picklable: a worker process imports the object again.
    """

    name: str
    base_dir: Path | None = None

    def load(self) -> Any:
        """The object itself. Raises ConfigError if the module, the file or the name does not exist or fails to import."""
        module_name, _, attribute = self.name.rpartition(":")
        if not module_name or not attribute:
            raise ConfigError(f"'{self.name}' is neither 'package.module:name' nor './file.py:name'")
        module = self._module(module_name)
        found: Any = module
        for part in attribute.split("."):
            if not hasattr(found, part):
                public = [
                    name
                    for name, value in vars(module).items()
                    if not name.startswith("_") and not isinstance(value, ModuleType)
                ]
                raise ConfigError(
                    f"'{self.name}': {module_name} has nothing named '{part}'. {did_you_mean(part, public)}"
                )
            found = getattr(found, part)
        return found

    @property
    def file(self) -> Path | None:
        """The Python file, if the object is named by one."""
        module_name = self.name.rpartition(":")[0]
        if not module_name.endswith(".py"):
            return None
        return ((self.base_dir or Path.cwd()) / module_name).resolve()

    def _module(self, name: str) -> ModuleType:
        try:
            module = _load_file(self.file, name) if self.file is not None else importlib.import_module(name)
        except ConfigError:
            raise
        except SystemExit as error:
            raise ConfigError(f"importing '{name}': {_of_exit(error)}") from error
        except Exception as error:
            raise ConfigError(f"importing '{name}' failed: {type(error).__name__}: {error}") from error
        _named.add(module.__name__)
        return module

    def __str__(self) -> str:
        return self.name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return {"type": "string", "pattern": "^.+:[A-Za-z_][A-Za-z0-9_.]*$"}

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and ":" in value:
            return cls(value, (info.context or {}).get("base_dir"))
        raise ValueError(f"must be 'package.module:name' or './file.py:name'; got {describe_value(value)}")


# A folder's files as a package --------------------------------------------------------------------------------------

_PREFIX = "modyn_files_"
_Import = Callable[..., ModuleType]


class _Folder:
    """A folder's Python files as they were when the first of them was imported: modules of the package ``package``."""

    def __init__(self, path: Path, number: int, origin: str) -> None:
        self.path, self.number, self.origin = path, number, origin
        self.package = f"{_PREFIX}{os.fsencode(path).hex()}_{number}"
        self.stamps: dict[Path, tuple[int, int]] = {}
        self._imported_here: dict[str, bool] = {}

    @property
    def has_changed(self) -> bool:
        """Whether a file that was imported is another by now."""
        return any(_stamp(path) != stamp for path, stamp in self.stamps.items())

    def builtins(self) -> Mapping[str, Any]:
        """Python's own, with an ``import`` that looks into the folder first."""
        return {**vars(builtins), "__import__": self._import}

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or not self._is_here(top):
            return builtins.__import__(name, globals, locals, fromlist, level)
        if fromlist:
            return builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist)
        importlib.import_module(f"{self.package}.{name}")
        return sys.modules[f"{self.package}.{top}"]

    def _is_here(self, top: str) -> bool:
        """Whether a name means a file beside; never where it is in the standard library, or imported from that file already."""
        if top not in self._imported_here:
            self._imported_here[top] = top not in sys.stdlib_module_names and self._is_beside(top)
        return self._imported_here[top]

    def _is_beside(self, top: str) -> bool:
        source = _source(self.path, top)
        if source is None:  # a folder of files, or a compiled module
            return PathFinder.find_spec(top, [str(self.path)]) is not None and importlib.util.find_spec(top) is None
        loaded = getattr(sys.modules.get(top), "__file__", None)
        return loaded is None or Path(loaded).resolve() != source.resolve()


class _Loader(SourceFileLoader):
    """Imports a file of a folder, and notes how it was."""

    def exec_module(self, module: ModuleType) -> None:
        folder, path = _packages[self.name.partition(".")[0]], Path(self.path)
        folder.stamps[path] = _stamp(path)
        module.__dict__["__builtins__"] = folder.builtins()
        module.__dict__.setdefault("__modyn_file__", f"{folder.origin}{path.relative_to(folder.path)}")
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules of folders, in whatever process: the package's name says which folder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        top, _, name = fullname.rpartition(".")
        if not top:
            folder = _packages.get(name) or _unnamed(name)
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(folder.path)]
            return spec
        source = _source(Path((path or [""])[0]), name)
        return PathFinder.find_spec(fullname, path, target) if source is None else _spec(fullname, source)


_named: set[str] = set()
"""Names of the modules that pipelines have named something of."""
_packages: dict[str, _Folder] = {}
_newest: dict[Path, _Folder] = {}
_turn = RLock()
sys.meta_path.insert(0, _Finder())


def _load_file(path: Path, origin: str) -> ModuleType:
    """Import a Python file by path; the same unchanged file is imported once in a process."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    with _turn:
        folder = _newest.get(path.parent)
        if folder is None or folder.has_changed:
            folder = _opened(path.parent, 0 if folder is None else folder.number + 1, origin.removesuffix(path.name))
        name = f"{folder.package}.{path.stem if path.stem.isidentifier() else 'file_' + path.stem.encode().hex()}"
        if name in sys.modules:
            return sys.modules[name]
        importlib.import_module(folder.package)
        spec = _spec(name, path)
        module = importlib.util.module_from_spec(spec)
        module.__dict__["__modyn_file__"] = origin
        sys.modules[name] = module
        try:
            assert spec.loader is not None
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def _opened(path: Path, number: int, origin: str) -> _Folder:
    folder = _Folder(path, number, origin)
    _packages[folder.package] = _newest[path] = folder
    return folder


def _unnamed(package: str) -> _Folder:
    """The folder of a package that another process has named."""
    path, _, number = package.removeprefix(_PREFIX).rpartition("_")
    return _opened(Path(os.fsdecode(bytes.fromhex(path))), int(number), "./")


def _spec(name: str, source: Path) -> ModuleSpec:
    inside = [str(source.parent)] if source.name == "__init__.py" else None
    loader = _Loader(name, str(source))
    spec = spec_from_file_location(name, source, loader=loader, submodule_search_locations=inside)
    assert spec is not None
    return spec


def _source(folder: Path, name: str) -> Path | None:
    """The file of a module or package of that name in a folder; None if there is none."""
    choices = (folder / name / "__init__.py", folder / f"{name}.py")
    return next((path for path in choices if path.is_file()), None)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


# What a file imports ------------------------------------------------------------------------------------------------


def with_neighbours(file: Path) -> list[Path]:
    """A Python file, and those of its folder and below that it imports, and they in turn, wherever they do. In the order of their paths."""
    folder, found, waiting = file.parent, {file}, [file]
    while waiting:
        here = waiting.pop()
        for place, name in _imports_of(here, folder):
            for source in _sources(place, name):
                if source not in found:
                    found.add(source)
                    waiting.append(source)
    return sorted(found)


def _sources(folder: Path, name: str) -> Iterator[Path]:
    """The files that importing a dotted name from a folder runs, as far as they are there."""
    for part in name.split(".") if name else ():
        source = _source(folder, part)
        if source is not None:
            yield source
        folder = folder / part


def _imports_of(file: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """What a file imports: where it would be found, and its dotted name; what is imported from a module may be one too."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((folder, alias.name) for alias in node.names if _may_be_beside(alias.name))
        elif isinstance(node, ast.ImportFrom) and (node.level or _may_be_beside(node.module or "")):
            place = file.parents[node.level - 1] if node.level else folder
            yield from ((place, f"{node.module}.{alias.name}" if node.module else alias.name) for alias in node.names)


def _may_be_beside(name: str) -> bool:
    return name.partition(".")[0] not in sys.stdlib_module_names


# Code that ends the program -----------------------------------------------------------------------------------------


@contextmanager
def told_if_it_exits() -> Iterator[None]:
    """Raise ConfigError where code that a pipeline named calls ``sys.exit``: the program is not its own to end."""
    try:
        yield
    except SystemExit as error:
        modules = {frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)}
        if not any(name in _named or name.startswith(_PREFIX) for name in modules):
            raise
        raise exit_error(error) from error


def told_of(error: Exception) -> str | None:
    """Where code that a pipeline named raised an error, and which; None if it was not that code, or Modyn's that it had called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modyns = [n for n, frame in enumerate(frames) if frame.f_code.co_filename.startswith(_MODYN)]
    names = [frame.f_globals.get("__name__", "") for frame in frames[(modyns or [-1])[-1] + 1 :]]
    if not any(name in _named or name.startswith(_PREFIX) for name in names):
        return None
    return f"{_place_of(error)}: {type(error).__name__}: {error}"


def exit_error(error: SystemExit) -> ConfigError:
    """What to raise in place of a ``SystemExit`` of the user's code: it names the line."""
    return ConfigError(_of_exit(error))


def _of_exit(error: SystemExit) -> str:
    said = f" ({error.code})" if isinstance(error.code, str) else ""
    return f"{_place_of(error)}: this ends the whole program{said}; what a pipeline names must raise an error instead"


def _place_of(error: BaseException) -> str:
    """File, line and text of the innermost call that is the user's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_not_the_users())] or frames
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}, {own[-1].line}" if own else "code of yours"


_MODYN = f"{Path(__file__).parent}{os.sep}"


@cache
def _not_the_users() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    installed = {paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (*(f"{path}{os.sep}" for path in installed), _MODYN, "<frozen")
