"""Parsers: the user's function that turns payloads into a model's inputs.

A *batch* parser is given columns (name to array, samples on the first axis) and gives a tensor, a tuple of tensors or a dict of
tensors, with the samples on the first axis. It maps rows independently, so many batches may be parsed at once. A *per-sample*
parser is given one sample (column name to value) and gives the same without that axis. Importing this module does not load torch.
"""

import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from modyn.errors import BadSample, ConfigError, DataError, ModynError, counted, did_you_mean
from modyn.policy import Importable, Options
from modyn.types import Columns, Int64s

if TYPE_CHECKING:
    from torch import Tensor

    from modyn.training.tensors import Inputs


INSTALLED = tuple(
    f"{Path(sysconfig.get_paths()[kind]).resolve()}/" for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)
"""Where Python and packages lie: what a parser is made of, but not the user's own."""
_MODYNS = (f"{Path(__file__).parents[1]}/", "<frozen")


class ParserSpec(Options):
    """How a pipeline names its parser: ``./flights.py:features`` (per batch), or ``{per_sample: ./f.py:decode}``."""

    short: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": "^.+:[A-Za-z_][A-Za-z0-9_.]*$"}
    per_batch: Importable | None = Field(None, description="a function of columns with the samples on the first axis")
    per_sample: Importable | None = Field(None, description="a function of one sample's columns")
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments given to the function")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"per_batch": value} if isinstance(value, str | Importable) else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.per_batch is None) == (self.per_sample is None):
            raise ValueError("name one function: ./file.py:name (per batch), or {per_sample: ./file.py:name}")
        return self

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        if self.per_batch is not None and not self.options:
            return str(self.per_batch)
        return {name: value for name, value in handler(self).items() if value}

    def build(self) -> "Parser":
        """The parser. Raises ConfigError if the function cannot be imported."""
        function = self.per_batch or self.per_sample
        assert function is not None
        parser = Parser(function, per_sample=self.per_sample is not None, options=self.options)
        parser.check()
        return parser


@dataclass(frozen=True)
class Parser:
    """The user's parser with its checks: what fails is reported with the sample's key. Picklable if ``function`` is."""

    function: Importable | Callable[..., Any]
    per_sample: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return (
            str(self.function)
            if isinstance(self.function, Importable)
            else getattr(self.function, "__qualname__", type(self.function).__name__)
        )

    def check(self) -> None:
        """Raise ConfigError if the function cannot be imported or called."""
        function = self._loaded
        if not callable(function):
            raise ConfigError(f"parser: {self.name} is a {type(function).__name__}, not a function")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_loaded"}

    @cached_property
    def _loaded(self) -> Callable[..., Any]:
        function = self.function.load() if isinstance(self.function, Importable) else self.function
        return partial(function, **self.options) if self.options else function

    def __call__(self, columns: Columns, keys: Int64s, *, out: "Inputs | None" = None) -> "Inputs":
        """The model's inputs for ``columns``, the payloads of ``keys``; they are ``out`` if a per-sample parser's fit into it.

        Raises BadSample, naming the sample's key, if the parser raises or gives something that is no tensor or of the wrong shape.
        """
        function = self._loaded
        if self.per_sample:
            return _parse_each(function, columns, keys, self.name, out)
        try:
            return _parse_rows(function, columns, len(keys))
        except ModynError:
            raise
        except Exception as error:
            raise self._blame(function, columns, keys, error) from error

    def _blame(self, function: Callable[..., Any], columns: Columns, keys: Int64s, error: Exception) -> DataError:
        """The error that names the first sample that fails alone, found by halving; or the stretch, if none does."""
        low, high = 0, len(keys)
        while high - low > 1:
            middle = (low + high) // 2
            if _fails(function, columns, low, middle) is not None:
                high = middle
            elif _fails(function, columns, middle, high) is not None:
                low = middle
            else:
                break
        if high - low == 1 and (alone := _fails(function, columns, low, high)) is not None:
            return BadSample(f"sample {keys[low]}: {_what(self.name, alone, columns)}")
        stretch = f"{high - low} samples, among them {keys[low]} and {keys[high - 1]}"
        return DataError(f"{stretch}: {_what(self.name, error, columns)}")


def _fails(function: Callable[..., Any], columns: Columns, low: int, high: int) -> Exception | None:
    try:
        _parse_rows(function, {name: values[low:high] for name, values in columns.items()}, high - low)
    except Exception as error:
        return error
    return None


class WrongShape(ValueError):
    """What a parser gave is not a tensor, or not one row a sample."""


def _parse_rows(function: Callable[..., Any], columns: Columns, num_rows: int) -> "Inputs":
    from modyn.training.tensors import each, to_tensors

    inputs = to_tensors(function(columns))
    for tensor in each(inputs):
        if tensor.ndim == 0 or tensor.shape[0] != num_rows:
            raise WrongShape(
                f"gave a tensor of shape {list(tensor.shape)} for {counted(num_rows, 'sample')}: the first axis must be the samples"
            )
    return inputs


