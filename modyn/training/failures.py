"""What went wrong in a training step, in words: shapes and types that do not fit, memory that ran out, a loss that is no number."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from modyn.errors import ModynError, TrainingError
from modyn.training.tensors import Inputs, apply, each, layout

MOST_TOLD = 300
"""Letters of what a library says."""


def explain(error: Exception, model: nn.Module, inputs: Inputs, *, where: str) -> ModynError:
    """The error to raise for ``error``, which came up in a step on ``inputs`` at ``where`` (round, epoch, step)."""
    if isinstance(error, ModynError):
        return type(error)(f"{where}: {error}") if type(error) is TrainingError else error
    text = str(error).strip().splitlines()[0][:MOST_TOLD] if str(error).strip() else ""
    if out_of_memory(error):
        return TrainingError(
            f"{where}: out of memory for {layout(inputs)}: make batch_size smaller (accumulate keeps the step the same). {text}"
        )
    reason = _unused(str(error), model) or _misfit(error, text, model, inputs)
    return TrainingError(f"{where}: {reason or f'{type(error).__name__}: {text}'}")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or in the process."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error))
    )


@contextmanager
def memory_told(where: str) -> Iterator[None]:
    """Raise TrainingError in place of the library's error where memory runs out before or between steps."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ModynError) or not out_of_memory(error):
            raise
        line = str(error).strip().splitlines()[:1]
        raise TrainingError(
            " ".join([f"{where}: out of memory for the model, or what is kept beside it.", *line])
        ) from error


def _misfit(error: Exception, text: str, model: nn.Module, inputs: Inputs) -> str | None:
    """How inputs and model do not fit, if that is what the error says."""
    name = getattr(model, "modyn_name", type(model).__name__)
    if isinstance(error, TypeError) and "forward()" in text:
        return f"the parser gives {layout(inputs)}, which {name} does not take: {text}"
    place, module, given = _failing_layer(model, inputs)
    if module is None or given is None:
        return None
    layer = f"layer '{place}' ({type(module).__name__})" if place else f"{type(module).__name__}"
    first = any(given.data_ptr() == tensor.data_ptr() for tensor in each(inputs))
    weight = getattr(module, "weight", None)
    if _is_about_types(text, given, weight) and isinstance(weight, Tensor):
        giver = "the parser" if first else name
        return (
            f"{giver} gives {_kind(given)} to {layer}, which computes in {_kind(weight)}: convert the parser's tensors"
        )
    if re.search(r"mat1 and mat2|size mismatch", text) and isinstance(module, nn.Linear):
        width = given.shape[-1]
        if first:
            return f"the parser gives {width} features, {name} expects {module.in_features}"
        return f"{name}: {layer} is given {width} features and expects {module.in_features}"
    if "more than 1 value per channel" in text:
        return f"{name}: {layer} needs more than one sample, and the last batch has one: set drop_last, or another batch_size"
    return f"{name}: {layer} was given {layout(given)}: {text}"


def _unused(text: str, model: nn.Module) -> str | None:
    """Which parameters several devices cannot add up over, if that is what torch says."""
    found = re.search(r"Parameter indices which did not receive grad for rank \d+: ([\d ]+)", text)
    if found is None:
        return None
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    unused = ", ".join(names[int(number)] for number in found[1].split()[:4])
    return (
        f"training.devices: the loss does not depend on {unused}; several devices add up the gradients of all parameters: "
        f"use them, or set requires_grad = False"
    )


def _is_about_types(text: str, given: Tensor, weight: object) -> bool:
    if not isinstance(weight, Tensor) or given.dtype == weight.dtype:
        return False
    return bool(re.search(r"dtype|mat1 and mat2|[Ee]xpected.*(Float|Double|Half|Long|Int|Byte)|same type", text))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _failing_layer(model: nn.Module, inputs: Inputs) -> tuple[str, nn.Module | None, Tensor | None]:
    """Name, module and first input of the innermost module that was entered last when the model fails on ``inputs``."""
    entered: list[tuple[str, nn.Module, Tensor | None]] = []
    handles = []
    for path, module in model.named_modules():

        def note(mod: nn.Module, args: tuple[object, ...], path: str = path) -> None:
            entered.append((path, mod, next((a for a in args if isinstance(a, Tensor)), None)))

        handles.append(module.register_forward_pre_hook(note))
    try:
        with torch.no_grad():
            apply(model, inputs)
    except Exception:
        return entered[-1] if entered else ("", None, None)
    finally:
        for handle in handles:
            handle.remove()
    return "", None, None
