"""What makes a class a pluggable policy: its name, options, docs, look-up and messages.

A *role* (``Trigger``, ``Selector``, ...) is declared once, in the ``__init__.py`` of its package. A *policy* is one class in one file
of that package; the file's name is the policy's name (``any_of.py`` is ``any-of``). Its options are its fields, its docs its docstring, its
example a doctest. Policies outside this package are named ``package.module:Class``, ``./file.py:Class``, or by an entry point in
the group named like the role's package (``modyn.triggers``).

In a pipeline a policy is written ``name``, or ``{name: {option: value}}``.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from modyn.errors import ConfigError, NotFound, did_you_mean
from modyn.problems import ROLE_MARK, a, is_plural, told, type_words
from modyn.problems import describe_value as describe_value
from modyn.problems import problems_of as problems_of
from modyn.usercode import Importable as Importable


class Options(BaseModel):
    """A set of options: unknown names are refused, values are checked against their bounds, nothing changes later."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        validate_default=True,
        hide_input_in_errors=True,
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, data: Any) -> Any:
        """Refuse ``true`` where a number is meant; Python would take it for 1."""
        fields = cls.model_fields
        wrong: list[InitErrorDetails] = [
            InitErrorDetails(type=_custom(f"must be a number; got {str(value).lower()}"), loc=(name,), input=value)
            for name, value in (data.items() if isinstance(data, Mapping) else ())
            if isinstance(value, bool) and name in fields and _only_numbers(fields[name].annotation)
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return data

    def __init__(self, /, **options: Any) -> None:
        """Options made in Python, each as a file would write it or as the object itself. Raises ConfigError with all problems."""
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigError(problems_of(error, type(self), prefix=self._path())) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # a document is built without it

    @classmethod
    def _path(cls) -> tuple[str, ...]:
        """Where in a pipeline file the options would stand, for messages."""
        return ()

    short: ClassVar[Mapping[str, Any] | None] = None
    """JSON schema of a shorter way to write these options, where a validator accepts one."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        full = handler(schema)
        return full if cls.short is None else {"anyOf": [dict(cls.short), handler.resolve_ref_schema(full)]}


def _only_numbers(annotation: Any) -> bool:
    """Whether a type admits numbers, and neither truth values nor anything that might take them."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    plain = [get_args(m)[0] if get_origin(m) is Annotated else m for m in members]
    kinds = [get_origin(m) or m for m in plain]
    return any(kind in (int, float) for kind in kinds) and all(kind in (int, float, list, type(None)) for kind in kinds)


def is_role(cls: type["Policy"]) -> bool:
    """Whether the class declares a role, as opposed to being a policy that fills one."""
    return bool(cls.__dict__.get("role"))


class Policy(Options):
    """One pluggable decision of a pipeline. Subclass it with ``role="..."`` to declare a new role."""

    role: ClassVar[str] = ""
    role_class: ClassVar[type["Policy"]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if "role" in cls.__dict__ and cls.role:
            cls.role_class = cls
            _ROLES[cls.role] = cls

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        if not is_role(cls):
            return handler(source)
        return core_schema.with_info_plain_validator_function(
            lambda value, info: _from_document(cls, value, info),
            serialization=core_schema.plain_serializer_function_ser_schema(to_document),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return {ROLE_MARK: cls.role} if is_role(cls) else super().__get_pydantic_json_schema__(schema, handler)

    @classmethod
    def _path(cls) -> tuple[str, ...]:
        return (cls.role, name_of(cls)) if cls.role else ()

    def __str__(self) -> str:
        return describe_value(to_document(self))


_ROLES: dict[str, type[Policy]] = {}
_ROLELESS = ("cli", "reports", "server")
"""Packages that only use policies, and import much."""
P = TypeVar("P", bound=Policy)
M = TypeVar("M", bound=BaseModel)


@cache
def roles() -> Mapping[str, type[Policy]]:
    """Every role of Modyn by its name, found by importing the packages (none of them loads torch)."""
    import modyn

    for module in pkgutil.walk_packages(modyn.__path__, "modyn."):
        if module.ispkg and module.name.split(".")[1] not in _ROLELESS:
            importlib.import_module(module.name)
    return dict(sorted(_ROLES.items()))


def name_of(policy: type[Policy]) -> str:
    """The name by which a pipeline file asks for the policy: its file's name, or ``module:Class`` outside Modyn."""
    module, _, file = policy.__module__.rpartition(".")
    if module == policy.role_class.__module__:
        return file.replace("_", "-")
    origin = getattr(sys.modules.get(policy.__module__), "__modyn_file__", None)
    return f"{origin or policy.__module__}:{policy.__qualname__}"


def _policy_in(role: type[P], module: ModuleType) -> type[P] | None:
    """The one class in the module that fills the role; None if there is none."""
    found = [
        member
        for name, member in vars(module).items()
        if inspect.isclass(member)
        and issubclass(member, role)
        and member.__module__ == module.__name__
        and not name.startswith("_")
    ]
    return found[0] if found else None


def policies(role: type[P]) -> Mapping[str, type[P]]:
    """Every policy that fills a role, by name: those in Modyn's package and those of entry points."""
    package = sys.modules[role.__module__]
    found: dict[str, type[P]] = {}
    for module in pkgutil.iter_modules(package.__path__):
        cls = _policy_in(role, importlib.import_module(f"{package.__name__}.{module.name}"))
        if cls is not None:
            found[module.name.replace("_", "-")] = cls
    for point in importlib.metadata.entry_points(group=package.__name__):
        # One broken package of somebody else's must not take the list away.
        with contextlib.suppress(ConfigError):
            found[point.name] = _from_entry_point(role, point)
    return dict(sorted(found.items()))


def _from_entry_point(role: type[P], point: importlib.metadata.EntryPoint) -> type[P]:
    """The policy behind an entry point. Raises ConfigError if it cannot be imported or does not fill the role."""
    try:
        cls = point.load()
    except Exception as error:
        raise ConfigError(
            f"the {role.role} '{point.name}' of entry point {point.value} fails to import: {error}"
        ) from error
    return _checked(role, cls, f"entry point {point.value}")


def _checked(role: type[P], cls: Any, name: str) -> type[P]:
    if not (inspect.isclass(cls) and issubclass(cls, role)):
        raise ConfigError(f"{name} is not {a(role.role)}: it must be a subclass of modyn's {role.__name__}")
    return cls


def find(role: type[P], name: str, base_dir: Path | None = None) -> type[P]:
    """The policy class of that name.

    Raises NotFound, naming the nearest known name, if there is none; ConfigError if the class does not fill the role.
    """
    if ":" in name:
        return _checked(role, Importable(name, base_dir).load(), name)
    package = role.__module__
    file = name.replace("-", "_")
    if re.fullmatch(r"[a-z][a-z0-9-]*", name) and importlib.util.find_spec(f"{package}.{file}") is not None:
        cls = _policy_in(role, importlib.import_module(f"{package}.{file}"))
        if cls is not None:
            return cls
    for point in importlib.metadata.entry_points(group=package, name=name):
        return _from_entry_point(role, point)
    raise NotFound(
        f"no {role.role} {'are' if is_plural(role.role) else 'is'} named '{name}'. {did_you_mean(name, policies(role))}"
    )


def split(document: Any, what: str) -> tuple[str, dict[str, Any]]:
    """Name and options of ``name`` or ``{name: options}``. Raises ValueError if it is neither."""
    if isinstance(document, str):
        return document, {}
    if isinstance(document, Mapping) and len(document) == 1:
        name, options = next(iter(document.items()))
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, dict(options or {})
    written = "are written as their" if is_plural(what) else "is written as its"
    raise ValueError(f"{a(what)} {written} name, or as {{name: {{option: value}}}}; got {describe_value(document)}")


def build(role: type[P], document: Any, *, base_dir: Path | None = None) -> P:
    """Build a policy from ``name`` or ``{name: {option: value}}``.

    Raises ConfigError with a problem for each thing that is wrong.
    """
    try:
        return _build(role, document, base_dir)
    except ValidationError as error:
        raise ConfigError(problems_of(error, None, prefix=(role.role,))) from None


def _from_document(role: type[P], document: Any, info: ValidationInfo) -> P:
    return _build(role, document, (info.context or {}).get("base_dir"))


def _build(role: type[P], document: Any, base_dir: Path | None) -> P:
    if isinstance(document, role):
        return document
    try:
        name, options = split(document, role.role)
        cls = find(role, name, base_dir)
    except (ValueError, NotFound, ConfigError) as error:
        named = isinstance(document, Mapping) and len(document) == 1
        raise _failure(str(error), (str(next(iter(document))),) if named else (), document) from None
    return validate(cls, options, base_dir=base_dir, prefix=(name,))


def validate(cls: type[M], options: Any, *, base_dir: Path | None, prefix: tuple[str | int, ...] = ()) -> M:
    """Build options from a document, with every problem's path below ``prefix``. Raises pydantic's ValidationError."""
    try:
        return cls.model_validate(options, context={"base_dir": base_dir})
    except ValidationError as error:
        details: list[InitErrorDetails] = [
            InitErrorDetails(type=_custom(message), loc=(*prefix, *loc), input=value)
            for loc, message, value in told(error, cls)
        ]
        raise ValidationError.from_exception_data(cls.__name__, details) from None


def _custom(message: str) -> PydanticCustomError:
    return PydanticCustomError("modyn", "{message}", {"message": message})  # type: ignore[type-arg, unused-ignore]


def _failure(message: str, loc: tuple[str | int, ...], value: Any) -> ValidationError:
    return ValidationError.from_exception_data(
        "policy", [InitErrorDetails(type=_custom(message), loc=loc, input=value)]
    )


def to_document(policy: Policy) -> Any:
    """The policy as a pipeline file writes it, with every option spelt out."""
    options = policy.model_dump(mode="json")
    return {name_of(type(policy)): options} if options else name_of(type(policy))


@dataclass(frozen=True, kw_only=True)
class OptionDoc:
    """One option of a policy, as ``modyn policies`` prints it."""

    name: str
    type: str
    default: str
    description: str


def option_docs(cls: type[BaseModel]) -> list[OptionDoc]:
    """The documented options of a policy, in the order of its fields."""
    schema = cls.model_json_schema()
    properties = next(part["properties"] for part in (schema, *schema.get("anyOf", ())) if "properties" in part)
    docs = []
    for name, field in cls.model_fields.items():
        default = "required" if field.is_required() else _spell_default(cls, name)
        kind = type_words(properties.get(field.alias or name, {}), schema.get("$defs", {}))
        docs.append(OptionDoc(name=name, type=kind, default=default, description=field.description or ""))
    return docs


def _spell_default(cls: type[BaseModel], name: str) -> str:
    default = cls.model_fields[name].get_default(call_default_factory=True, validated_data={})
    if isinstance(default, Options):
        for shorter in (default.short or {}).get("enum", ()):
            if type(default).model_validate(shorter) == default:
                return describe_value(shorter)
    try:
        written = cls.model_construct(**{name: default}).model_dump(
            mode="json", include={name}, warnings=False, exclude_none=default is not None
        )[name]
    except (ValueError, KeyError):
        written = default
    return describe_value(written)


def example_of(cls: type[Policy]) -> str:
    """The doctest in a policy's docstring, dedented; empty if there is none."""
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    starts = [number for number, line in enumerate(lines) if line.lstrip().startswith(">>>")]
    return inspect.cleandoc("\n".join(lines[starts[0] :])) if starts else ""


def prose_of(cls: type[Policy]) -> str:
    """A policy's docstring without its example, dedented."""
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    starts = [number for number, line in enumerate(lines) if line.lstrip().startswith(">>>")]
    return "\n".join(lines[: starts[0]] if starts else lines).strip()


def summary_of(cls: type[BaseModel]) -> str:
    """The first line of the docstring of a policy, or of other options."""
    return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]


def json_schema(cls: type[BaseModel]) -> dict[str, Any]:
    """JSON schema (2020-12) of a set of options, with every policy that can stand in it, for editors."""
    schema = cls.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for role_name, role in roles().items():
        choices: list[Any] = [
            {"enum": list(policies(role))},
            {"type": "string", "pattern": "^.+:[A-Za-z_][A-Za-z0-9_.]*$"},
        ]
        for name, policy in policies(role).items():
            options = policy.model_json_schema()
            definitions.update(options.pop("$defs", {}))
            choices.append(
                {
                    "type": "object",
                    "properties": {name: {"anyOf": [options, {"type": "null"}]}},
                    "required": [name],
                    "additionalProperties": False,
                    "description": summary_of(policy),
                }
            )
        definitions[role_name] = {"anyOf": choices}
    referring = _refer(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **referring}


def _refer(schema: Any) -> Any:
    """The schema with each role's mark turned into a reference to the role's definition."""
    if isinstance(schema, list):
        return [_refer(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _refer(value) for key, value in schema.items() if key != ROLE_MARK}
    if ROLE_MARK in schema:
        found["$ref"] = f"#/$defs/{schema[ROLE_MARK]}"
    return found
