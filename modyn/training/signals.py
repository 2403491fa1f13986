"""Signals: per-sample quantities of a model, from its outputs, in inference mode. Pure functions of ``Outputs`` and a ``Scorer`` that runs the model.

Nothing here builds a graph through the model, moves anything to the host, or leaves a trace in the model: it runs in evaluation mode, so
batch-norm statistics and dropout are as in prediction.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from modyn.errors import ConfigError, ModynError, TrainingError
from modyn.policy import Importable
from modyn.training.losses import Criterion
from modyn.training.parsing import raised
from modyn.training.step import autocast
from modyn.training.tensors import Inputs, apply, each, nbytes, rows
from modyn.types import Array, Gradients, Signal

Name = str | Importable
Value = Tensor | tuple[Tensor, Tensor | None]
"""A signal of a batch: a tensor ``[n]`` or ``[n, d]``, or a gradient's factors: errors ``[n, outputs]`` and embeddings ``[n, width]``."""


class Outputs:
    """What a signal is computed from: ``outputs[n, ...]`` in float32, ``labels[n]``, and the last layer's input ``embedding[n, width]``.

    ``labels`` and ``embedding`` raise TrainingError where there are none.
    """

    def __init__(
        self, outputs: Tensor | None, labels: Tensor | None, embedding: Tensor | None, criterion: Criterion
    ) -> None:
        self._outputs, self._labels, self._embedding = outputs, labels, embedding
        self.criterion = criterion

    @property
    def outputs(self) -> Tensor:
        """The model's outputs (logits, values)."""
        assert self._outputs is not None
        return self._outputs

    @property
    def labels(self) -> Tensor:
        """The labels, as the loss is told."""
        if self._labels is None:
            raise TrainingError("the dataset has no labels, and this signal compares the model's outputs with labels")
        return self._labels

    @property
    def embedding(self) -> Tensor:
        """The last linear layer's input."""
        if self._embedding is None:
            raise TrainingError(
                "the model has no linear layer that takes one vector a sample, so there is no embedding to select by; "
                "choose another signal"
            )
        return self._embedding

    @property
    def embedding_or_none(self) -> Tensor | None:
        """The last linear layer's input, if there is one."""
        return self._embedding

    @cached_property
    def probabilities(self) -> Tensor:
        """``[n, classes]``, or ``[n, labels]`` for several labels at once. Raises TrainingError for regression."""
        if self.criterion.task == "regression":
            raise TrainingError("uncertainty is read from class probabilities, and a regression model has none")
        return self.criterion.predictions(self.outputs)

    @cached_property
    def is_multi_label(self) -> bool:
        """Whether each column of ``probabilities`` is a yes or no of its own."""
        return self.criterion.task == "multi-label" and self.outputs.ndim > 1 and self.outputs.shape[1] > 1

    @cached_property
    def errors(self) -> Tensor:
        """``[n, outputs]``: the gradient of each sample's loss with respect to the outputs."""
        flat, labels = self.outputs, self.labels
        if (
            self.criterion.is_plain_cross_entropy
            and labels.ndim == 1
            and not labels.is_floating_point()
            and flat.ndim == 2
        ):
            return functional.softmax(flat, dim=1).scatter_add(
                1, labels.long().unsqueeze(1), flat.new_full((len(flat), 1), -1)
            )
        with torch.inference_mode(False), torch.enable_grad():
            leaf = flat.clone().requires_grad_()
            self.criterion.per_sample(leaf, labels.clone()).sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        return leaf.grad.flatten(1) if leaf.grad.ndim > 1 else leaf.grad.unsqueeze(1)


def loss(of: Outputs) -> Tensor:
    """``[n]``: the pipeline's loss."""
    return of.criterion.per_sample(of.outputs, of.labels)


def gradient_norm(of: Outputs) -> Tensor:
    """``[n]``: length of the loss's gradient with respect to the outputs."""
    return _lengths(of.errors)


def gradient(of: Outputs) -> tuple[Tensor, Tensor | None]:
    """The last layer's gradient in factors: ``errors[n, outputs]`` and ``embeddings[n, width]`` (None if there is no such layer)."""
    return of.errors, of.embedding_or_none


def entropy(of: Outputs) -> Tensor:
    """``[n]``: entropy of the prediction in nats; of several labels, the sum of each one's."""
    p = of.probabilities
    found: Tensor = torch.special.entr(p)
    return (found + torch.special.entr(1 - p)).sum(1) if of.is_multi_label else found.sum(1)


