"""How a pipeline names its model: a reference network, or any importable class or function that gives one.

``mlp``, ``{mlp: {inputs: 20, outputs: 2}}``, ``{./net.py:Net: {width: 64}}``, ``{package.module:Net: {...}}``.
Importing this module does not load torch.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import core_schema

from modyn.errors import ConfigError, MissingExtra, ModynError, NotFound, Problem, did_you_mean
from modyn.models.nets import Net
from modyn.policy import Importable, describe_value, find, split, to_document, validate

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec:
    """A model by name and options; ``build`` gives a new one. Picklable.

    >>> spec = ModelSpec.parse({"mlp": {"inputs": 20, "outputs": 2}})
    >>> spec.name
    'mlp'
    """

    name: str
    net: Net | None = None
    imported: Importable | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: Any, base_dir: Any = None) -> Self:
        """A model from ``name`` or ``{name: {option: value}}``.

        Raises ValueError or pydantic's ValidationError saying what is wrong.
        """
        name, options = split(document, "model")
        if ":" in name:
            return cls(name, imported=Importable(name, base_dir), options=options)
        try:
            net = find(Net, name)
        except NotFound as error:
            raise ValueError(f"{error} A model of your own is written ./file.py:Name or package.module:Name.") from None
        return cls(name, net=validate(net, options, base_dir=base_dir, prefix=(name,)))

    def build(self) -> "nn.Module":
        """A new model; its weights come from torch's global generator, which the trainer seeds.

        A scikit-learn style estimator (``fit`` and ``predict``) is given back as it is. Raises ConfigError if the model cannot
        be built with these options.
        """
        model: Any = self._build_net(self.net) if self.net is not None else self._build_imported()
        model.modyn_name = self.name
        built: nn.Module = model
        return built

    def _build_net(self, net: Net) -> Any:
        try:
            return net.build()
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, ModynError) or (isinstance(error, RuntimeError) and "memory" not in str(error)):
                raise
            raise self._wrong(f"does not fit into memory: {' '.join(str(error).split())}") from error

    def _build_imported(self) -> Any:
        assert self.imported is not None
        make = self.imported.load()
        if not callable(make):
            raise self._wrong(f"'{self.name}' is {describe_value(make)}, neither a class nor a function")
        _check_options(make, self.options, self.name)
        try:
            model = make(**self.options)
        except MissingExtra:
            raise
        except Exception as error:
            raise self._wrong(f"building it failed: {type(error).__name__}: {error}") from error
        if not (hasattr(model, "state_dict") or (hasattr(model, "fit") and hasattr(model, "predict"))):
            raise self._wrong(
                f"gave a {type(model).__name__}; a torch.nn.Module or a scikit-learn style estimator is needed"
            )
        return model

    def _wrong(self, message: str) -> ConfigError:
        return ConfigError([Problem(path=f"model.{self.name}", message=message)])

    def to_document(self) -> Any:
        """The model as a pipeline file writes it."""
        if self.net is not None:
            return to_document(self.net)
        return {self.name: dict(self.options)} if self.options else self.name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(cls.to_document)
        )

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Self:
        return value if isinstance(value, cls) else cls.parse(value, (info.context or {}).get("base_dir"))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        own = {"type": "object", "minProperties": 1, "maxProperties": 1, "patternProperties": {"^.+:.+$": {}}}
        return {"anyOf": [{"x-modyn-role": Net.role}, {**own, "additionalProperties": False}]}


def _check_options(make: Any, options: Mapping[str, Any], name: str) -> None:
    """Raise ConfigError for each option that a class or function does not take, or needs and lacks."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return
    named = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    problems = [
        Problem(path=f"model.{name}.{o}", message=f"no option is named '{o}' here. {did_you_mean(o, named)}")
        for o in options
        if o not in named and not takes_any
    ]
    problems += [
        Problem(path=f"model.{name}.{n}", message="is required but missing")
        for n in named
        if parameters[n].default is inspect.Parameter.empty and n not in options
    ]
    if problems:
        raise ConfigError(problems)
