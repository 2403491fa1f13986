"""From payloads to a model's inputs: parser, transforms, augmentation."""

import inspect
import random as python_random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from modyn.errors import BadSample, DataError, ModynError
from modyn.training.losses import construct, with_options
from modyn.training.options import AugmentSpec, Named, Training
from modyn.training.order import sample_seeds
from modyn.training.parsing import Parser, raised
from modyn.training.tensors import Inputs, concatenate, each, layout, rows, stack, to_tensors
from modyn.types import Columns, Int64s

Transform = Callable[[Any], Any]


@dataclass(frozen=True)
class Recipe:
    """What is done to payloads. ``parse`` is the same in every epoch, ``augment`` is not."""

    parser: Parser
    transforms: tuple[Transform, ...] = ()
    augment: AugmentSpec | None = None
    seed: int = 0

    @classmethod
    def of(cls, options: Training, parser: Parser, seed: int) -> "Recipe":
        """The recipe of a pipeline. Raises ConfigError if a transform cannot be made."""
        return cls(parser, load_transforms(options.transforms), options.augment, seed)

    @property
    def is_per_sample(self) -> bool:
        """Whether samples go one by one through Python, or need Python's global generators: a thread gains nothing then."""
        return self.parser.per_sample or (self.augment is not None and self.augment.per_sample is not None)

    def __call__(
        self,
        columns: Columns,
        keys: Int64s,
        *,
        round: int,  # noqa: A002
        epoch: int,
        out: Inputs | None = None,
    ) -> Inputs:
        """The inputs of ``keys`` in an epoch of training; they are ``out`` where they can be written into it at once."""
        parsed = self.parse(columns, keys, out=out if self.augment is None else None)
        return self.augmented(parsed, keys, round=round, epoch=epoch)

    def parse(self, columns: Columns, keys: Int64s, *, out: Inputs | None = None) -> Inputs:
        """The inputs of ``keys`` as prediction sees them; they are ``out`` where they can be written into it at once."""
        inputs = self.parser(columns, keys, out=None if self.transforms else out)
        for transform in self.transforms:
            inputs = _checked(transform, inputs, len(keys))
        return inputs

    def augmented(self, inputs: Inputs, keys: Int64s, *, round: int, epoch: int) -> Inputs:  # noqa: A002
        """The inputs after augmentation: a pure function of (seed, round, epoch, key)."""
        if self.augment is None:
            return inputs
        seeds = sample_seeds(self.seed, round, epoch, keys)
        if self.augment.per_batch is not None:
            function = self.augment.per_batch.load()
            return _checked(lambda given: function(given, torch.from_numpy(seeds)), inputs, len(keys), function)
        assert self.augment.per_sample is not None
        return _augment_each(self.augment.per_sample.load(), inputs, seeds, keys)


def load_transforms(specs: Sequence[Named]) -> tuple[Transform, ...]:
    """Functions by name; a class is constructed with the options, a function is given them as keywords."""
    transforms: list[Transform] = []
    for spec in specs:
        assert spec.importable is not None
        made = spec.importable.load()
        if inspect.isclass(made):
            made = construct(made, spec.options, path=f"training.transforms.{spec.name}")
        else:
            made = with_options(made, spec.options, given=1, path=f"training.transforms.{spec.name}")
        transforms.append(made)
    return tuple(transforms)


def _checked(transform: Transform, inputs: Inputs, num_rows: int, named: Any = None) -> Inputs:
    name = _name_of(named or transform)
    try:
        changed = to_tensors(transform(inputs))
    except ModynError:
        raise
    except Exception as error:
        raise DataError(f"{name} {raised(error)}") from error
    if any(tensor.ndim == 0 or len(tensor) != num_rows for tensor in each(changed)):
        raise DataError(f"{name} must give as many rows as it is given: {num_rows}")
    return changed


def _name_of(function: Any) -> str:
    named = function.func if isinstance(function, partial) else function
    return getattr(named, "__qualname__", type(named).__name__)


def _augment_each(function: Callable[[Any], Any], inputs: Inputs, seeds: Int64s, keys: Int64s) -> Inputs:
    """Each sample's inputs changed, one by one. Raises BadSample naming the key at which the function raises, or gives another shape."""
    changed: list[Inputs] = []
    parts: list[Inputs] = []
    first = ""
    with _global_generators_kept():
        for row, seed in enumerate(seeds.tolist()):
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed & 0xFFFFFFFF)
            python_random.seed(seed)
            sample = rows(inputs, row, row + 1)
            alone = next(iter(each(sample)))[0] if isinstance(sample, torch.Tensor) else _first(sample)
            try:
                changed.append(to_tensors(function(alone)))
            except ModynError:
                raise
            except Exception as error:
                raise BadSample(f"sample {keys[row]}: augmentation {_name_of(function)} {raised(error)}") from error
            kind = layout(changed[-1])
            if (first := first or kind) != kind:
                raise BadSample(
                    f"sample {keys[row]}: augmentation {_name_of(function)} gave {kind}, but {first} for sample {keys[0]}"
                )
            if len(changed) == 256:
                parts.append(stack(changed))
                changed = []
    return concatenate([*parts, stack(changed)] if changed else parts)


def _first(inputs: Inputs) -> Any:
    if isinstance(inputs, dict):
        return {name: tensor[0] for name, tensor in inputs.items()}
    return tuple(tensor[0] for tensor in inputs)


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    states = torch.default_generator.get_state(), np.random.get_state(), python_random.getstate()
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        np.random.set_state(states[1])
        python_random.setstate(states[2])
