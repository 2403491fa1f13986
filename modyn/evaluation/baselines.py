"""What any model must beat: guesses that need no model. Each sees only labels from before what it guesses."""

from collections.abc import Sequence

import numpy as np

from modyn.types import Array, Samples, Window


def majority_class(samples: Samples, window: Window, num_classes: int) -> Array | None:
    """The class shares before the window's start, for each sample in it: ``[n, classes]``; None if nothing came before.

    Its argmax is the majority class; as probabilities it is the best constant guess. Needs samples in time order.
    """
    assert samples.labels is not None
    start, end = np.searchsorted(samples.timestamps, [window.start, window.end])
    if start == 0:
        return None
    shares = np.bincount(samples.labels[:start].astype(np.int64), minlength=num_classes) / start
    return np.broadcast_to(shares, (end - start, num_classes))


def mean_label(samples: Samples, window: Window) -> Array | None:
    """The mean label before the window's start, for each sample in it: ``[n]`` or ``[n, columns]``; None if nothing came before."""
    assert samples.labels is not None
    start, end = np.searchsorted(samples.timestamps, [window.start, window.end])
    if start == 0:
        return None
    mean = samples.labels[:start].mean(axis=0)
    return np.broadcast_to(mean, (end - start, *np.shape(mean)))


def no_change(samples: Samples, window: Window, num_classes: int | None) -> Array | None:
    """The label of the sample before, for each sample in the window; None where the window holds the very first sample.

    With ``num_classes`` as one-hot rows ``[n, classes]``, else as values. Needs samples in time order.
    """
    assert samples.labels is not None
    start, end = np.searchsorted(samples.timestamps, [window.start, window.end])
    if start == 0:
        return None
    previous = samples.labels[start - 1 : end - 1]
    return previous if num_classes is None else np.eye(num_classes)[previous.astype(np.int64)]


def in_time_order(samples: Samples) -> Samples:
    """The samples sorted by time; those of one time stay in the order of their keys."""
    if np.all(samples.timestamps[1:] >= samples.timestamps[:-1]):
        return samples
    return samples[np.argsort(samples.timestamps, kind="stable")]


NAMES: Sequence[str] = ("majority-class", "no-change")
"""The names of the baselines in the run log; for real-valued labels ``majority-class`` becomes ``mean-label``."""
