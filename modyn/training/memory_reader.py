"""A reader of samples held in memory: the public fake of a dataset, for tests and for notebooks."""

from collections.abc import Iterable, Mapping

import numpy as np

from modyn.errors import NotFound
from modyn.types import Array, Columns, Int64s


class MemoryReader:
    """Samples in arrays; the key of a sample is its row. Fills the role of ``modyn.types.Reader``.

    >>> reader = MemoryReader({"x": np.arange(4.0)}, labels=np.array([0, 1, 0, 1]))
    >>> reader.read(np.array([2, 0]))["x"].tolist(), reader.labels(np.array([1])).tolist()
    ([2.0, 0.0], [1])
    """

    def __init__(self, columns: Columns, *, labels: Array | None = None, deleted: Iterable[int] = ()) -> None:
        sizes = {len(values) for values in columns.values()} | ({len(labels)} if labels is not None else set())
        if len(sizes) != 1:
            raise ValueError(f"columns and labels must be equally long; got {sorted(sizes)}")
        self.columns: Mapping[str, Array] = dict(columns)
        self._labels = labels
        self._live = np.ones(sizes.pop(), dtype=bool)
        self._live[list(deleted)] = False

    def __len__(self) -> int:
        return len(self._live)

    def read(self, keys: Int64s) -> Columns:
        """The rows of ``keys``. Raises NotFound if one is out of range or deleted."""
        self._check(keys)
        return {name: values[keys] for name, values in self.columns.items()}

    def labels(self, keys: Int64s) -> Array | None:
        """``labels[n]`` of ``keys``; None if unlabelled. Raises NotFound like ``read``."""
        self._check(keys)
        return None if self._labels is None else self._labels[keys]

    def only(self, keys: Int64s) -> "MemoryReader":
        """This reader: a look-up costs nothing here."""
        return self

    def announce(self, keys: Int64s) -> None:
        """Does nothing: everything is in memory."""

    def _check(self, keys: Int64s) -> None:
        if not len(keys):
            return
        if int(keys.min()) < 0 or int(keys.max()) >= len(self._live):
            raise NotFound(f"no sample has key {int(keys.max()) if keys.min() >= 0 else int(keys.min())}")
        live = self._live[keys]
        if not live.all():
            raise NotFound(f"sample {int(keys[np.argmin(live)])} is deleted")
