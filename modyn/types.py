"""The small frozen values that travel between stations. Arrays are one-dimensional unless said otherwise.

Keys and timestamps are ``int64``; timestamps count microseconds since 1970-01-01 UTC. Intervals are half-open.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
"""Column name to array; all arrays have the same first axis, the samples."""

MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(timestamp_us: int) -> datetime:
    """The UTC datetime of a timestamp in microseconds."""
    return _EPOCH + timedelta(microseconds=int(timestamp_us))


def to_microseconds(moment: datetime) -> int:
    """The timestamp in microseconds of a datetime; one without a time zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


UNKNOWN_LABEL = int(np.iinfo(np.int64).min)
"""What stands for an integer label, or a class's code, that is not known yet; a label that is a float is NaN then."""


def unlabelled(labels: Array) -> npt.NDArray[np.bool_]:
    """Which of ``labels[n]`` or ``[n, columns]`` are not known yet.

    >>> unlabelled(np.array([1, UNKNOWN_LABEL])).tolist(), unlabelled(np.array([[0.5, np.nan]])).tolist()
    ([False, True], [True])
    """
    missing = np.asarray(np.isnan(labels) if labels.dtype.kind == "f" else labels == UNKNOWN_LABEL, np.bool_)
    return np.asarray(missing.any(axis=1)) if labels.ndim > 1 else missing


@dataclass(frozen=True, eq=False)
class Samples:
    """What is known of samples without touching their payload.

    ``keys[n]`` ascending or in the order asked for; ``timestamps[n]``; ``labels[n]`` (or ``[n, columns]``), None if unlabelled.
    """

    keys: Int64s
    timestamps: Int64s
    labels: Array | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: slice | Array) -> "Samples":
        labels = None if self.labels is None else self.labels[rows]
        return Samples(self.keys[rows], self.timestamps[rows], labels)

    def with_known_labels(self) -> "Samples":
        """Without those whose label is not known yet; all of them where there are no labels at all."""
        missing = None if self.labels is None else unlabelled(self.labels)
        return self if missing is None or not missing.any() else self[~missing]


@dataclass(frozen=True, order=True)
class Window:
    """A half-open stretch ``[start, end)``, of keys (``by="key"``) or of microseconds (``by="time"``)."""

    start: int
    end: int
    by: str = "key"

    def __str__(self) -> str:
        if self.by == "key":
            return f"[{self.start}, {self.end})"
        return f"[{to_datetime(self.start):%Y-%m-%d %H:%M}, {to_datetime(self.end):%Y-%m-%d %H:%M})"


@dataclass(frozen=True, eq=False)
class Candidates:
    """The samples a selector may choose from, with what the run remembers of them.

    ``arrived[n]`` is the round in which each sample arrived; ``times_used[n]`` and ``last_used[n]`` say in how many rounds it
    was trained on and in which last one (-1 = never). ``round`` is the number of the round being selected for.
    ``columns`` holds the dataset columns that the selector asked for with ``columns``.
    """

    samples: Samples
    arrived: Int64s
    times_used: Int64s
    last_used: Int64s
    round: int
    columns: Columns = field(default_factory=dict)
    epoch: int = 0
    """The epoch of the round being selected for; above 0 only where a selector chooses anew while the round trains."""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def keys(self) -> Int64s:
        return self.samples.keys

    @property
    def timestamps(self) -> Int64s:
        return self.samples.timestamps

    @property
    def labels(self) -> Array | None:
        return self.samples.labels

    def __getitem__(self, rows: slice | Array) -> "Candidates":
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Candidates(
            self.samples[rows],
            self.arrived[rows],
            self.times_used[rows],
            self.last_used[rows],
            self.round,
            columns,
            self.epoch,
        )


