"""Random state that a training uses without leaving a trace in the process."""

import random as python_random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's, NumPy's and Python's global generators inside the block; outside they are as before."""
    numpy_state, python_state = np.random.get_state(), python_random.getstate()
    devices = list(range(torch.cuda.device_count())) if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        python_random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            python_random.setstate(python_state)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of torch's, NumPy's and Python's global generators."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": np.random.get_state(),
        "python": python_random.getstate(),
    }


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put the global generators into a state of before."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    np.random.set_state(state["numpy"])
    python_random.setstate(state["python"])
