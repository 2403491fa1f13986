"""The ``training`` section of a pipeline file. Importing this module does not load torch.

Optimisers, schedulers and losses are torch's, by their names in torch written like ``adamw``, ``cosine-annealing`` or
``cross-entropy``, or importable ones; their options are torch's. Names are looked up when a trainer is made.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from modyn.config import Duration
from modyn.policy import Importable, Options, describe_value, split


@dataclass(frozen=True)
class Named:
    """Something with options, by name: ``adamw`` or ``{adamw: {lr: 0.001}}``, or an importable ``./file.py:Name``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    base_dir: Any = None

    @property
    def importable(self) -> Importable | None:
        """What the name imports, if it names something importable."""
        return Importable(self.name, self.base_dir) if ":" in self.name else None

    def to_document(self) -> Any:
        """As a pipeline file writes it."""
        return {self.name: dict(self.options)} if self.options else self.name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(cls.to_document)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return {"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1}]}

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Self:
        if isinstance(value, cls):
            return value
        return cls(*split(value, "function or class"), (info.context or {}).get("base_dir"))


class Shuffle(Options):
    """A shuffle that reads cold storage in stretches."""

    window: PositiveInt = Field(
        description="size in samples of the stretches: their order is shuffled, and each within"
    )


class Clip(Options):
    """Gradient clipping; with both, values are clipped first."""

    short: ClassVar[Mapping[str, Any]] = {"type": "number", "exclusiveMinimum": 0}
    norm: PositiveFloat | None = Field(None, description="largest 2-norm of all gradients together")
    value: PositiveFloat | None = Field(None, description="largest absolute value of each gradient's entries")

    @model_validator(mode="before")
    @classmethod
    def _norm(cls, value: Any) -> Any:
        return {"norm": value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.norm is None and self.value is None:
            raise ValueError("takes norm, value or both")
        return self


class AugmentSpec(Options):
    """How a pipeline names its augmentation: ``./f.py:flip`` (per batch), or ``{per_sample: ./f.py:crop}``.

    A batch function is called with (inputs, seeds[n]), a seed for each sample; a per-sample function with one sample's inputs, while
    torch's, NumPy's and Python's global generators are seeded for that sample. It is applied in training only.
    """

    per_batch: Importable | None = Field(
        None, description="a function of (inputs, seeds) with the samples on the first axis"
    )
    per_sample: Importable | None = Field(None, description="a function of one sample's inputs, with seeded generators")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"per_batch": value} if isinstance(value, str | Importable) else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.per_batch is None) == (self.per_sample is None):
            raise ValueError("name one function: ./file.py:name (per batch), or {per_sample: ./file.py:name}")
        return self


class Ema(Options):
    """Moving averages of the weights, which are what the round gives."""

    decay: float = Field(0.999, gt=0, lt=1, description="share of the average that each step keeps")


class EarlyStopping(Options):
    """Stop once the loss on held-out samples no longer falls; the best epoch's weights are what the round gives."""

    share: float = Field(0.1, gt=0, lt=1, description="share of the selection that is held out, not trained on")
    patience: PositiveInt = Field(2, description="epochs in a row without a lower loss before training stops")
    min_delta: float = Field(0.0, ge=0, description="by how much a loss must be lower to count")


class Saving(Options):
    """Keep the full state of a training, so that a killed one goes on at the step."""

    steps: PositiveInt | None = Field(None, description="after every so many optimiser steps")
    time: Duration | None = Field(None, description="whenever so much time has passed, such as 30s")

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.steps is None and self.time is None:
            raise ValueError("takes steps, time or both")
        return self


