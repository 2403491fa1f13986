"""Train on one sample of each kind."""

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from modyn.errors import ConfigError, did_you_mean
from modyn.selectors import Selector
from modyn.types import Array, Candidates, Int64s, Selection, Signals


class Deduplicate(Selector):
    """Takes one of each set of samples that are equal in some columns; with a budget, a random subset of those.

    Columns are compared exactly, byte for byte; ``label`` may be one of them.

    >>> Deduplicate(by=["user", "label"]).columns
    ('user',)
    """

    by: list[str] = Field(min_length=1, description="the columns of the dataset (or label) that make two samples equal")
    keep: Literal["first", "last"] = Field(
        "last", description="which of equal samples is kept: the first or the last to arrive"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are compared."""
        return tuple(dict.fromkeys([*super().columns, *(name for name in self.by if name != "label")]))

    def select(self, candidates: Candidates, budget: int, signals: Signals, rng: np.random.Generator) -> Selection:
        codes = np.zeros(len(candidates), dtype=np.int64)
        for name in self.by:
            codes = _combined(codes, _codes(self._column(candidates, name)))
        rows = one_of_each(codes, keep=self.keep)
        if budget < len(rows):
            rows = np.sort(rows[rng.choice(len(rows), size=budget, replace=False, shuffle=False)])
        return Selection(candidates.keys[rows])

    def _column(self, candidates: Candidates, name: str) -> Array:
        if name == "label" and candidates.labels is not None:
            return candidates.labels
        if name not in candidates.columns:
            known = [*candidates.columns, *(["label"] if candidates.labels is not None else [])]
            raise ConfigError(f"selector.deduplicate.by: there is no column '{name}'. {did_you_mean(name, known)}")
        return candidates.columns[name]


def one_of_each(codes: Int64s, *, keep: Literal["first", "last"]) -> Int64s:
    """The rows, ascending, of the first (or last) of each code."""
    return np.flatnonzero(~pd.Series(codes).duplicated(keep=keep).to_numpy())


def _codes(column: Array) -> Int64s:
    """``[n]``: equal numbers for equal rows."""
    if column.dtype == object:
        column = np.array([bytes(v) if isinstance(v, memoryview) else v for v in column], dtype=object)
    elif column.ndim > 1 or column.dtype.kind == "V":
        flat = np.ascontiguousarray(column.reshape(len(column), -1))
        column = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).reshape(len(column))
        return np.unique(column, return_inverse=True)[1].astype(np.int64)
    return np.asarray(pd.factorize(column, use_na_sentinel=False)[0], dtype=np.int64)


def _combined(codes: Int64s, more: Int64s) -> Int64s:
    """``[n]``: equal numbers where both are equal."""
    width = int(more.max()) + 1 if len(more) else 1
    return np.asarray(pd.factorize(codes * width + more)[0], dtype=np.int64)
