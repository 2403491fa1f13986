"""Optimisers and schedulers by name, over groups of a model's parameters chosen by name patterns; linear warm-up."""

import fnmatch
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from modyn.errors import ConfigError, Problem, TrainingError
from modyn.problems import describe_value
from modyn.training.losses import check_names, construct, look_up
from modyn.training.options import Named, Training

Parameters = dict[str, nn.Parameter]


def build_optimizers(options: Training, model: nn.Module) -> list[Optimizer]:
    """The optimisers; every trainable parameter belongs to exactly one: the first that names it, else the one that names none.

    Raises ConfigError if a parameter is left without one or a pattern matches none.
    """
    specs = options.optimizer if isinstance(options.optimizer, list) else [options.optimizer]
    left: Parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not left:
        raise ConfigError([Problem(path="model", message="has no trainable parameters")])
    shares: list[Parameters] = [{} for _ in specs]
    for naming in (True, False):
        for number, spec in enumerate(specs):
            patterns = spec.options.get("modules")
            if (patterns is not None) == naming:
                shares[number] = _take(left, patterns, f"training.optimizer.{spec.name}.modules")
    if left:
        raise ConfigError(
            [
                Problem(
                    path="training.optimizer",
                    message=f"no optimizer takes {_some(left)}: leave modules out of one of them",
                )
            ]
        )
    sparse = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.sparse}
    return [_build_optimizer(spec, share, sparse) for spec, share in zip(specs, shares, strict=True)]


def _take(left: Parameters, patterns: Any, path: str) -> Parameters:
    """Remove and give the parameters that match; all if there are no patterns."""
    if patterns is None:
        taken = dict(left)
    else:
        taken = {}
        listed = [patterns] if isinstance(patterns, str) else patterns
        if not isinstance(listed, list) or not all(isinstance(pattern, str) for pattern in listed):
            message = f"must be names of modules or parameters, or patterns; got {describe_value(patterns)}"
            raise ConfigError([Problem(path=path, message=message)])
        for pattern in listed:
            matching = {name: p for name, p in left.items() if _matches(name, pattern)}
            if not matching:
                raise ConfigError([Problem(path=path, message=f"'{pattern}' matches none of {_some(left)}")])
            taken |= matching
    for name in taken:
        del left[name]
    return taken


def _matches(name: str, pattern: str) -> bool:
    """Whether a parameter's name matches: the name of a module stands for all within it."""
    return name == pattern or name.startswith(f"{pattern}.") or fnmatch.fnmatchcase(name, pattern)


def _some(parameters: Mapping[str, Any]) -> str:
    names = list(parameters)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _build_optimizer(spec: Named, parameters: Parameters, sparse: set[int]) -> Optimizer:
    path = f"training.optimizer.{spec.name}"
    cls = (
        spec.importable.load()
        if spec.importable
        else look_up(torch.optim, spec.name, dropped="", kind=Optimizer, what="optimizer")
    )
    if cls is torch.optim.LBFGS:
        raise ConfigError(
            [Problem(path=path, message="evaluates the loss several times a step, which is not supported")]
        )
    options = {name: value for name, value in spec.options.items() if name not in ("modules", "groups")}
    options = _plain(options)
    if not {"fused", "foreach", "capturable", "differentiable"} & set(options) and _can_fuse(cls, parameters, sparse):
        options["fused"] = True
    left, groups = dict(parameters), []
    for pattern, own in _groups_of(spec, path).items():
        check_names(cls, own, given=1, path=f"{path}.groups.{pattern}")
        groups.append({"params": list(_take(left, [pattern], f"{path}.groups").values()), **_plain(own)})
    if left:
        groups.append({"params": list(left.values())})
    if not groups:
        raise ConfigError([Problem(path=path, message="has no parameters: other optimizers name them all")])
    optimizer: Optimizer = construct(cls, options, groups, path=path)
    return optimizer


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as torch takes them: betas are a tuple."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _groups_of(spec: Named, path: str) -> Mapping[str, Mapping[str, Any]]:
    groups = spec.options.get("groups") or {}
    if not isinstance(groups, Mapping) or not all(isinstance(own, Mapping) for own in groups.values()):
        message = f"must be {{name pattern: {{option: value}}}}; got {describe_value(groups)}"
        raise ConfigError([Problem(path=f"{path}.groups", message=message)])
    return groups


def _can_fuse(cls: Any, parameters: Parameters, sparse: set[int]) -> bool:
    """Whether torch has one kernel for the whole step: a step of an MLP then costs a third."""
    return (
        "fused" in inspect.signature(cls).parameters
        and all(
            p.device.type in ("cpu", "cuda") and p.is_floating_point() and id(p) not in sparse
            for p in parameters.values()
        )
        and cls is not torch.optim.Adagrad
    )


