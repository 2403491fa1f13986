"""Devices by name, and how many CPU threads are used."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from modyn.errors import ConfigError, Problem


def find_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU if there is one. Raises ConfigError if there is none of that name."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    available = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}[device.type]
    if not available or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            [Problem(path="training.device", message=f"there is no {name} here; auto takes what there is")]
        )
    return device


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Use so many CPU threads within each tensor operation, and as many as before afterwards; None changes nothing."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
