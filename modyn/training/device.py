"""Devices by name, and how many CPU threads are used."""

import os
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


FEW_CORES = 4


def shared_out(number: int | None, device: torch.device) -> tuple[int | None, bool]:
    """CPU threads within each tensor operation (None = as many as torch takes), and whether a core is left for threads that load beside it.

    The threads of an operation wait for each other, so who loads on a core of theirs holds up all of them (measured on 2 cores with a small
    network: 1.9 times the time of a loop that loads nothing). ``number`` is what was asked for; of many cores all but one are taken otherwise.
    """
    cores = len(os.sched_getaffinity(0))
    if device.type != "cpu" or (number or torch.get_num_threads()) < cores:
        return number, True
    if number is None and cores >= FEW_CORES:
        return cores - 1, True
    return number, cores == 1


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