FIRST, MOST, CACHED_BYTES = 16, 256, 2**20
"""Samples that are stacked together: few at first, then as many as stay in the processor's cache. Not all at once: the garbage collector looks
through everything that is alive again and again (measured on a parser of 4.6 us: 12.6 us a sample for 16,384 at once, 3.9 us for 256)."""


def _parse_each(
    function: Callable[..., Any], columns: Columns, keys: Int64s, name: str, out: "Inputs | None"
) -> "Inputs":
    from modyn.training.tensors import empty_like, layout, nbytes, rows, stack_into

    low, size, first = 0, FIRST, ""
    while low < len(keys):
        high = min(low + size, len(keys))
        part = {column: values[low:high] for column, values in columns.items()}
        parsed = _parse_some(function, part, keys[low:high], name)
        if low == 0:
            first, size = layout(parsed[0]), max(8, min(MOST, CACHED_BYTES // max(1, nbytes(parsed[0]))))
            if out is None or not stack_into(parsed, rows(out, low, high)):
                out = empty_like(parsed[0], len(keys))
        assert out is not None
        if not stack_into(parsed, rows(out, low, high)):
            row = next((r for r, inputs in enumerate(parsed) if layout(inputs) != first), 0)
            raise BadSample(
                f"sample {keys[low + row]}: parser {name} gave {layout(parsed[row])}, but {first} for sample {keys[0]}"
            )
        low = high
    assert out is not None
    return out


def _parse_some(function: Callable[..., Any], columns: Columns, keys: Int64s, name: str) -> "list[Inputs]":
    from modyn.training.tensors import to_tensors

    given: list[Any] = []
    try:
        # The call alone stands in the loop: what is checked of its results is checked of all at once.
        given.extend(function(sample) for sample in _samples(columns))
        return [to_tensors(inputs) for inputs in given] if not _are_tensors(given) else given
    except ModynError:
        raise
    except Exception as error:
        if isinstance(error, WrongShape):
            given = given[: next(row for row, inputs in enumerate(given) if _is_wrong(inputs))]
        raise BadSample(f"sample {keys[len(given)]}: {_what(name, error, columns)}") from error


def _samples(columns: Columns) -> Iterator[dict[str, Any]]:
    """One sample after another, column name to value."""
    if len(columns) == 1:
        ((name, values),) = columns.items()
        return ({name: value} for value in values)
    names = list(columns)
    return (dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _are_tensors(given: list[Any]) -> bool:
    """Whether every result is a tensor, or a tuple of tensors, as ``stack`` takes them."""
    import torch

    kinds = set(map(type, given))
    if kinds == {tuple}:
        kinds = {type(item) for inputs in given for item in inputs}
    return kinds == {torch.Tensor}


def _is_wrong(inputs: Any) -> bool:
    from modyn.training.tensors import to_tensors

    try:
        to_tensors(inputs)
    except WrongShape:
        return True
    return False


def _what(name: str, error: Exception, columns: Columns) -> str:
    """The parser's failure in one line, with the line of user code that raised."""
    hint = ""
    if isinstance(error, KeyError) and error.args and str(error.args[0]) not in columns:
        hint = f": no such column. {did_you_mean(str(error.args[0]), columns)}"
    return f"parser {name} {raised(error, hint)}"


def raised(error: Exception, hint: str = "") -> str:
    """What user code raised, in one line, with the innermost line of the user's: ``raised ValueError: ... (file.py, line 3: ...)``."""
    if isinstance(error, WrongShape):
        return str(error)
    called = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_MODYNS)]
    # A parser may be installed itself; else what it calls of Python's and of packages' is not where to look.
    frames = [f for f in called if not f.filename.startswith(INSTALLED)] or called[:1]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"raised {type(error).__name__}: {' '.join(str(error).split())}{hint}{place}"


def columns_nbytes(columns: Columns) -> int:
    """Bytes of the arrays; those of the payloads where a column holds objects."""
    return sum(
        values.nbytes
        if values.dtype != np.object_
        else sum(len(value) if isinstance(value, str) else memoryview(value).nbytes for value in values)
        for values in columns.values()
    )


def tensor_of(value: Any) -> "Tensor":
    """A tensor from a tensor, a NumPy array or a number; bytes are shared where they may be written to.

    Raises WrongShape if it is none of these.
    """
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic | int | float | bool):
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        if array.dtype == np.object_ or array.dtype.kind in "USMm":
            raise WrongShape(f"gave an array of {array.dtype}, which is no tensor")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    raise WrongShape(f"gave a {type(value).__name__}; a tensor, a tuple of tensors or a dict of tensors is needed")