def margin(of: Outputs) -> Tensor:
    """``[n]``: probability of the first class minus that of the second; of several labels, the least of ``|2 p - 1|``."""
    p = of.probabilities
    if of.is_multi_label:
        return (2 * p - 1).abs().amin(1)
    if p.shape[1] == 1:
        return torch.ones_like(p[:, 0])
    if p.shape[1] == 2:
        return (p[:, 0] - p[:, 1]).abs()
    first, second = p.topk(2, dim=1).values.unbind(1)
    return first - second


def least_confidence(of: Outputs) -> Tensor:
    """``[n]``: 1 minus the likeliest class's probability; of several labels, the most of any."""
    p = of.probabilities
    return torch.minimum(p, 1 - p).amax(1) if of.is_multi_label else 1 - p.amax(1)


def embedding(of: Outputs) -> Tensor:
    """``[n, width]``: the last linear layer's input."""
    return of.embedding


def el2n(of: Outputs) -> Tensor:
    """``[n]``: distance of prediction and label: probabilities and one-hot label, or values."""
    if of.criterion.task != "classification":
        wanted = of.criterion.labels_for(of.outputs, of.labels).to(of.outputs.dtype)
        given = of.outputs.sigmoid() if of.criterion.task == "multi-label" else of.outputs
        gaps = given - wanted.view(given.shape)
        return _lengths(gaps)
    p, labels = of.probabilities, of.labels
    hot = labels if labels.is_floating_point() and labels.ndim == 2 else functional.one_hot(labels.long(), p.shape[1])
    return _lengths(p - hot.to(p.dtype))


def _lengths(rows: Tensor) -> Tensor:
    found: Tensor = rows.abs() if rows.ndim == 1 else rows.flatten(1).norm(dim=1)
    return found


FUNCTIONS: Mapping[str, Callable[[Outputs], Value]] = {
    "loss": loss,
    "gradient-norm": gradient_norm,
    "gradient": gradient,
    "entropy": entropy,
    "margin": margin,
    "least-confidence": least_confidence,
    "embedding": embedding,
    "el2n": el2n,
}
"""Every signal that takes a pass, by name."""
OF_PREDICTION = frozenset({"entropy", "margin", "least-confidence", "embedding"})
"""Signals that need no label."""
OF_EMBEDDING = frozenset({"embedding"})
"""Signals for which the pass stops at the embedding."""
WITH_EMBEDDING = frozenset({"embedding", "gradient"})
PIECE_BYTES = 2**18
"""Of inputs that are scored at once on a CPU: 256 images of 28 x 28 in pieces of 64 take 0.93 of the time that they take at once."""


