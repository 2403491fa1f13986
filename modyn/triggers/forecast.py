"""Forecasts of a short series, and of what a training costs."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from modyn.types import Float64s

Method = Literal["ridge", "rolling-average"]


def forecast(values: Float64s, *, method: Method, ridge: float = 1.0) -> float:
    """The next value of a series: on its ridge-regressed line, or its mean; NaN of an empty series.

    >>> forecast(np.array([1.0, 2.0, 3.0]), method="rolling-average")
    2.0
    >>> round(forecast(np.array([1.0, 2.0, 3.0]), method="ridge", ridge=0.0), 6)
    4.0
    """
    if not len(values):
        return float("nan")
    return fitted_line(
        np.arange(len(values), dtype=np.float64), values, len(values), ridge=ridge if method == "ridge" else np.inf
    )


def fitted_line(x: Float64s, y: Float64s, at: float, *, ridge: float) -> float:
    """The value at ``at`` of the least-squares line through ``(x, y)`` whose slope is penalised by ``ridge`` (Hoerl and Kennard 1970)."""
    centred = x - x.mean()
    spread = float((centred**2).sum())
    slope = float((centred * (y - y.mean())).sum()) / (spread + ridge) if spread > 0 else 0.0
    return float(y.mean() + slope * (at - x.mean()))


class TrainingCosts:
    """What trainings cost: wall seconds as a ridge-regressed line on the number of samples, over the last ``window`` rounds.

    The number is that of the samples that arrived since the round before, which is what a trigger predicts from; a selector may train on others.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.past: list[tuple[int, float]] = []

    def record(self, num_samples: int, costs: "dict[str, float] | Sequence[tuple[str, float]]") -> None:
        """Learn from a round; the seconds of its stations except the trigger's own and the evaluation's."""
        seconds = sum(value for station, value in dict(costs).items() if station not in ("trigger", "evaluate"))
        self.past = [*self.past, (int(num_samples), float(seconds))][-self.window :]

    def line(self) -> tuple[float, float]:
        """Seconds at zero samples and for each sample more; with one past training all trainings are taken to cost the same.

        None is predicted to cost less than nothing: where the line would begin below zero, it is the one through zero.

        >>> costs = TrainingCosts(5)
        >>> for n in (100, 200, 300): costs.record(n, {"train": 1 + n / 100})
        >>> [round(number, 4) for number in costs.line()]
        [1.008, 0.01]
        """
        samples = np.array([n for n, _ in self.past], dtype=np.float64)
        seconds = np.array([s for _, s in self.past], dtype=np.float64)
        unit = float(samples.mean()) or 1.0
        ends = [fitted_line(samples / unit, seconds, at, ridge=0.002) for at in (0.0, 1.0)]
        slope = max((ends[1] - ends[0]) / unit, 0.0)
        start = float(seconds.mean() - slope * samples.mean())
        return (start, slope) if start >= 0 else (0.0, float(samples @ seconds) / float(samples @ samples))

    def predict(self, num_samples: float) -> float:
        """Seconds that a training on so many samples will take."""
        start, slope = self.line()
        return start + slope * num_samples
