"""Which features of the samples a trigger looks at, each computed once for a (checkpoint, sample)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
)
from pydantic_core import core_schema

from modyn.errors import ConfigError, ModynError, TrainingError, did_you_mean
from modyn.policy import Importable, describe_value, name_of
from modyn.triggers import Features, Trigger
from modyn.types import Array, Int64s

OF_THE_MODEL = frozenset({"embedding", "loss", "error", "prediction"})
OF_THE_LABEL = frozenset({"label", "loss", "error"})
OF_THE_DATA = frozenset({"raw", "label"})


@dataclass(frozen=True)
class Kind:
    """A kind of feature: a name that ``Features.get`` knows, or a user function of the raw features ``[n, d]`` to ``[n, k]``."""

    name: str
    function: Importable | None = None

    @property
    def needs_checkpoint(self) -> bool:
        return self.name in OF_THE_MODEL

    def compute(self, features: Features, keys: Int64s) -> Array:
        """``[n, d]`` of the keys. Raises TrainingError if a user function fails or gives another number of rows."""
        if self.function is None:
            return _as_rows(features.get(self.name, keys))
        function = self.function.load()
        try:
            found = _as_rows(np.asarray(function(features.get("raw", keys))))
        except Exception as error:
            raise TrainingError(
                f"the trigger's features {self.name} failed: {type(error).__name__}: {error}"
            ) from error
        if len(found) != len(keys):
            raise TrainingError(f"the trigger's features {self.name} gave {len(found)} rows for {len(keys)} samples")
        return found

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, value: Any, base_dir: Path | None = None) -> "Kind":
        """The kind of that name. Raises ValueError if there is none."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError(f"must be the name of a kind of feature; got {describe_value(value)}")
        before, colon, after = value.rpartition(":")
        if value in OF_THE_MODEL | OF_THE_DATA or (value.startswith("column:") and value != "column:"):
            return cls(value)
        if before not in ("", "column") and after:
            return cls(value, Importable(value, base_dir))
        if colon:
            raise ValueError(f"must name something before and after the colon, as column:NAME does; got '{value}'")
        known = sorted(OF_THE_MODEL | OF_THE_DATA)
        raise ValueError(
            f"no kind of feature is named '{value}'. {did_you_mean(value, known)} Others are column:NAME and ./file.py:function."
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def validate(value: Any, info: ValidationInfo) -> "Kind":
            return cls.parse(value, (info.context or {}).get("base_dir"))

        return core_schema.with_info_plain_validator_function(
            validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return {"type": "string", "examples": sorted(OF_THE_MODEL | OF_THE_DATA)}


def _apart(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if not kinds:
        raise ValueError("needs at least one kind of feature")
    names = [kind.name for kind in kinds]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names {name} more than once")
    return kinds


Kinds = Annotated[
    tuple[Kind, ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
    AfterValidator(_apart),
]
"""One kind of feature or a list of them, whose columns stand side by side."""


class KeptFeatures:
    """Features by key, computed for each (checkpoint, sample) once; those of a checkpoint before are forgotten."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self.kinds = kinds
        self._checkpoint: str | None = None
        self._keys: Int64s = np.empty(0, np.int64)
        self._rows: Array = np.empty((0, 0), np.float32)
        self.names: list[str | int] = []
        """What each column of the rows is called, once some were computed: its number in raw features and embeddings that stand alone."""

    @property
    def needs_checkpoint(self) -> bool:
        return any(kind.needs_checkpoint for kind in self.kinds)

    def rows(self, features: Features, *groups: Int64s) -> list[Array]:
        """``[n, d]`` for each group of keys. Only what is new is computed, and only what was asked for is kept."""
        if self.needs_checkpoint and self._checkpoint != features.checkpoint:
            self._keys, self._rows = self._keys[:0], self._rows[:0]
        self._checkpoint = features.checkpoint
        wanted = np.sort(np.concatenate(groups))
        wanted = wanted[np.diff(wanted, prepend=wanted[:1] - 1) > 0]
        places = np.searchsorted(self._keys, wanted)
        kept = self._keys.take(places, mode="clip") == wanted if len(self._keys) else np.zeros(len(wanted), dtype=bool)
        if kept.all():
            rows = self._rows[places]
        else:
            found = self._compute(features, wanted[~kept])
            rows = np.empty((len(wanted), found.shape[1]), np.result_type(found, self._rows))
            rows[~kept], rows[kept] = found, self._rows[places[kept]].reshape(-1, found.shape[1])
        self._settle(wanted, rows)
        return [rows[np.searchsorted(wanted, group)] for group in groups]

    def _settle(self, keys: Int64s, rows: Array) -> None:
        """Keep the rows; those with a label that is not known yet are asked for again."""
        if any(kind.name in OF_THE_LABEL for kind in self.kinds):
            known = np.isfinite(rows).all(axis=1)
            keys, rows = keys[known], rows[known]
        self._keys, self._rows = keys, rows

    def _compute(self, features: Features, keys: Int64s) -> Array:
        columns = [kind.compute(features, keys) for kind in self.kinds]
        if len(keys):
            self.names = _names(self.kinds, [part.shape[1] for part in columns])
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def _names(kinds: tuple[Kind, ...], widths: list[int]) -> list[str | int]:
    """Names of columns that stand side by side.

    >>> _names((Kind("column:wind"), Kind("embedding")), [1, 2])
    ['wind', 'embedding[0]', 'embedding[1]']
    >>> _names((Kind("embedding"),), [2])
    [0, 1]
    """
    if len(kinds) == 1 and (kinds[0].name in ("raw", "embedding") or kinds[0].function is not None):
        return list(range(widths[0]))
    names: list[str | int] = []
    for kind, width in zip(kinds, widths, strict=True):
        name = kind.name.removeprefix("column:")
        names += [name] if width == 1 else [f"{name}[{number}]" for number in range(width)]
    return names


def check_features(trigger: Trigger, features: Features, keys: Int64s) -> None:
    """Compute once what a trigger, and those within it, look at in the data, to see that it is there.

    What looks at the model is left out: before the first round there is none. Raises ConfigError if a column, a file or a function is not there or fails.
    """
    for place, kind in _kinds_in(trigger, "trigger"):
        if kind.needs_checkpoint:
            continue
        try:
            kind.compute(features, keys)
        except ModynError as error:
            raise ConfigError(f"{place}: {error}") from error


def _kinds_in(value: Any, place: str) -> Iterator[tuple[str, Kind]]:
    """The kinds of feature that a policy's options name, at whatever depth, each with its place in the document."""
    if isinstance(value, Kind):
        yield place, value
    elif isinstance(value, BaseModel):
        here = f"{place}.{name_of(type(value))}" if isinstance(value, Trigger) else place
        for name in type(value).model_fields:
            yield from _kinds_in(getattr(value, name), f"{here}.{name}")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _kinds_in(inner, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _kinds_in(inner, f"{place}.{number}" if len(value) > 1 else place)


def bound_features(features: Features | None) -> Features:
    """The features, once bound. Raises ConfigError if the trigger was given none."""
    if features is None:
        raise ConfigError(
            "the trigger needs features of the samples: bind it to some first (modyn.triggers.memory_features)"
        )
    return features


def _as_rows(values: Array) -> Array:
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    return array.reshape(len(array), int(np.prod(array.shape[1:], dtype=int)))