@dataclass(frozen=True, eq=False)
class Gradients:
    """Last-layer gradients of n samples, kept factored: gradient i is ``outer(errors[i], [embeddings[i], 1])``.

    ``errors[n, outputs]`` is the gradient of the loss with respect to the outputs (softmax minus one-hot for cross-entropy), which is
    the bias's gradient; ``embeddings[n, width]`` is the last layer's input, None where the last layer is not known: then the
    bias's gradient stands for the whole.
    """

    errors: Float32s
    embeddings: Float32s | None = None

    def __len__(self) -> int:
        return len(self.errors)

    def __getitem__(self, rows: slice | Array) -> "Gradients":
        return Gradients(self.errors[rows], None if self.embeddings is None else self.embeddings[rows])


Signal = Array | Gradients
"""What a model says of n samples: ``array[n]``, ``array[n, d]``, or factored gradients."""
Signals = Mapping[str, Signal]


@dataclass(frozen=True, eq=False)
class Selection:
    """The samples to train on: ``keys[k]`` and their ``weights[k]`` (float32, finite, >= 0; None = all 1)."""

    keys: Int64s
    weights: Float32s | None = None

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, kw_only=True)
class BatchRule:
    """How to choose within each large batch while training (B samples are scored, ``share`` of them trained on).

    The score of a sample is the sum of the ``scores`` signals, each times its factor. ``form`` says what a trainer may do on its
    device: take the highest (``top``), or draw in proportion with weights (``importance``). Otherwise (None) it calls ``pick`` with the
    signals on the CPU, the number to take, a generator and the labels; it returns rows and weights (None = all 1).
    """

    scores: Mapping[Any, float]
    """Signal (its name, or a user's function) to factor."""
    share: float
    form: str | None
    uniform_share: float
    pick: Callable[[Signals, int, np.random.Generator, Array | None], tuple[Int64s, Float32s | None]]
    score_every: int = 1
    """Only every so many-th large batch is scored; within the others the choice is random."""
    precision: str | None = None
    """``bf16`` = score in that; None = as in training."""


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """What gives the irreducible loss: models trained on ``share`` of the samples that the others' losses are read from.

    ``simple``: one model, trained on the holdout, which is never trained on otherwise. ``twin``: two models, each trained on one half
    and read on the other half. ``epochs`` None = until the loss on a held-out part of their samples no longer falls.
    """

    kind: str
    share: float
    epochs: int | None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights with their lineage. ``id`` is unique in a workspace; ``parent`` is the checkpoint training started from."""

    id: str
    run: str
    round: int
    parent: str | None
    dataset: str
    dataset_version: int
    data_until: int
    """Timestamp (us) after the last sample that this checkpoint's round could see; exclusive."""
    num_samples: int
    seed: int
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Round:
    """One firing of the trigger and what came of it; what ``Trigger.inform`` and the report are told.

    ``costs`` maps a station (select, load, train, evaluate, store) to seconds. ``scores`` maps a metric's name to its value
    on the first window that starts at or after the round's data, the one the checkpoint meets next (None = undefined there).
    """

    number: int
    window: Window
    time_window: Window
    num_candidates: int
    selection: Selection
    checkpoint: Checkpoint
    costs: Mapping[str, float]
    scores: Mapping[str, float | None] = field(default_factory=dict)


@runtime_checkable
class Reader(Protocol):
    """Reads payloads by key. Picklable, fork- and spawn-safe; opens files lazily."""

    def read(self, keys: Int64s) -> "Payload":
        """The payloads of ``keys`` in that order, whatever shards they lie in.

        Raises NotFound if a key was never given or is deleted.
        """
        ...

    def labels(self, keys: Int64s) -> Array | None:
        """``labels[n]`` of ``keys`` in that order, payloads untouched; None if unlabelled."""
        ...

    def only(self, keys: Int64s) -> "Reader":
        """A reader to be asked for these keys alone, in any order, again and again: it may look up once what holds for all of them."""
        ...

    def announce(self, keys: Int64s) -> None:
        """Say which keys will be read soon, so that cold pages can be fetched ahead. May do nothing."""
        ...


Payload = Columns
"""What a batch parser is given: the dataset's columns by name, each an array with the samples on its first axis.

A dataset of bytes has one column named ``payload``: ``uint8[n, width]`` where all samples have the same width, otherwise
an object array of ``memoryview``.
"""
