"""scikit-learn style estimators as models: ``fit`` or ``partial_fit``, and ``predict_proba`` or ``predict``.

A checkpoint holds tensors, never pickles, so an estimator fits if what it learns is arrays and numbers: linear and logistic models,
``SGDClassifier`` and ``SGDRegressor``, ``Perceptron``, naive Bayes, discriminant analysis. Others (trees, forests, boosting, neighbours,
pipelines of several steps) are refused after their first fit: each is put together again and compared.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from inspect import signature
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modyn.errors import TrainingError
from modyn.phases import bound_by
from modyn.runlog import RunLog
from modyn.training.blocks import Batch, Plan
from modyn.training.fitted import Fitted, Length, peak_memory
from modyn.training.loader import Loader
from modyn.training.options import Training
from modyn.training.tensors import each, layout
from modyn.types import Array, Float32s, Int64s, Selection

TEXT = "text:"
OF_TORCH = (
    *("optimizer", "scheduler", "warmup", "clip", "accumulate", "precision"),
    *("ema", "hooks", "checkpoint", "compile", "pretrained"),
)
"""Options that an estimator has no use for."""


def is_estimator(model: object) -> bool:
    """Whether a model is an estimator instead of a torch module."""
    return hasattr(model, "fit") and hasattr(model, "predict") and not isinstance(model, torch.nn.Module)


def check_options(options: Training) -> str | None:
    """What the options say that changes nothing for an estimator, in a sentence; None if nothing does.

    Raises TrainingError for those without which the result would be another than asked for.
    """
    refused = [
        name for name, asked in (("devices", options.devices > 1), ("early_stopping", options.early_stopping)) if asked
    ]
    if refused:
        raise TrainingError(f"training.{refused[0]}: needs a torch model; an estimator learns by itself")
    fields = type(options).model_fields
    idle = [name for name in OF_TORCH if getattr(options, name) != fields[name].get_default(call_default_factory=True)]
    return (
        f"training: {', '.join(idle)}: for torch models; an estimator learns by itself, and nothing changes"
        if idle
        else None
    )


def features_of(batch: Batch) -> Array:
    """``[n, features]`` of a batch whose inputs are one tensor; further axes are flattened. Raises TrainingError if they are several."""
    tensors = list(each(batch.inputs))
    if len(tensors) != 1:
        raise TrainingError(f"an estimator takes one array, and the parser gives {len(tensors)} tensors")
    return tensors[0].flatten(1).numpy()


def labels_of(batch: Batch) -> Array:
    """The labels of a batch. Raises TrainingError if there are none."""
    if batch.labels is None:
        raise TrainingError("the dataset has no labels")
    return batch.labels.numpy()


def learn(estimator: Any, batches: Iterator[Batch], *, classes: Array | None, where: str) -> int:
    """Fit to batches: one after another by ``partial_fit``, or all at once by ``fit``; the number of calls.

    Raises TrainingError with the estimator's own words if it refuses them.
    """
    name = type(estimator).__name__
    calls = 0
    try:
        if hasattr(estimator, "partial_fit"):
            for batch in batches:
                options = _weights(estimator.partial_fit, batch.weights)
                if classes is not None:
                    options["classes"] = classes
                estimator.partial_fit(features_of(batch), labels_of(batch), **options)
                calls += 1
            return calls
        parts = [(features_of(b).copy(), labels_of(b).copy(), b.weights) for b in batches]
        weights = None if parts[0][2] is None else torch.cat([p[2] for p in parts if p[2] is not None])
        options = _weights(estimator.fit, weights)
        estimator.fit(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), **options)
    except (ValueError, TypeError, AttributeError) as error:
        raise TrainingError(f"{where}: {name}: {error}") from error
    return calls + 1


def _weights(method: Callable[..., Any], weights: Tensor | None) -> dict[str, Any]:
    if weights is None:
        return {}
    if "sample_weight" not in signature(method).parameters:
        raise TrainingError(f"{method.__qualname__} takes no sample weights, and the selection has some")
    return {"sample_weight": weights.numpy()}


def predictions(estimator: Any, features: Array) -> Float32s:
    """``[n, classes]``: probabilities where the estimator gives them, 1 for the predicted class of another classifier; else ``[n, outputs]`` values.

    Column ``i`` is class ``i``.
    """
    classes = _class_numbers(estimator)
    if hasattr(estimator, "predict_proba"):
        shares = np.asarray(estimator.predict_proba(features), dtype=np.float32)
        return shares if classes is None else _spread(shares, classes)
    given = np.asarray(estimator.predict(features))
    if classes is not None and given.ndim == 1:
        return _spread((given[:, None] == classes).astype(np.float32), classes)
    given = given.astype(np.float32)
    return given[:, None] if given.ndim == 1 else given


MOST_CLASSES = 65_536


def _class_numbers(estimator: Any) -> Array | None:
    """The classes that the estimator knows, if they are numbers from 0: it has a column for each that it has seen, not for each there is."""
    given = getattr(estimator, "classes_", ())
    if not len(given) or any(np.ndim(label) for label in given):  # none, or those of several outputs
        return None
    classes = np.asarray(given)
    if classes.dtype.kind not in "biuf":
        return None
    numbers = classes.astype(np.int64)
    are_numbers = np.array_equal(numbers, classes) and 0 <= numbers.min() <= numbers.max() < MOST_CLASSES
    return numbers if are_numbers else None


def _spread(columns: Array, classes: Array) -> Float32s:
    """``[n, highest class + 1]`` of a column for each of some classes; 0 for those that the estimator does not know."""
    if len(classes) != columns.shape[1] or np.array_equal(classes, np.arange(len(classes))):
        return columns
    spread = np.zeros((len(columns), int(classes.max()) + 1), np.float32)
    spread[:, classes] = columns
    return spread


def state_of(estimator: Any) -> dict[str, Tensor]:
    """What the estimator has learnt, by attribute, as tensors. Raises TrainingError naming what is neither array nor number."""
    found: dict[str, Tensor] = {}
    for name, value in sorted(vars(estimator).items()):
        if name not in estimator.get_params(deep=False):
            _put(found, name, value, type(estimator).__name__)
    return found


def _put(found: dict[str, Tensor], name: str, value: Any, owner: str) -> None:
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(v, np.ndarray | int | float | np.generic) for v in value)
    ):
        for place, item in enumerate(value):
            _put(found, f"{name}.{'l' if isinstance(value, list) else 't'}{place}", item, owner)
    elif isinstance(value, str):
        found[f"{name}:{TEXT}"] = torch.tensor(list(value.encode()), dtype=torch.uint8)
    elif value is None or (isinstance(value, list | tuple | dict) and not value):
        return
    elif isinstance(value, bool | int | float | np.generic | np.ndarray) and np.asarray(value).dtype.kind in "biuf":
        kind = "a" if isinstance(value, np.ndarray) else "n"
        found[f"{name}:{kind}"] = torch.from_numpy(np.array(value))
    else:
        if name.startswith("_"):
            return
        raise TrainingError(
            f"{owner} keeps {name} as a {type(value).__name__}; only estimators that learn arrays and numbers can be kept "
            "(linear and logistic models, SGD, naive Bayes, discriminant analysis)"
        )


def restore(estimator: Any, state: Mapping[str, Tensor]) -> Any:
    """The estimator with what ``state_of`` gave; itself."""
    lists: dict[tuple[str, str], list[Any]] = {}
    for key, tensor in state.items():
        name, _, kind = key.partition(":")
        value: Any = tensor.numpy()
        if kind == TEXT:
            value = bytes(value).decode()
        elif kind == "n":
            value = value.item()
        attribute, _, place = name.partition(".")
        if place:
            lists.setdefault((attribute, place[0]), []).append((int(place[1:]), value))
        else:
            setattr(estimator, attribute, value)
    for (attribute, kind), items in lists.items():
        values = [value for _, value in sorted(items, key=lambda item: item[0])]
        setattr(estimator, attribute, values if kind == "l" else tuple(values))
    return estimator


def fit(
    estimator: Any,
    loader: Loader,
    selection: Selection,
    *,
    options: Training,
    seed: int,
    round: int,  # noqa: A002
    start: Mapping[str, Tensor] | None,
    fresh: Callable[[], Any],
    log: RunLog | None,
) -> Fitted:
    """Fit an estimator to a selection; with ``partial_fit`` epoch by epoch, from ``start`` if there is one.

    Raises TrainingError if it cannot learn from the batches, or what it learns cannot be kept.
    """
    began = time.perf_counter()
    if start is not None and hasattr(estimator, "partial_fit"):
        restore(estimator, start)
    length = Length.of(options, len(selection), round, batch_size=options.batch_size)
    plan = Plan(
        batch_size=options.batch_size,
        seed=seed,
        round=round,
        end_epoch=length.num_epochs if hasattr(estimator, "partial_fit") else 1,
        shuffle_window=options.shuffle_window,
        drop_last=options.drop_last,
        augment=True,
    )
    takes_classes = "classes" in _parameters(estimator, "partial_fit")
    classes = _classes(loader, selection, start, round) if takes_classes else None
    watch = _Stopwatch()
    with closing(loader.batches(selection, plan)) as batches:  # type: ignore[type-var]
        last: list[Batch] = []
        seen = islice(watch.watched(batches, last), length.num_steps)
        calls = learn(estimator, seen, classes=classes, where=f"round {round}")
    passed = time.perf_counter() - began
    weights = state_of(estimator)
    _check_kept(estimator, restore(fresh(), weights), features_of(last[0]))
    if log is not None:
        _log(log, round, passed, watch)
    return Fitted(
        weights=weights,
        num_samples=min(len(selection), watch.num_seen),
        num_seen=watch.num_seen,
        num_steps=calls,
        loss=float("nan"),
        seconds={"load": watch.waited, "train": passed - watch.waited},
        first_step_s=watch.first_s - began,
        device="cpu",
        peak_memory_bytes=peak_memory(torch.device("cpu")),
    )


def check(estimator: Any, loader: Loader, keys: Int64s, *, fresh: Callable[[], Any]) -> str:
    """Let an estimator learn from a few samples, and say in one line what was found.

    Raises TrainingError if it cannot, or what it learns cannot be kept.
    """
    with closing(loader.batches(Selection(keys), Plan(batch_size=len(keys)))) as batches:  # type: ignore[type-var]
        batch = next(batches)
    classes = np.unique(labels_of(batch)) if "classes" in _parameters(estimator, "partial_fit") else None
    learn(estimator, iter([batch]), classes=classes, where="check")
    _check_kept(estimator, restore(fresh(), state_of(estimator)), features_of(batch))
    shape = list(predictions(estimator, features_of(batch)).shape)
    return f"parser gives {layout(batch.inputs)}, {type(estimator).__name__} gives {shape}"


def _parameters(estimator: Any, method: str) -> Mapping[str, Any]:
    return signature(getattr(estimator, method)).parameters if hasattr(estimator, method) else {}


def _log(log: RunLog, round: int, passed: float, watch: "_Stopwatch") -> None:  # noqa: A002
    """All epochs as one event, as ``fit`` is one call; an estimator does not tell its loss."""
    waited, num_samples = watch.waited, watch.num_seen
    seconds = {"wait": waited, "move": 0.0, "forward": 0.0, "backward": 0.0, "step": passed - waited}
    log.append(
        "epoch",
        round=round,
        epoch=0,
        loss=None,
        num_samples=num_samples,
        samples_per_s=num_samples / max(1e-9, passed),
        seconds=seconds,
        bound_by=bound_by(seconds),
    )


def _classes(loader: Loader, selection: Selection, start: Mapping[str, Tensor] | None, round: int) -> Array:  # noqa: A002
    """The classes of the selection, as ``partial_fit`` wants to know them at first; of ``start``, if they are among those that it knows."""
    labels: Any = loader.reader.labels(selection.keys)
    if labels is None:
        raise TrainingError("the dataset has no labels")
    found = np.unique(np.asarray(loader.transformed(labels)))
    known = None if start is None else start.get("classes_:a")
    if known is None:
        return found
    new = found[~np.isin(found, known.numpy())]
    if len(new):
        raise TrainingError(
            f"round {round}: class {new[0]} is new, and an estimator that goes on from a checkpoint learns no new classes: "
            f"start: scratch learns them"
        )
    return np.asarray(known.numpy())


def _check_kept(estimator: Any, restored: Any, features: Array) -> None:
    """Raise TrainingError if the estimator put together again from tensors does not predict as before."""
    name = type(estimator).__name__
    try:
        same = np.array_equal(predictions(estimator, features), predictions(restored, features), equal_nan=True)
    except Exception as error:
        raise TrainingError(f"{name} cannot be kept as arrays: put together again, it says {error}") from None
    if not same:
        raise TrainingError(f"{name} cannot be kept as arrays: put together again, it predicts otherwise")


class _Stopwatch:
    """Seconds spent waiting for batches, when the first had been learnt from, and how many samples there were."""

    def __init__(self) -> None:
        self.num_seen = 0
        self.waited = 0.0
        self.first_s = 0.0

    def watched(self, batches: Iterator[Batch], last: list[Batch]) -> Iterator[Batch]:
        """The batches, with the time to get them counted; ``last`` holds the newest."""
        while True:
            before = time.perf_counter()
            if last and not self.first_s:
                self.first_s = before
            batch = next(batches, None)
            self.waited += time.perf_counter() - before
            if batch is None:
                return
            last[:] = [batch]
            self.num_seen += len(batch)
            yield batch
