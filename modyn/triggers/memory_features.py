"""Features held in memory: the public fake with which triggers are tried out and tested without dataset or training."""

from collections.abc import Callable

import numpy as np

from modyn.errors import TrainingError
from modyn.types import Array, Int64s


class MemoryFeatures:
    """Features of samples whose keys are row numbers: ``raw[n, d]``, ``labels[n]`` (NaN = not known yet), and a model that is deployed by hand.

    ``model`` maps raw rows to predictions (class probabilities ``[n, c]`` or values ``[n]``), ``embed`` raw rows to embeddings. ``columns`` are
    further columns by name. ``calls`` lists what was asked for: kind and number of keys.

    >>> features = MemoryFeatures(np.arange(4.0)[:, None], labels=np.array([0, 0, 1, 1]))
    >>> features.deploy("run-1/0", model=lambda raw: np.column_stack([raw < 2.5, raw >= 2.5]))
    >>> features.get("error", np.array([1, 2])).ravel()
    array([0., 1.])
    """

    def __init__(
        self,
        raw: Array,
        *,
        labels: Array | None = None,
        columns: dict[str, Array] | None = None,
        embed: Callable[[Array], Array] | None = None,
    ) -> None:
        self.raw = np.asarray(raw, dtype=np.float64).reshape(len(raw), -1)
        self.labels, self.columns = labels, columns or {}
        self.checkpoint: str | None = None
        self.now: int | None = None
        self.requests = 0
        self.deleted: set[int] = set()
        self.calls: list[tuple[str, int]] = []
        self._model: Callable[[Array], Array] | None = None
        self._embed: Callable[[Array], Array] = embed or (lambda rows: rows)

    def deploy(
        self,
        checkpoint: str,
        *,
        model: Callable[[Array], Array] | None = None,
        embed: Callable[[Array], Array] | None = None,
    ) -> None:
        """Put a new checkpoint in place; a model or embedding that is not given stays as it was."""
        self.checkpoint = checkpoint
        self._model, self._embed = model or self._model, embed or self._embed

    def get(self, kind: str, keys: Int64s) -> Array:
        """``features[n, d]`` of ``keys``."""
        self.calls.append((kind, len(keys)))
        if kind == "deleted":
            return np.isin(keys, list(self.deleted)).astype(np.float64)[:, None]
        if kind == "raw":
            return self.raw[keys]
        if kind == "label":
            return self._label(keys)[:, None]
        if kind.startswith("column:"):
            return np.asarray(self.columns[kind.removeprefix("column:")][keys], dtype=np.float64).reshape(len(keys), -1)
        if self.checkpoint is None:
            raise TrainingError(f"{kind} needs a checkpoint, and there is none yet")
        return self._embed(self.raw[keys]) if kind == "embedding" else self._of_model(kind, keys)

    def _label(self, keys: Int64s) -> Array:
        if self.labels is None:
            raise TrainingError("the samples have no labels")
        return np.asarray(self.labels[keys], dtype=np.float64)

    def _of_model(self, kind: str, keys: Int64s) -> Array:
        if self._model is None:
            raise TrainingError(f"{kind} needs a model: deploy one")
        predicted = np.asarray(self._model(self.raw[keys]), dtype=np.float64).reshape(len(keys), -1)
        if kind == "prediction":
            return predicted
        labels = self._label(keys)
        known = np.isfinite(labels)
        if kind == "error":
            wrong = predicted.argmax(axis=1) != labels
            return np.where(known, wrong, np.nan)[:, None]
        right = predicted[np.arange(len(keys)), np.where(known, labels, 0).astype(int)]
        return np.where(known, -np.log(np.clip(right, 1e-12, 1)), np.nan)[:, None]
