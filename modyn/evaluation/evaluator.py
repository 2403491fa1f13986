"""Scores checkpoints on windows: each (checkpoint, sample) is predicted once, however many windows overlap."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modyn.errors import EvaluationError
from modyn.evaluation import baselines
from modyn.evaluation.metrics import Metric, Undefined
from modyn.evaluation.options import Evaluation
from modyn.policy import Policy, describe_value, name_of, to_document
from modyn.types import Array, Int64s, Samples, Window

Predict = Callable[[Int64s], Array]
"""Outputs for keys: ``[n, classes]`` probabilities, or values ``[n]`` / ``[n, columns]``."""


@dataclass(frozen=True)
class Score:
    """One metric on one window; ``value`` is None where it is undefined, and ``reason`` says why."""

    window: int
    metric: str
    value: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"window": self.window, "metric": self.metric, "value": self.value, "reason": self.reason}


class Evaluator:
    """Scores whatever predicts, on the windows of one evaluation over one dataset."""

    def __init__(
        self, options: Evaluation, samples: Samples, *, windows: Sequence[Window] | None = None, first: int = 0
    ) -> None:
        """``windows`` (None = as the options lay them out over the samples) are numbered from ``first`` on."""
        if samples.labels is None:
            raise EvaluationError("the dataset has no labels, so nothing can be scored; add it with a label")
        self.options = options
        self.samples = baselines.in_time_order(samples)
        self.metrics: Mapping[str, Metric] = metric_names(options.metrics)
        times = self.samples.timestamps
        if windows is None:
            windows = options.windows.lay_out(int(times[0]), int(times[-1])) if len(times) else []
        self.windows, self.first = list(windows), first
        edges = np.array([(w.start, w.end) for w in self.windows], dtype=np.int64).reshape(-1, 2)
        self._rows = np.searchsorted(times, edges)

    @property
    def numbers(self) -> range:
        """The windows' numbers."""
        return range(self.first, self.first + len(self.windows))

    def describe(self) -> list[dict[str, int]]:
        """The windows, for the run log."""
        return [
            {"start": w.start, "end": w.end, "num_samples": int(end - start)}
            for w, (start, end) in zip(self.windows, self._rows, strict=True)
        ]

    def num_classes(self) -> int | None:
        """How many classes the labels have; None if a metric takes them as real values.

        Raises EvaluationError if a metric needs class labels and these are not whole numbers >= 0, one a sample, or if one metric
        needs an output a class and another a single one.
        """
        labels = self.samples.labels
        assert labels is not None
        needy = [name for name, metric in self.metrics.items() if metric.needs != "values"]
        if not needy:
            return None
        if labels.ndim != 1 or (
            len(labels) and (labels.min() < 0 or not np.array_equal(labels.astype(np.int64), labels))
        ):
            got = f"{labels.shape[1]} columns" if labels.ndim != 1 else f"from {labels.min():g} to {labels.max():g}"
            raise EvaluationError(
                f"{needy[0]} needs whole-number class labels >= 0, one a sample; the dataset's are {got}"
            )
        classes = max(2, int(labels.max()) + 1 if len(labels) else 0)
        if len(needy) == len(self.metrics):
            return classes
        if classes > 2:
            other = next(name for name in self.metrics if name not in needy)
            raise EvaluationError(
                f"{needy[0]} needs an output for each of the {classes} classes, {other} one value a sample: choose one kind of metric"
            )
        return None

    def check(self, keys: Int64s, outputs: Array) -> None:
        """Try every metric on ``outputs`` of ``keys``, and every label against the number of outputs.

        Raises EvaluationError saying what does not fit.
        """
        num_classes, width = self.num_classes(), outputs.shape[1] if outputs.ndim == 2 else 1
        if num_classes is not None and num_classes > max(2, width):
            assert self.samples.labels is not None
            first = self.samples.keys[int(self.samples.labels.argmax())]
            raise EvaluationError(
                f"sample {first} has label {num_classes - 1}, and the model gives {width} classes only"
            )
        if not np.isfinite(outputs).all():
            bad = keys[~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)]
            raise EvaluationError(
                f"the model's outputs of {len(bad)} of {len(keys)} samples are not finite (first: sample {bad[0]}): look for missing or "
                "huge values in what the parser gives"
            )
        assert self.samples.labels is not None
        order = np.argsort(self.samples.keys)
        labels = self.samples.labels[order[np.searchsorted(self.samples.keys, keys, sorter=order)]]
        for name, metric in self.metrics.items():
            with contextlib.suppress(Undefined):
                self._value(name, metric, labels, outputs)

    def score(self, predict: Predict, windows: Sequence[int] | None = None) -> tuple[list[Score], int]:
        """The scores of a predictor on some windows (None = all), and how many samples it predicted.

        Raises EvaluationError if the outputs do not fit the labels.
        """
        chosen = self.numbers if windows is None else windows
        needed = np.zeros(len(self.samples) + 1, dtype=np.int64)
        for window in chosen:
            start, end = self._rows[window - self.first]
            needed[start] += 1
            needed[end] -= 1
        rows = np.flatnonzero(np.cumsum(needed[:-1]) > 0)
        outputs = predict(self.samples.keys[rows]) if len(rows) else np.zeros((0, 1))
        place = np.searchsorted(rows, self._rows)
        parts = {w: outputs[place[w - self.first, 0] : place[w - self.first, 1]] for w in chosen}
        return [score for window in chosen for score in self._window_scores(window, parts[window])], len(rows)

    def baselines(
        self, num_classes: int | None, windows: Sequence[int] | None = None
    ) -> Iterator[tuple[str, list[Score]]]:
        """The scores of each baseline on some windows (None = all); ``num_classes`` is None for real-valued labels."""
        guesses: dict[str, Callable[[Window], Array | None]] = {
            "no-change": lambda w: baselines.no_change(self.samples, w, num_classes),
        }
        if num_classes is None:
            guesses["mean-label"] = lambda w: baselines.mean_label(self.samples, w)
        else:
            guesses["majority-class"] = lambda w: baselines.majority_class(self.samples, w, num_classes)
        for name, guess in sorted(guesses.items()):
            scores: list[Score] = []
            for number in self.numbers if windows is None else windows:
                outputs = guess(self.windows[number - self.first])
                if outputs is None:
                    scores += [Score(number, m, None, "no sample comes before this window") for m in self.metrics]
                else:
                    scores += self._window_scores(number, outputs, hard=name == "no-change")
            yield name, scores

    def _window_scores(self, window: int, outputs: Array, *, hard: bool = False) -> list[Score]:
        start, end = self._rows[window - self.first]
        assert self.samples.labels is not None
        labels = self.samples.labels[start:end]
        return [self._one(window, name, metric, labels, outputs, hard=hard) for name, metric in self.metrics.items()]

    def _one(self, window: int, name: str, metric: Metric, labels: Array, outputs: Array, *, hard: bool) -> Score:
        if not len(labels):
            return Score(window, name, None, "no samples")
        if hard and metric.needs == "probabilities":
            return Score(window, name, None, "a repeated label is no probability")
        if not np.isfinite(outputs).all():
            bad = int((~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)).sum())
            return Score(window, name, None, f"the outputs of {bad} of {len(outputs)} samples are not finite")
        try:
            value = self._value(name, metric, labels, outputs)
        except Undefined as reason:
            return Score(window, name, None, str(reason))
        except EvaluationError as error:
            raise EvaluationError(f"window {self.windows[window - self.first]}: {error}") from error
        return Score(window, name, value) if np.isfinite(value) else Score(window, name, None, f"came out as {value}")

    @staticmethod
    def _value(name: str, metric: Metric, labels: Array, outputs: Array) -> float:
        try:
            return float(metric.score(labels, outputs))
        except Undefined:
            raise
        except EvaluationError as error:
            raise EvaluationError(f"{name}: {error}") from error
        except Exception as error:
            shape = f"{len(labels)} samples, outputs {list(outputs.shape)}"
            raise EvaluationError(f"{name} failed on {shape}: {type(error).__name__}: {error}") from error


def metric_names(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """The metrics by the names that tables show: the policy's name, with its options where two would share one."""
    names = [name_of(type(metric)) for metric in metrics]
    spelt = [
        name if names.count(name) == 1 else _with_options(metric) for name, metric in zip(names, metrics, strict=True)
    ]
    if len(set(spelt)) < len(spelt):
        raise EvaluationError(f"a metric is named twice with the same options: {describe_value(spelt)}")
    return dict(zip(spelt, metrics, strict=True))


def _with_options(policy: Policy) -> str:
    document = to_document(policy)
    if isinstance(document, str):
        return document
    name, options = next(iter(document.items()))
    return f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})"