class Training(Options):
    """How a round's model is trained."""

    start: str = Field("scratch", description="where weights come from: scratch, latest, pretrained, or checkpoint:ID")
    epochs: PositiveInt | list[PositiveInt] = Field(
        1, description="passes over the selection; a list gives it per round, its last item for all later ones"
    )
    samples: PositiveInt | list[PositiveInt] | None = Field(
        None, description="samples to train on in a round instead of whole epochs; a list gives it per round"
    )
    batch_size: PositiveInt = Field(64, description="samples in an optimiser step (times accumulate)")
    accumulate: PositiveInt = Field(1, description="batches whose gradients are added up before an optimiser step")
    shuffle: bool | Shuffle = Field(True, description="true, false, or {window: samples} for cold storage")
    drop_last: bool = Field(False, description="leave out an epoch's last batch if it is not full")
    seed: int | None = Field(None, ge=0, description="seed of weights, order and dropout (null = the pipeline's)")
    workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="processes that parse; 0 = the training process itself; null = a background thread for a batch parser "
        "(the training process where tensor operations take all of fewer than 4 cores), and for a per-sample parser one process less than there "
        "are cores. Results do not depend on it",
    )
    optimizer: Named | list[Named] = Field(
        Named("adamw"),
        description="torch optimiser by name with its options; modules: [name pattern] limits it to parameters, "
        "groups: {name pattern: {option: value}} gives some of them options of their own; a list gives several",
    )
    scheduler: Named | list[Named] | None = Field(
        None,
        description="torch scheduler by name with its options; per: step or epoch (default step); "
        "values may be num_steps, num_epochs or '0.3 * num_steps'; a list gives one for each optimiser",
    )
    warmup: int | float = Field(
        0, ge=0, description="optimiser steps (or, below 1, share of them) in which learning rates rise linearly"
    )
    loss: Named = Field(
        Named("cross-entropy"),
        description="torch loss by name (cross-entropy, bce-with-logits, mse, l1, huber, ...) or an importable "
        "function of (outputs, labels) that gives one loss a sample",
    )
    clip: Clip | None = Field(None, description="gradient clipping: {norm: 1.0}, {value: 0.5}, or a number for norm")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="number format of the forward pass; weights stay fp32, fp16 scales the loss"
    )
    threads: PositiveInt | None = Field(
        None,
        description="CPU threads within a tensor operation (null = as many as torch takes, of 4 cores or more all but one); "
        "1 is most robust on a busy machine",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps")
    label_transform: Importable | None = Field(
        None,
        description="a function of a batch's labels (array) that gives what the loss is told, and what predictions are scored against "
        "if it has the same shape",
    )

    transforms: list[Named] = Field(
        default_factory=list,
        description="functions or classes applied to parsed inputs in this order, such as {package.module:Normalize: {...}}",
    )
    augment: AugmentSpec | None = Field(
        None, description="a function applied to training inputs anew in each epoch, given a seed for each sample"
    )
    cache: Literal["none", "memory", "disk"] = Field(
        "none",
        description="keep parsed and transformed inputs, so that a sample is parsed once: memory (for all runs of a process, one cache at "
        "a time) or disk (in the workspace, for all runs)",
    )
    ema: Ema | None = Field(None, description="moving average of the weights: {decay: 0.999}")
    early_stopping: EarlyStopping | None = Field(
        None, description="stop by the loss on a held-out share: {share: 0.1, patience: 2}"
    )
    hooks: list[Named] = Field(
        default_factory=list,
        description="functions or classes that are shown training and change nothing; every: n shows each n-th step, "
        "default each epoch's end",
    )
    writers: list[Literal["tensorboard", "mlflow"]] = Field(
        default_factory=list,
        description="where losses, speeds and scores are shown as well: tensorboard, mlflow (extras)",
    )
    checkpoint: Saving | None = Field(
        None, description="keep the full state of a training: {steps: n} or {time: 30s}; a killed one goes on there"
    )
    compile: bool | Literal["default", "reduce-overhead", "max-autotune"] = Field(
        False, description="compile the model with torch.compile, in a mode if one is named"
    )
    devices: PositiveInt = Field(1, le=256, description="devices (on a CPU: processes) that share each batch")
    pretrained: Path | None = Field(
        None, description="safetensors file with the weights that start: pretrained loads; null = what the model brings"
    )

    @field_validator("pretrained")
    @classmethod
    def _beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        base_dir = (info.context or {}).get("base_dir")
        return value if value is None or base_dir is None else Path(base_dir) / value

    @model_validator(mode="after")
    def _importable(self) -> Self:
        for spec in [*self.transforms, *self.hooks]:
            if spec.importable is None:
                raise ValueError(f"'{spec.name}' must be 'package.module:name' or './file.py:name'")
        return self

    @model_validator(mode="after")
    def _loaded(self) -> Self:
        if self.pretrained is not None and self.start != "pretrained":
            raise ValueError(f"pretrained weights are loaded with start: pretrained only; start is {self.start}")
        return self

    @field_validator("start")
    @classmethod
    def _known_start(cls, value: str) -> str:
        if value not in ("scratch", "latest", "pretrained") and not re.fullmatch(r"checkpoint:.+", value):
            raise ValueError(f"must be scratch, latest, pretrained or checkpoint:ID; got {describe_value(value)}")
        return value

    @field_validator("epochs", "samples")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if value == []:
            raise ValueError("a list needs at least one number")
        return value

    @property
    def shuffle_window(self) -> int | None:
        """As ``order.epoch_order`` takes it: 0 = no shuffle, None = of everything, else the stretch's size."""
        return self.shuffle.window if isinstance(self.shuffle, Shuffle) else (None if self.shuffle else 0)

    def epochs_of(self, round: int) -> int:  # noqa: A002
        """Number of epochs in a round."""
        return _of_round(self.epochs, round)

    def samples_of(self, round: int) -> int | None:  # noqa: A002
        """Number of samples to train on in a round, None if epochs count."""
        return None if self.samples is None else _of_round(self.samples, round)


def _of_round(value: int | list[int], number: int) -> int:
    return value[min(number, len(value) - 1)] if isinstance(value, list) else value
