"""A model's inputs: a tensor, a tuple of tensors (positional) or a dict of tensors (keywords), and what is done to all alike."""

import itertools
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modyn.training.parsing import tensor_of

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


def to_tensors(value: Any) -> Inputs:
    """Inputs from what a parser gave. Raises WrongShape if it is neither tensors nor arrays."""
    if isinstance(value, Mapping):
        return {str(name): tensor_of(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(tensor_of(item) for item in value)
    return tensor_of(value)


def each(inputs: Inputs) -> Iterator[Tensor]:
    """Every tensor of the inputs."""
    if isinstance(inputs, Tensor):
        yield inputs
    else:
        yield from inputs.values() if isinstance(inputs, dict) else inputs


Structure = None | int | tuple[str, ...]
"""How inputs are built of tensors: None = one tensor, a number of positional ones, or their names."""


def structure_of(inputs: Inputs) -> Structure:
    """The structure that ``assembled`` needs besides the tensors of ``each``."""
    if isinstance(inputs, Tensor):
        return None
    return tuple(inputs) if isinstance(inputs, dict) else len(inputs)


def assembled(structure: Structure, tensors: Sequence[Tensor]) -> Inputs:
    """Inputs of a structure from its tensors."""
    if structure is None:
        return tensors[0]
    return tuple(tensors) if isinstance(structure, int) else dict(zip(structure, tensors, strict=True))


@dataclass(frozen=True)
class Layout:
    """How inputs of up to ``capacity`` samples lie in a stretch of bytes: one array after another."""

    structure: Structure
    dtypes: tuple[torch.dtype, ...]
    shapes: tuple[tuple[int, ...], ...]
    capacity: int

    @classmethod
    def of(cls, example: Inputs, capacity: int) -> "Layout":
        tensors = list(each(example))
        shapes = tuple(tuple(t.shape[1:]) for t in tensors)
        return cls(structure_of(example), tuple(t.dtype for t in tensors), shapes, capacity)

    def _offsets(self) -> list[int]:
        sizes = [
            -(-self.capacity * dtype.itemsize * _product(shape) // 64) * 64
            for dtype, shape in zip(self.dtypes, self.shapes, strict=True)
        ]
        return [0, *itertools.accumulate(sizes)]

    @property
    def nbytes(self) -> int:
        return max(64, self._offsets()[-1])

    def tensors(self, slab: mmap.mmap, num_rows: int) -> list[Tensor]:
        """The first ``num_rows`` samples of each tensor, as views of the slab."""
        return [
            torch.frombuffer(slab, dtype=dtype, count=num_rows * _product(shape), offset=offset).view(num_rows, *shape)
            if num_rows * _product(shape)
            else torch.empty((num_rows, *shape), dtype=dtype)
            for dtype, shape, offset in zip(self.dtypes, self.shapes, self._offsets(), strict=False)
        ]

    @property
    def widths(self) -> list[int]:
        """Bytes of a sample in each tensor."""
        return [dtype.itemsize * _product(shape) for dtype, shape in zip(self.dtypes, self.shapes, strict=True)]

    def to_document(self) -> dict[str, Any]:
        """As JSON takes it."""
        structure = list(self.structure) if isinstance(self.structure, tuple) else self.structure
        dtypes = [str(dtype).removeprefix("torch.") for dtype in self.dtypes]
        return {"structure": structure, "dtypes": dtypes, "shapes": self.shapes, "capacity": self.capacity}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Layout":
        """The layout that ``to_document`` wrote."""
        structure = document["structure"]
        return cls(
            tuple(structure) if isinstance(structure, list) else structure,
            tuple(getattr(torch, name) for name in document["dtypes"]),
            tuple(tuple(shape) for shape in document["shapes"]),
            document["capacity"],
        )

    def same(self, inputs: Inputs) -> bool:
        """Whether samples of these inputs are laid out like this."""
        return Layout.of(inputs, self.capacity) == self


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def mapped(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """The inputs with ``function`` applied to every tensor."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(function(tensor) for tensor in inputs)


def rows(inputs: Inputs, start: int, end: int) -> Inputs:
    """The samples ``[start, end)``, as views."""
    if isinstance(inputs, Tensor):
        return inputs[start:end]
    return mapped(lambda tensor: tensor[start:end], inputs)


def stack(samples: Sequence[Inputs]) -> Inputs:
    """One sample's inputs after another, with the samples on a new first axis."""
    return _joined(samples, torch.stack)


def empty_like(sample: Inputs, num_rows: int) -> Inputs:
    """Memory for so many samples laid out like one."""
    return mapped(lambda tensor: torch.empty((num_rows, *tensor.shape), dtype=tensor.dtype), sample)


def stack_into(samples: Sequence[Inputs], out: Inputs) -> bool:
    """Stack samples into memory that is there; False if one of them is not laid out like it."""
    columns = _columns(samples, out)
    if columns is None:
        return False
    places = list(each(out))
    for place, column in zip(places, columns, strict=True):
        if {tensor.dtype for tensor in column} != {place.dtype} or column[0].shape != place.shape[1:]:
            return False
    try:
        with torch.no_grad():
            for place, column in zip(places, columns, strict=True):
                torch.stack(column, out=place)
    except RuntimeError:  # of another shape
        return False
    return True


def _columns(samples: Sequence[Inputs], like: Inputs) -> Sequence[list[Tensor]] | None:
    """The tensors of samples, one column for each tensor of ``like``; None if a sample is built otherwise."""
    if isinstance(like, Tensor):
        return [samples] if all(isinstance(sample, Tensor) for sample in samples) else None  # type: ignore[list-item]
    if isinstance(like, dict):
        if any(not isinstance(sample, dict) or sample.keys() != like.keys() for sample in samples):
            return None
        return [[sample[name] for sample in samples] for name in like]  # type: ignore[call-overload, index]
    if any(not isinstance(sample, tuple) or len(sample) != len(like) for sample in samples):
        return None
    return [list(column) for column in zip(*samples, strict=True)]


def concatenate(parts: Sequence[Inputs]) -> Inputs:
    """Stretches of samples joined on the first axis."""
    return _joined(parts, torch.cat)


def _joined(parts: Sequence[Inputs], join: Callable[[list[Tensor]], Tensor]) -> Inputs:
    first = parts[0]
    if isinstance(first, Tensor):
        return join([_tensor(part) for part in parts])
    if isinstance(first, dict):
        if any(not isinstance(part, dict) or part.keys() != first.keys() for part in parts):
            raise TypeError("not the same names")
        return {name: join([part[name] for part in parts]) for name in first}  # type: ignore[call-overload, index]
    if any(not isinstance(part, tuple) or len(part) != len(first) for part in parts):
        raise TypeError("not as many tensors")
    return tuple(join(list(column)) for column in zip(*parts, strict=True))


def _tensor(inputs: Inputs) -> Tensor:
    if not isinstance(inputs, Tensor):
        raise TypeError("not a tensor")
    return inputs


def nbytes(inputs: Inputs) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for tensor in each(inputs))


def layout(inputs: Inputs) -> str:
    """Types and shapes in words, such as ``float32[512, 20]``."""
    if isinstance(inputs, Tensor):
        return f"{str(inputs.dtype).removeprefix('torch.')}{list(inputs.shape)}"
    if isinstance(inputs, dict):
        return "{" + ", ".join(f"{name}: {layout(tensor)}" for name, tensor in inputs.items()) + "}"
    return "(" + ", ".join(layout(tensor) for tensor in inputs) + ")"


def apply(model: nn.Module | Callable[..., Any], inputs: Inputs) -> Any:
    """What the model gives for its inputs."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)
