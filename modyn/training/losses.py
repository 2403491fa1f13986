"""Losses by name: one loss a sample, the labels as each loss wants them, and the weighted mean ``sum(w_i l_i) / sum(w_i)``."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modyn.errors import ConfigError, Problem, TrainingError, counted, did_you_mean
from modyn.training.options import Named
from modyn.types import UNKNOWN_LABEL, Int64s

Task = Literal["classification", "multi-label", "regression"]
Build = Callable[..., Any]


def flat(name: str) -> str:
    """A name without case, hyphens and underscores: ``cross-entropy`` and ``CrossEntropy`` are the same."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def look_up(module: Any, name: str, *, dropped: str, kind: type, what: str) -> Any:
    """The class of a torch module by a name such as ``cosine-annealing`` for ``CosineAnnealingLR``.

    Raises ConfigError with the nearest name.
    """
    classes = {n: c for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, kind) and n[0] != "_"}
    known = {n: c for n, c in classes.items() if c is not kind and re.search(dropped, n)}
    short = {n: _without(n, dropped) for n in known}
    by_flat = {flat(short[n]): c for n, c in known.items()} | {flat(n): c for n, c in known.items()}
    if (found := by_flat.get(flat(name))) is not None:
        return found
    names = [_spelt(short[n]) for n in known]
    article = "an" if what[0] in "aeiou" else "a"
    raise ConfigError(
        [
            Problem(
                path=f"training.{what}",
                message=f"torch has no {what} named '{name}'. {did_you_mean(name, names)} "
                f"{article.capitalize()} {what} of your own is written ./file.py:Name.",
            )
        ]
    )


def _without(name: str, dropped: str) -> str:
    """A class name without the part that says what all of its kind are, such as Loss or LR."""
    return re.sub(dropped, "", name) or name if dropped else name


def _spelt(name: str) -> str:
    """A class name as a pipeline writes it: ``CosineAnnealing`` is ``cosine-annealing``, ``BCEWithLogits`` is ``bce-with-logits``."""
    if re.fullmatch(r"[A-Z][a-z]?[A-Z]+[a-z]?|[A-Z]+[0-9]*|[A-Z][a-z]*[A-Z]|[A-Z]?[A-Z][a-z]+|RMSprop", name):
        return name.lower()
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def construct(make: Build, options: Mapping[str, Any], *args: Any, path: str, **fixed: Any) -> Any:
    """``make(*args, **options, **fixed)``, with a ConfigError that names the option at ``path`` if it does not take one."""
    check_names(make, options, given=len(args), path=path)
    try:
        return make(*args, **options, **fixed)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError([Problem(path=path, message=f"{type(error).__name__}: {error}")]) from error


def with_options(function: Build, options: Mapping[str, Any], *, given: int, path: str) -> Build:
    """A function with options as keywords; a ConfigError names one it does not take beside the ``given`` first arguments."""
    if not options:
        return function
    check_names(function, options, given=given, path=path)
    return partial(function, **options)


def check_names(make: Build, options: Mapping[str, Any], *, given: int, path: str) -> None:
    """Raise ConfigError, with the nearest name, for each option that a function does not take beside its ``given`` first arguments."""
    names = _option_names(make, given)
    unknown = [] if names is None else [name for name in options if name not in names]
    if names is not None and unknown:
        told = {
            n: f"no option is named '{n}' here. {did_you_mean(n, names) if names else 'It takes none.'}"
            for n in unknown
        }
        raise ConfigError([Problem(path=f"{path}.{n}", message=message) for n, message in told.items()])


