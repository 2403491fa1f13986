"""Pickers: given a signal and a budget, which rows to take and with which weights. Pure functions of arrays, no torch.

A picker and a signal make a coreset method: top-k of the loss, k-center of embeddings, facility location of last-layer gradients.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from modyn.errors import TrainingError, counted
from modyn.policy import Policy, name_of
from modyn.selectors.shares import class_labels, group_codes, grouped_rows, water_fill
from modyn.types import Array, Float64s, Int64s, Signal


class Picked(NamedTuple):
    """Rows in the order in which they were taken (unique), and their weights (None = all 1)."""

    rows: Int64s
    weights: Float64s | None = None


class Picker(Policy):
    """Chooses rows by a signal. Subclasses implement ``take``."""

    role: ClassVar[str] = "picker"
    compares: ClassVar[bool] = True
    """Whether rows are compared with each other, so that the time may grow faster than their number."""
    per_class: bool = Field(
        False, description="share the budget fairly among the classes and pick within each, in parallel"
    )

    @property
    def on_device(self) -> str | None:
        """The form in which a trainer can do the same on its device, within a batch: ``top``, ``bottom`` or ``importance``."""
        return None

    def pick(self, signal: Signal, budget: int, rng: np.random.Generator, *, labels: Array | None = None) -> Picked:
        """Choose at most ``budget`` rows of ``signal`` (``[n]``, ``[n, d]`` or factored gradients).

        With ``per_class``, ``labels[n]`` say which rows belong together; the result is the same for any number of threads.
        Raises ConfigError if they are no classes.
        """
        budget = min(budget, len(signal))
        if budget <= 0:
            return Picked(np.zeros(0, np.int64), None)
        if not self.per_class:
            return self.finish(self._taken(signal, budget, rng), budget, len(signal))
        classes = class_labels(labels, "picking within each class (per_class: true, where false picks among all)")
        return self.finish(self._take_per_class(signal, budget, rng, classes), budget, len(signal))

    def take(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        """Choose at most ``budget`` (at least 1, at most n) rows; weights say how many samples each row stands for."""
        raise NotImplementedError

    def finish(self, picked: Picked, budget: int, num_rows: int) -> Picked:
        """The last step, once over all classes together; nothing unless a picker says so."""
        return picked

    def _taken(self, signal: Signal, budget: int, rng: np.random.Generator) -> Picked:
        """What ``take`` gives, checked. The result is looked at instead of the invalid flag, which OpenBLAS may raise on
        finite numbers (numpy issue 24067, OpenBLAS issue 1924)."""
        with np.errstate(invalid="ignore"):
            picked = self.take(signal, budget, rng)
        wrong = _fault(picked, budget, len(signal))
        if wrong is not None:
            raise TrainingError(f"picker {name_of(type(self))} {wrong}")
        return picked

    def _take_per_class(self, signal: Signal, budget: int, rng: np.random.Generator, labels: Array) -> Picked:
        codes, num_classes = group_codes(labels)
        members = grouped_rows(codes, num_classes)
        shares = water_fill(np.array([len(rows) for rows in members]), budget)
        streams = rng.spawn(num_classes)

        def one(number: int) -> Picked:
            rows = members[number]
            picked = self._taken(signal[rows], int(shares[number]), streams[number])
            return Picked(rows[picked.rows], picked.weights)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
            parts = list(threads.map(one, np.flatnonzero(shares)))
        rows = np.concatenate([part.rows for part in parts])
        if all(part.weights is None for part in parts):
            return Picked(rows)
        return Picked(rows, np.concatenate([np.ones(len(p.rows)) if p.weights is None else p.weights for p in parts]))


def _fault(picked: Any, budget: int, num_rows: int) -> str | None:
    """What is wrong with what ``take`` gave, in words; None if nothing is."""
    if not isinstance(picked, Picked):
        return f"gave a {type(picked).__name__}; Picked(rows, weights) is needed"
    rows, weights = np.asarray(picked.rows), picked.weights
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        return f"gave rows of type {rows.dtype} and shape {list(rows.shape)}; whole numbers [k] are needed"
    if len(rows) > budget:
        return f"took {counted(len(rows), 'row')}, more than the budget of {budget:,}"
    if len(rows) and (rows.min() < 0 or rows.max() >= num_rows):
        return f"took row {rows.min() if rows.min() < 0 else rows.max()} of {counted(num_rows, 'row')} (the first is 0)"
    if len(np.unique(rows)) < len(rows):
        return "took a row twice: rows are unique, and weights say what each counts for"
    if weights is None:
        return None
    if np.shape(weights) != rows.shape:
        return f"gave weights of shape {list(np.shape(weights))} for {counted(len(rows), 'row')}"
    return (
        None
        if np.isfinite(weights).all() and np.min(weights, initial=0) >= 0
        else "gave weights that are not finite numbers from 0 on"
    )


def scalar(signal: Signal) -> Float64s:
    """The signal as one number a row; the length of each row where it is a vector or a gradient."""
    from modyn.selectors.pickers.points import points_of

    values = signal if isinstance(signal, np.ndarray) else None
    if values is not None and (values.ndim == 1 or values.shape[1:] == (1,)):
        return values.reshape(len(values)).astype(np.float64)
    return np.sqrt(points_of(signal).squared_norms)
