"""The full state of a training in one safetensors file: tensors as tensors, everything else as JSON in its header.

A file is replaced as a whole and names what it belongs to, so that a training goes on only from its own state.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from modyn.errors import Damaged, TrainingError
from modyn.training.options import Training
from modyn.types import Selection
from modyn.workspace import write_durably

_FORMAT = "modyn-training-state-2"


def save(path: Path, state: Mapping[str, Any], *, belongs_to: str) -> None:
    """Write a state, durably and at once. Raises TrainingError if it holds something that cannot be kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, to_bytes(state, belongs_to=belongs_to))


def to_bytes(state: Mapping[str, Any], *, belongs_to: str = "") -> bytes:
    """A state as the content of a file. Raises TrainingError if it holds something that cannot be kept."""
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_packed(dict(state), tensors), allow_nan=False)
    metadata = {"format": _FORMAT, "belongs_to": belongs_to, "state": plain}
    content: bytes = safetensors.torch.save(tensors, metadata)
    return content


def from_bytes(content: bytes) -> dict[str, Any]:
    """The state of which ``to_bytes`` made this."""
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    state: dict[str, Any] = _unpacked(json.loads(metadata["state"]), safetensors.torch.load(content))
    return state


def load(path: Path, *, belongs_to: str) -> dict[str, Any] | None:
    """The state in a file; None if there is no file, or it belongs to another training. Raises Damaged if it is unreadable."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT or metadata.get("belongs_to") != belongs_to:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state: dict[str, Any] = _unpacked(json.loads(metadata["state"]), tensors)
        return state
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise Damaged(f"{path} is no training state: {error}") from None


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON, with tensors and arrays moved out."""
    if isinstance(value, np.ndarray):
        return {"~array": _packed(torch.from_numpy(_storable(value)), tensors), "dtype": str(value.dtype)}
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"~tensor": name}
    if isinstance(value, Counter):
        return {"~counter": [[k, v] for k, v in value.items()]}
    if isinstance(value, dict):
        return {"~dict": [[_packed(k, tensors), _packed(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return {"~tuple" if isinstance(value, tuple) else "~list": [_packed(item, tensors) for item in value]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"~float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TrainingError(f"training.checkpoint: a {type(value).__name__} in the state of training cannot be kept")


def _storable(array: Any) -> Any:
    return np.ascontiguousarray(array).view({4: np.int32, 8: np.int64}[array.dtype.itemsize])


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "~array":
        return _unpacked(content, tensors).numpy().view(np.dtype(value["dtype"]))
    if kind == "~tensor":
        return tensors[content]
    if kind == "~counter":
        return Counter(dict(content))
    if kind == "~dict":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in content}
    if kind == "~float":
        return float(content)
    items = [_unpacked(item, tensors) for item in content]
    return tuple(items) if kind == "~tuple" else items


_BESIDES = {"workers", "checkpoint", "hooks", "writers", "cache", "compile", "devices"}
"""Options that do not decide what a training gives."""


def digest(
    options: Training,
    seed: int,
    round: int,  # noqa: A002
    selection: Selection,
    start: Mapping[str, Tensor] | None,
) -> str:
    """What a training's state belongs to: options, seed, round, selection, and the weights it started from."""
    document = options.model_dump(mode="json", exclude=_BESIDES)
    found = hashlib.sha256(json.dumps([document, seed, round], sort_keys=True, default=str).encode())
    found.update(np.ascontiguousarray(selection.keys).tobytes())
    found.update(b"" if selection.weights is None else np.ascontiguousarray(selection.weights).tobytes())
    for name, value in sorted((start or {}).items()):
        found.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
