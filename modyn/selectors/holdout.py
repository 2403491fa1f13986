"""The irreducible loss: which samples its models are trained on, and whose losses each of them gives."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from modyn.selectors.reservoir import hashed
from modyn.types import Array, Float32s, Holdout, Int64s

SALT = 0x401D
LEAST_SAMPLES, LEAST_STEPS = 400, 100
"""Measured on Fashion-MNIST with a fifth of the labels wrong: below these, ``rho-loss`` often picks more wrong labels than chance would."""
W = TypeVar("W")


def part_of(keys: Int64s, *, share: float, seed: int) -> Array:
    """``[n]``: 1 for a random ``share`` of all keys, 0 for the others. A pure function of key and seed, so it never changes."""
    salt = int(np.random.default_rng([seed, SALT]).integers(2**63))
    return (hashed(keys, salt) < np.uint64(min(share * 2.0**64, 2.0**64 - 2048))).astype(np.int8)


def warning(holdout: Holdout | None, *, num_candidates: int, batch_size: int) -> str | None:
    """A sentence if the models of the irreducible loss would learn too little for their losses to say much; None if not.

    >>> warning(Holdout(kind="simple", share=0.1, epochs=1), num_candidates=6000, batch_size=32)
    'rho-loss: a model of the irreducible loss would be trained on 600 of 6,000 samples for 19 steps, which teaches it too little: raise holdout_epochs (or leave it out)'
    """
    if holdout is None:
        return None
    size = round(holdout.share * num_candidates)
    steps = None if holdout.epochs is None else holdout.epochs * -(-size // batch_size)
    told = f"rho-loss: a model of the irreducible loss would be trained on {size:,} of {num_candidates:,} samples"
    if size < LEAST_SAMPLES:
        return f"{told}, which teaches it too little: raise share, or take holdout: twin, or more data"
    if steps is not None and steps < LEAST_STEPS:
        return f"{told} for {steps} steps, which teaches it too little: raise holdout_epochs (or leave it out)"
    return None


def irreducible_losses(
    keys: Int64s,
    holdout: Holdout,
    *,
    seed: int,
    fit: Callable[[Int64s, int], W],
    losses: Callable[[W, Int64s], Float32s],
) -> tuple[Float32s, list[W]]:
    """``[n]`` irreducible losses of ``keys`` (NaN for those that ``simple`` holds out), and the models, in the order of their numbers.

    ``fit(keys, number)`` trains model 0 (or 0 and 1 for ``twin``); ``losses(model, keys)`` reads them. No model reads a sample that it was
    trained on.
    """
    part = part_of(keys, share=holdout.share, seed=seed)
    found = np.full(len(keys), np.nan, dtype=np.float32)
    models = []
    for number in range(2 if holdout.kind == "twin" else 1):
        trained_on = 1 - number
        model = fit(keys[part == trained_on], number)
        others = part != trained_on
        found[others] = losses(model, keys[others])
        models.append(model)
    return found, models