class Scorer:
    """Runs a model over batches and gives signals. The model is left as it was found; ``precision`` may be lower than training's."""

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        names: Sequence[Name],
        *,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        self.model, self.criterion, self.device, self.precision = model, criterion, device, precision
        self.functions = {str(name): _function(name) for name in names}
        self._modules = list(model.modules())
        self._is_plain = all(type(module).train is nn.Module.train for module in self._modules)
        self._has_own = any(name not in FUNCTIONS for name in self.functions)
        self._probe = LastLayer(model) if self._has_own or WITH_EMBEDDING & set(self.functions) else None
        self._stops_early = set(self.functions) <= OF_EMBEDDING

    def __call__(self, inputs: Inputs, labels: Tensor | None) -> dict[str, Value]:
        """The signals of a batch on the model's device. Raises TrainingError if one cannot be computed."""
        with torch.inference_mode(), evaluating(self.model, self._modules, is_plain=self._is_plain):
            parts = [self._values(*part) for part in self._pieces(inputs, labels)]
            return parts[0] if len(parts) == 1 else {name: _rejoined([p[name] for p in parts]) for name in parts[0]}

    def _pieces(self, inputs: Inputs, labels: Tensor | None) -> Iterator[tuple[Inputs, Tensor | None]]:
        """The batch; on a CPU in pieces of one size whose layers' outputs stay in the cache."""
        number = -(-nbytes(inputs) // PIECE_BYTES) if self.device.type == "cpu" and not self._has_own else 1
        if number <= 1:
            yield inputs, labels
            return
        num_rows = len(next(each(inputs)))
        size = max(1, -(-num_rows // number))
        for start in range(0, num_rows, size):
            end = start + size
            yield rows(inputs, start, end), None if labels is None else labels[start:end]

    def _values(self, inputs: Inputs, labels: Tensor | None) -> dict[str, Value]:
        of = self._run(inputs, labels)
        found = {name: function(of) for name, function in self.functions.items()}
        for name, value in found.items():
            _check(name, value)
        return found

    def _run(self, inputs: Inputs, labels: Tensor | None) -> Outputs:
        with autocast(self.precision, self.device):
            if self._probe is None:
                return Outputs(apply(self.model, inputs).float(), labels, None, self.criterion)
            outputs, embedded = self._probe.run(inputs, stop=self._stops_early)
        return Outputs(
            None if outputs is None else outputs.float(),
            labels,
            None if embedded is None else embedded.float(),
            self.criterion,
        )


def _function(name: Name) -> Callable[[Outputs], Value]:
    if isinstance(name, str):
        return FUNCTIONS[name]
    loaded = name.load()
    if not callable(loaded):
        raise ConfigError(f"signal {name} is a {type(loaded).__name__}, not a function of the model's outputs")

    def own(of: Outputs) -> Value:
        try:
            found: Value = loaded(of)
        except ModynError:
            raise
        except Exception as error:
            raise TrainingError(f"signal {name} {raised(error)}") from error
        if not isinstance(found, Tensor) or found.ndim not in (1, 2) or len(found) != len(of.outputs):
            got = f"shape {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise TrainingError(f"signal {name} gave {got} for {len(of.outputs)} samples; [n] or [n, d] is needed")
        return found

    return own


def _check(name: str, value: Value) -> None:
    if isinstance(value, Tensor) and value.ndim == 0:
        raise TrainingError(f"signal {name} gave one number for the whole batch; one for each sample is needed")


class _Enough(Exception):
    """The forward pass has come to the embedding."""


class LastLayer:
    """Finds a model's last linear layer by running it, and gives that layer's input."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layer: nn.Linear | None = None
        self._looked = False

    def run(self, inputs: Inputs, *, stop: bool) -> tuple[Tensor | None, Tensor | None]:
        """The model's outputs (None if the pass was stopped at the embedding), and the embedding (None if there is none)."""
        first_time = not self._looked
        if first_time:
            self._look(inputs)
        if self.layer is None:
            return apply(self.model, inputs), None
        caught: list[Tensor] = []

        def catch(_: nn.Module, given: tuple[Any, ...]) -> None:
            caught.append(given[0])
            if stop:
                raise _Enough

        hook = self.layer.register_forward_pre_hook(catch)
        try:
            outputs = apply(self.model, inputs)
        except _Enough:
            outputs = None
        finally:
            hook.remove()
        return outputs, caught[-1]

    def _look(self, inputs: Inputs) -> None:
        """Run once and keep the linear layer that was called last, with one vector a sample."""
        called: list[nn.Linear] = []

        def note(layer: nn.Module, given: tuple[Any, ...]) -> None:
            assert isinstance(layer, nn.Linear)
            called.append(layer)
            widths.append(given[0].ndim)

        widths: list[int] = []
        hooks = [m.register_forward_pre_hook(note) for m in self.model.modules() if isinstance(m, nn.Linear)]
        try:
            apply(self.model, inputs)
        finally:
            for hook in hooks:
                hook.remove()
        self._looked = True
        if called and widths[-1] == 2 and called.count(called[-1]) == 1:
            self.layer = called[-1]


@contextmanager
def evaluating(model: nn.Module, modules: Sequence[nn.Module], *, is_plain: bool) -> Iterator[None]:
    """The model in evaluation mode, and each of its ``modules`` back in its own afterwards.

    ``is_plain`` says that none of them has a ``train`` of its own; then the modes are set in a tenth of the time.
    """
    training = [module for module in modules if module.training]
    if is_plain:
        for module in training:
            module.__dict__["training"] = False
    else:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.__dict__["training"] = True


def to_arrays(parts: Sequence[Mapping[str, Value]]) -> dict[str, Signal]:
    """Signals of consecutive batches as arrays on the host, float32."""
    return {name: _joined([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _rejoined(values: Sequence[Value]) -> Value:
    """The values of a batch's pieces as those of the batch."""
    if isinstance(values[0], Tensor):
        return torch.cat([value for value in values if isinstance(value, Tensor)])
    factors = [value for value in values if isinstance(value, tuple)]
    embeddings = [second for _, second in factors if second is not None]
    return torch.cat([first for first, _ in factors]), torch.cat(embeddings) if embeddings else None


def _joined(values: Sequence[Value]) -> Signal:
    if isinstance(values[0], Tensor):
        return _array([value for value in values if isinstance(value, Tensor)])
    factors = [value for value in values if isinstance(value, tuple)]
    embeddings = [second for _, second in factors if second is not None]
    return Gradients(_array([first for first, _ in factors]), _array(embeddings) if embeddings else None)


def _array(tensors: Sequence[Tensor]) -> Array:
    return np.concatenate([tensor.float().cpu().numpy() for tensor in tensors])