def _option_names(make: Build, given: int) -> list[str] | None:
    """The names that a function takes beside its ``given`` first arguments; None if any, or if it does not say, as one written in C."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    first = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:given]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in first]


OF_CLASSES = ("crossentropy", "nll", "multimargin")
"""Losses of torch whose labels are numbers of classes."""
OF_SHARES = ("bcewithlogits", "bce", "multilabelsoftmargin")
"""Losses of torch whose labels are 0, 1 or between."""


class Criterion:
    """A loss: ``per_sample`` gives one a sample, a call their weighted mean."""

    def __init__(self, spec: Named) -> None:
        self.name = spec.name
        path = f"training.loss.{spec.name}"
        if spec.importable is not None:
            loaded = spec.importable.load()
            self._function = _own(loaded, spec.options, path)
            self._kind = getattr(loaded, "task", "")
        else:
            cls = look_up(nn, spec.name, dropped="Loss$", kind=nn.Module, what="loss")
            if "reduction" in spec.options:
                message = "is not chosen here: Modyn takes each sample's loss, and their weighted mean"
                raise ConfigError([Problem(path=f"{path}.reduction", message=message)])
            options = {name: _as_torch(name, value) for name, value in spec.options.items()}
            self._function = construct(cls, options, path=path, reduction="none")
            self._kind = flat(cls.__name__).removesuffix("loss")
        self._num_classes: int | None = None
        self._plain_mean = (
            type(self._function)(**spec.options)
            if isinstance(self._function, nn.CrossEntropyLoss | nn.MSELoss | nn.L1Loss | nn.BCEWithLogitsLoss)
            and not {"weight", "pos_weight", "ignore_index"} & set(spec.options)
            else None
        )

    @property
    def task(self) -> Task:
        """What the loss teaches: classes, several labels at once, or values."""
        if self._kind in (*OF_CLASSES, "classification"):
            return "classification"
        return "multi-label" if self._kind in (*OF_SHARES, "multi-label") else "regression"

    @property
    def is_plain_cross_entropy(self) -> bool:
        """Whether the gradient at the outputs is softmax minus one-hot: no class weights, no smoothing, nothing ignored."""
        return isinstance(self._plain_mean, nn.CrossEntropyLoss) and self._plain_mean.label_smoothing == 0

    def to(self, device: torch.device) -> "Criterion":
        """Move the loss's own tensors (class weights) to a device."""
        if isinstance(self._function, nn.Module):
            self._function.to(device)
        return self

    def per_sample(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """``losses[n]`` of ``outputs[n, ...]``; further axes are averaged."""
        losses: Tensor = self._function(outputs, self.labels_for(outputs, labels))
        if not isinstance(losses, Tensor) or losses.ndim == 0 or len(losses) != len(outputs):
            got = f"shape {list(losses.shape)}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
            raise TrainingError(f"loss {self.name} gave {got} for {len(outputs)} samples; one loss a sample is needed")
        return losses.flatten(1).mean(1) if losses.ndim > 1 else losses

    def __call__(self, outputs: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        """``sum(w_i l_i) / sum(w_i)``; the mean if ``weights`` is None; 0 if all weights are."""
        if weights is None:
            if self._plain_mean is not None:
                loss: Tensor = self._plain_mean(outputs, self.labels_for(outputs, labels))
                return loss
            return self.per_sample(outputs, labels).mean()
        losses = self.per_sample(outputs, labels)
        return (weights * losses).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)

    def total(self, outputs: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        """``sum(w_i l_i)``."""
        return weighted_sum(self.per_sample(outputs, labels), weights)

    def labels_for(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The labels in the type and shape that the loss compares with ``outputs``."""
        if self._kind in OF_CLASSES:
            return (
                labels.to(outputs.dtype)
                if labels.is_floating_point() and labels.ndim == outputs.ndim
                else labels.long()
            )
        if self._kind in ("", "classification", "multi-label"):
            return labels
        labels = labels.to(outputs.dtype)
        return (
            labels.view(outputs.shape)
            if labels.shape != outputs.shape and labels.numel() == outputs.numel()
            else labels
        )

    def check(self, outputs: Tensor, labels: Tensor | None, keys: Int64s) -> None:
        """Raise TrainingError if ``outputs`` and ``labels`` do not fit each other; costs a synchronisation on a GPU."""
        if labels is None:
            raise TrainingError("the dataset has no labels, and every loss compares the model's outputs with labels")
        if not isinstance(outputs, Tensor):
            raise TrainingError(f"the model gave a {type(outputs).__name__}; a tensor is needed")
        if outputs.ndim == 0 or len(outputs) != len(labels):
            raise TrainingError(f"the model gave shape {list(outputs.shape)} for {counted(len(labels), 'sample')}")
        if self._kind in OF_CLASSES:
            if outputs.ndim < 2:
                shape = list(outputs.shape)
                raise TrainingError(f"loss {self.name}: the model gives shape {shape}; one output a class is needed")
            self._num_classes = outputs.shape[1]
            self.check_labels(labels, keys)
        elif self._kind not in ("", "classification", "multi-label") and labels.numel() != outputs.numel():
            raise TrainingError(
                f"loss {self.name}: the model gives {list(outputs.shape)}, the labels are {list(labels.shape)}; "
                f"as many outputs as labels are needed"
            )

    def check_labels(self, labels: Tensor | None, keys: Int64s) -> None:
        """Raise TrainingError, naming the key, at the first label that the loss cannot use: no class of the model seen by ``check``, say."""
        if labels is None or not labels.numel() or self._kind in ("", "classification", "multi-label"):
            return
        if self._kind in OF_CLASSES:
            self._check_classes(labels, keys)
        else:
            self._check_values(labels, keys)

    def _check_classes(self, labels: Tensor, keys: Int64s) -> None:
        if self._num_classes is None or (labels.is_floating_point() and labels.ndim > 1):
            return
        if labels.is_floating_point():
            kind = str(labels.dtype).removeprefix("torch.")
            raise TrainingError(
                f"loss {self.name} learns classes, but the labels are {kind}: numbers call for mse, l1 or huber; "
                f"classes are whole numbers from 0"
            )
        if int(labels.min()) >= 0 and int(labels.max()) < self._num_classes:
            return
        wrong = (labels < 0) | (labels >= self._num_classes)
        if (ignored := getattr(self._function, "ignore_index", None)) is not None:
            wrong &= labels != ignored
        if bool(wrong.any()):
            key, value = keys[_first_row(wrong)], int(labels[wrong][0])
            if value == UNKNOWN_LABEL:
                raise _unlabelled(key)
            raise TrainingError(
                f"sample {key}: label {value} is not a class of the model, which has {counted(self._num_classes, 'output')}: "
                f"labels go from 0 to {self._num_classes - 1}"
            )

    def _check_values(self, labels: Tensor, keys: Int64s) -> None:
        low, high = float(labels.min()), float(labels.max())  # NaN if one is
        if low == UNKNOWN_LABEL and not labels.is_floating_point():
            raise _unlabelled(keys[_first_row(labels == UNKNOWN_LABEL)])
        if self._kind in OF_SHARES and not (low >= 0 and high <= 1):
            wrong = ~((labels >= 0) & (labels <= 1))
            told = f"label {labels[wrong][0].item():g} is not 0, 1 or between, as loss {self.name} needs it"
            raise TrainingError(f"sample {keys[_first_row(wrong)]}: {told}")
        if math.isnan(low):
            raise TrainingError(
                f"sample {keys[_first_row(labels.isnan())]}: its label is not a number: it has none yet, or a wrong one"
            )

    def predictions(self, outputs: Tensor) -> Tensor:
        """``[n, classes]`` probabilities for classification, ``[n, labels]`` for several labels, else ``[n, outputs]`` values.

        A single logit gives two columns, 1 - p and p.
        """
        outputs = outputs.float()
        if self._kind == "nll":
            return outputs.exp()
        if self.task == "classification":
            return outputs.softmax(1)
        outputs = outputs.unsqueeze(1) if outputs.ndim == 1 else outputs
        if self.task == "regression":
            return outputs
        shares = outputs if self._kind == "bce" else outputs.sigmoid()
        return torch.cat([1 - shares, shares], 1) if shares.shape[1] == 1 else shares


def _as_torch(name: str, value: Any) -> Any:
    """An option of a torch loss: lists are tensors, and so is what classes weigh."""
    if name in ("weight", "pos_weight") and isinstance(value, list | int | float):
        return torch.tensor(value, dtype=torch.float32)
    return torch.tensor(value) if isinstance(value, list) else value


def _own(loaded: Any, options: Mapping[str, Any], path: str) -> Callable[..., Any]:
    """A loss of the user's: a class is constructed with the options, a function is given them as keywords."""
    if inspect.isclass(loaded):
        found: Callable[..., Any] = construct(loaded, options, path=path)
        return found
    if not callable(loaded):
        message = f"is a {type(loaded).__name__}, not a function of (outputs, labels)"
        raise ConfigError([Problem(path=path, message=message)])
    return with_options(loaded, options, given=2, path=path)


def _unlabelled(key: int) -> TrainingError:
    return TrainingError(f"sample {key}: it has no label yet, and nothing can be learnt from it")


def _first_row(wrong: Tensor) -> int:
    """The first sample for which any entry is true."""
    return int(wrong.flatten(1).any(1).int().argmax()) if wrong.ndim > 1 else int(wrong.int().argmax())


def weighted_sum(losses: Tensor, weights: Tensor | None) -> Tensor:
    """``sum(w_i l_i)``; the plain sum if ``weights`` is None."""
    return losses.sum() if weights is None else (weights * losses).sum()
