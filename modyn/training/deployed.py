"""What triggers ask of the data and of the deployed model: features of samples by key."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from modyn.errors import ConfigError, NotFound, TrainingError, did_you_mean
from modyn.training.tensors import each
from modyn.training.trainer import Trainer
from modyn.types import Array, Int64s, Reader, Samples, unlabelled


class Deployed:
    """Features of samples and of the deployed model. ``deploy`` puts a checkpoint in place; before it there is none.

    ``requests`` says how often training was asked for by hand, ``deleted`` which of some keys are deleted by now, ``now`` the wall clock in
    microseconds (None = replay).
    """

    def __init__(
        self,
        trainer: Trainer,
        reader: Reader,
        *,
        deleted: Callable[[Int64s], Array],
        requests: Callable[[], int] = lambda: 0,
        now: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._trainer, self._reader = trainer, reader
        self._deleted, self._requests, self._now = deleted, requests, now
        self._weights: Mapping[str, Tensor] = {}
        self._checkpoint: str | None = None

    def deploy(self, checkpoint: str, weights: Mapping[str, Tensor]) -> None:
        """Put a checkpoint in place."""
        self._checkpoint, self._weights = checkpoint, weights

    @property
    def checkpoint(self) -> str | None:
        return self._checkpoint

    @property
    def now(self) -> int | None:
        return self._now()

    @property
    def requests(self) -> int:
        return self._requests()

    def get(self, kind: str, keys: Int64s) -> Array:
        """``features[n, d]`` of ``keys``; the kinds are those of ``modyn.triggers.Features``.

        What needs the label of a sample that is not known yet, or asks for a sample that is deleted by now, is NaN. Raises TrainingError if it needs a
        checkpoint and there is none, ConfigError if there is no such column.
        """
        if kind == "deleted":
            return self._deleted(keys).astype(np.float64)[:, None]
        try:
            return self._found(kind, keys)
        except NotFound:  # deleted while the run goes on
            live = ~self._deleted(keys).astype(np.bool_)
            if live.all():
                raise
            return _spread(self._found(kind, keys[live]), live)

    def _found(self, kind: str, keys: Int64s) -> Array:
        if kind == "raw":
            return self._inputs(keys)
        if kind == "label":
            return self._labels(keys)
        if kind.startswith("column:"):
            return self._column(kind.removeprefix("column:"), keys)
        if self._checkpoint is None:
            raise TrainingError(f"the trigger looks at the model's {kind}, and there is no checkpoint yet")
        known = self._known(keys) if kind in ("error", "loss") else None
        if known is None or known.all():
            return self._of_model(kind, keys)
        found = self._of_model(kind, keys[known]) if known.any() else np.empty((0, 1))
        return _spread(found, known)

    def _known(self, keys: Int64s) -> Array | None:
        """Whose labels are known; None if there are no labels, which says more clearly what looks at them."""
        labels = self._reader.labels(keys)
        return None if labels is None else ~unlabelled(labels)

    def _inputs(self, keys: Int64s) -> Array:
        parts = [
            torch.cat([tensor.reshape(len(batch), -1).float() for tensor in each(batch.inputs)], dim=1)
            for batch in self._trainer.in_order(keys, labelled=False)
        ]
        return torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)

    def _labels(self, keys: Int64s) -> Array:
        labels = self._reader.labels(keys)
        if labels is None:
            raise ConfigError("the trigger looks at labels, and the dataset has none")
        known = ~unlabelled(labels)
        found = np.asarray(self._trainer.labelled(Samples(keys[known], keys[known], labels[known])).labels, np.float64)
        return _spread(found.reshape(len(found), int(np.prod(found.shape[1:]))), known)

    def _column(self, name: str, keys: Int64s) -> Array:
        columns = self._reader.read(keys)
        if name not in columns:
            raise ConfigError(
                f"the trigger looks at column '{name}', which the dataset lacks. {did_you_mean(name, columns)}"
            )
        values = columns[name].reshape(len(keys), -1)
        if values.dtype.kind not in "iufb":
            raise ConfigError(f"the trigger looks at column '{name}', which does not hold numbers")
        return values

    def _of_model(self, kind: str, keys: Int64s) -> Array:
        if kind in ("embedding", "loss"):
            found = self._trainer.compute_signals([kind], keys, self._weights)[kind]
            return np.asarray(found).reshape(len(keys), -1)
        outputs = self._trainer.predict(self._weights, keys)
        if kind == "prediction":
            return outputs
        labels = self._labels(keys)
        if self._trainer.task == "classification":
            wrong: Array = outputs.argmax(axis=1)[:, None] != labels
        elif self._trainer.task == "multi-label":
            wrong = (outputs > 0.5) != labels
        else:
            wrong = np.abs(outputs - labels)
        known = np.isfinite(labels).all(axis=1, keepdims=True)
        return np.where(known, wrong.mean(axis=1, keepdims=True), np.nan)


def _spread(found: Array, rows: Array) -> Array:
    """``found[k, d]`` at those ``rows`` (a mask of n), NaN at the others."""
    if rows.all():
        return found
    out = np.full((len(rows), *found.shape[1:]), np.nan, np.result_type(found, np.float32))
    out[rows] = found
    return out