class Schedule:
    """The learning rates of one optimiser: a linear warm-up, then torch's scheduler."""

    def __init__(
        self, optimizer: Optimizer, spec: Named | None, *, num_steps: int, num_epochs: int, warmup_steps: int
    ) -> None:
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.steps = 0
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self.per = "step"
        self._scheduler: Any = None
        self._name = "" if spec is None else spec.name
        if spec is not None:
            numbers = {"num_steps": max(1, num_steps - warmup_steps), "num_epochs": num_epochs}
            self._scheduler, self.per = _build_scheduler(spec, optimizer, numbers)
            self._peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self._warm_up()

    def after_step(self) -> None:
        """To be called after each optimiser step."""
        self.steps += 1
        if self.steps <= self.warmup_steps:
            self._warm_up()
        elif self._scheduler is not None and self.per == "step":
            self._go_on()

    def after_epoch(self, loss: float) -> None:
        """To be called after each epoch, with its mean loss (for ``reduce-on-plateau``)."""
        if self._scheduler is None or self.per != "epoch" or self.steps < self.warmup_steps:
            return
        if isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            self._scheduler.step(loss)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """The next learning rate. One of so many steps keeps its last one afterwards: a selection made anew may be larger than the first."""
        if self._scheduler.last_epoch + 1 < getattr(self._scheduler, "total_steps", math.inf):
            try:
                self._scheduler.step()
            except (TypeError, ValueError, ArithmeticError) as error:
                raise TrainingError(f"training.scheduler.{self._name}: {type(error).__name__}: {error}") from error

    def _warm_up(self) -> None:
        """Before step s of w, counted from 0, the rate is (s + 1) / w of its peak; after the last it is the peak."""
        if self.warmup_steps and self.steps <= self.warmup_steps:
            share = min(1.0, (self.steps + 1) / self.warmup_steps)
            for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = peak * share

    def state_dict(self) -> dict[str, Any]:
        scheduler = None if self._scheduler is None else self._scheduler.state_dict()
        return {"steps": self.steps, "peaks": self._peaks, "scheduler": scheduler}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self._peaks = state["steps"], list(state["peaks"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])


def build_schedules(
    options: Training, optimizers: Sequence[Optimizer], *, num_steps: int, num_epochs: int
) -> list[Schedule]:
    """One schedule for each optimiser. Raises ConfigError if there are not as many schedulers as optimisers."""
    warmup = options.warmup if options.warmup >= 1 else options.warmup * num_steps
    specs = options.scheduler if isinstance(options.scheduler, list) else [options.scheduler] * len(optimizers)
    if len(specs) != len(optimizers):
        message = f"has {len(specs)} schedulers for {len(optimizers)} optimizers: give one, or one for each"
        raise ConfigError([Problem(path="training.scheduler", message=message)])
    return [
        Schedule(optimizer, spec, num_steps=num_steps, num_epochs=num_epochs, warmup_steps=round(warmup))
        for optimizer, spec in zip(optimizers, specs, strict=True)
    ]


LENGTHS = ("T_max", "total_steps", "total_iters")
"""Options of torch's schedulers that mean the whole training: num_steps or num_epochs if not given."""


def _build_scheduler(spec: Named, optimizer: Optimizer, numbers: Mapping[str, int]) -> tuple[Any, str]:
    path = f"training.scheduler.{spec.name}"
    cls = (
        spec.importable.load()
        if spec.importable
        else look_up(lr_scheduler, spec.name, dropped="LR", kind=lr_scheduler.LRScheduler, what="scheduler")
    )
    plateau = inspect.isclass(cls) and issubclass(cls, lr_scheduler.ReduceLROnPlateau)
    per = spec.options.get("per", "epoch" if plateau else "step")
    if per not in ("step", "epoch") or (plateau and per == "step"):
        allowed = "epoch" if plateau else "step or epoch"
        raise ConfigError([Problem(path=f"{path}.per", message=f"must be {allowed}; got '{per}'")])
    options = {n: _number(v, numbers, f"{path}.{n}") for n, v in spec.options.items() if n != "per"}
    parameters = inspect.signature(cls).parameters
    if "epochs" not in options or "steps_per_epoch" not in options:
        for name in LENGTHS:
            if name in parameters and name not in options and not (name == "total_steps" and "epochs" in options):
                options[name] = numbers["num_steps" if per == "step" else "num_epochs"] + (name == "total_steps")
    return construct(cls, options, optimizer, path=path), per


def _number(value: Any, numbers: Mapping[str, int], path: str) -> Any:
    """A value with ``num_steps``, ``num_epochs`` or a multiple such as ``0.3 * num_steps`` replaced by the number."""
    if isinstance(value, list):
        return [_number(item, numbers, path) for item in value]
    if not isinstance(value, str) or "num_" not in value:
        return value
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)\s*\*\s*)?(num_steps|num_epochs)", value.strip())
    if found is None:
        message = f"must be a number, num_steps, num_epochs, or a multiple such as '0.3 * num_steps'; got '{value}'"
        raise ConfigError([Problem(path=path, message=message)])
    return numbers[found[2]] if found[1] is None else max(1, round(float(found[1]) * numbers[found[2]]))
