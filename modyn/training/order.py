"""The order of training, as pure functions: (seed, round, epoch) gives the same rows for any number of workers or devices."""

import numpy as np
import torch

from modyn.types import Array, Int64s

SHUFFLE, SAMPLE, MODEL, TRAIN, HELD_OUT, AUGMENT, CHOOSE = range(7)
"""What a stream of random numbers is for; two purposes never share one."""


def random(seed: int, *purpose: int) -> np.random.Generator:
    """A generator that is a pure function of its arguments."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed & (2**64 - 1), *purpose])))


def derived_seed(seed: int, *purpose: int) -> int:
    """A seed in ``[0, 2**63)`` for other libraries' generators."""
    return int(np.random.SeedSequence([seed & (2**64 - 1), *purpose]).generate_state(1, np.uint64)[0] >> 1)


def epoch_order(num_rows: int, *, seed: int, round: int, epoch: int, window: int | None) -> Array:  # noqa: A002
    """The rows ``[0, num_rows)`` in the order of one epoch, as integers of four or eight bytes.

    ``window`` is 0 for no shuffling, None for a shuffle of everything, else the size of the stretches that are shuffled: their order,
    and the rows within each, so that a stretch is read from storage once.
    """
    if window == 0:
        return np.arange(num_rows, dtype=np.int64)
    if window is None or window >= num_rows:
        # torch takes 5 ms for a million rows as int32, 8 as int64 (it is the same order), NumPy 15.
        shuffler = torch.Generator().manual_seed(derived_seed(seed, SHUFFLE, round, epoch))
        kind = torch.int32 if num_rows < 2**31 else torch.int64
        return torch.randperm(num_rows, generator=shuffler, dtype=kind).numpy()
    generator = random(seed, SHUFFLE, round, epoch)
    rows = np.arange(num_rows, dtype=np.int64)
    starts = np.arange(0, num_rows, window)
    generator.shuffle(starts)
    parts = [rows[start : start + window] for start in starts]
    for part in parts:
        generator.shuffle(part)
    return np.concatenate(parts)


def num_batches(num_rows: int, batch_size: int, *, drop_last: bool) -> int:
    """Number of batches in one pass over ``num_rows``."""
    return num_rows // batch_size if drop_last else -(-num_rows // batch_size)


def block_edges(num_rows: int, batch_size: int, *, max_batches: int) -> list[int]:
    """Where blocks of whole batches begin and end: 1, 2, 4, ... up to ``max_batches`` batches a block.

    The first is small so that training starts at once; the last ends at ``num_rows``.

    >>> block_edges(100, 10, max_batches=4)
    [0, 10, 30, 70, 100]
    """
    edges, batches = [0], 1
    while edges[-1] < num_rows:
        edges.append(min(num_rows, edges[-1] + batches * batch_size))
        batches = min(2 * batches, max_batches)
    return edges


def sample_seeds(seed: int, round: int, epoch: int, keys: Int64s) -> Int64s:  # noqa: A002
    """``seeds[n]`` in ``[0, 2**63)``, one a sample: a pure function of (seed, round, epoch, key), by splitmix64."""
    start = np.uint64(derived_seed(seed, AUGMENT, round, epoch))
    with np.errstate(over="ignore"):
        x = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
