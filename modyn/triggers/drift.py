"""Train when the data has drifted."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, PrivateAttr, model_validator

from modyn.drift import Distance, DriftMetric, SquaredDistances
from modyn.drift.kept import KeptPairs, Keyed
from modyn.drift.mmd import Mmd
from modyn.drift.windows import DriftWindow, TwoWindows
from modyn.drift.windows.amount import Amount
from modyn.drift.windows.packing import pack, unpack
from modyn.drift.windows.time import Time
from modyn.errors import counted
from modyn.policy import Options, name_of
from modyn.problems import describe_value
from modyn.triggers import Features, Trigger
from modyn.triggers.criteria import Criterion, Evidence, Verdict
from modyn.triggers.criteria.avoidable_misclassifications import AvoidableMisclassifications
from modyn.triggers.criteria.p_value import PValue
from modyn.triggers.criteria.quantile import Quantile
from modyn.triggers.every import Every
from modyn.triggers.features import KeptFeatures, Kind, Kinds, bound_features
from modyn.triggers.moved import moved_most
from modyn.triggers.rhythm import Rhythm, checked, fresh
from modyn.triggers.warmup import Warmup
from modyn.types import Int64s, Round, Samples


def _votes(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(r"majority|any|all|at-least [1-9]\d*", value) is None:
        raise ValueError(
            f"must be majority, any, all, or at-least n, such as 'at-least 2'; got {describe_value(value)}"
        )
    return value


class Judged(Options):
    """A drift metric and the criterion that its distances are held against."""

    metric: DriftMetric = Field(description="how far the windows lie apart")
    criterion: Criterion = Field(description="which distances call for training")

    @model_validator(mode="after")
    def _judgeable(self) -> "Judged":
        if isinstance(self.criterion, PValue) and not self.metric.gives_p_value:
            raise ValueError(
                f"criterion p-value would never fire: {name_of(type(self.metric))} gives no p-value as it stands; "
                "give it permutations, or choose a metric with a test (modyn policies drift-metric) or another criterion"
            )
        count = getattr(self.metric, "permutations", 0)
        if isinstance(self.criterion, PValue) and count and self.criterion.level < 1 / (count + 1):
            raise ValueError(
                f"criterion p-value would never fire: of {counted(count, 'permutation')} no p-value is below {1 / (count + 1):.3g}, and its level "
                f"is {self.criterion.level:g}; give {math.ceil(1 / self.criterion.level - 1e-9) - 1:,} or more"
            )
        if isinstance(self.criterion, AvoidableMisclassifications):
            raise ValueError("criterion avoidable-misclassifications is for the performance trigger: it counts errors")
        return self


class Drift(Trigger):
    """Fires when the current window of the stream lies far from the reference window.

    At each check every metric measures the distance between both windows' features, its criterion judges it, and the metrics vote. A check
    costs in terms of the windows and what is new, not of the stream's length: features are computed once for each (checkpoint, sample), and
    again for the reference when a new checkpoint changes them. Without a reference window, or without a checkpoint that the features need, a
    check fires. After the warm-up the distances between the references gathered and the current window are the criteria's first history.

    Lu et al. 2018, "Learning under Concept Drift: A Review".

    >>> import numpy as np
    >>> from modyn.triggers.memory_features import MemoryFeatures
    >>> from modyn.triggers.criteria.threshold import Threshold
    >>> values = np.concatenate([np.zeros(300), np.ones(300)])
    >>> judged = Judged(metric="ks", criterion=Threshold(value=0.5))
    >>> trigger = Drift(features="raw", metrics={"ks": judged}, check_every=100, window=Amount(reference=100, current=100))
    >>> trigger.bind(MemoryFeatures(values))
    >>> firings = trigger.update(Samples(np.arange(600), np.arange(600)))
    >>> next(firings)  # the first check: there is nothing to compare with
    99
    """

    window: DriftWindow = Field(default_factory=lambda: Amount(), description="reference and current window")
    features: Kinds = Field(
        (Kind("embedding"),),
        description="raw, label, embedding, loss, error, prediction, column:NAME, a user function, or a list of these",
    )
    metrics: Mapping[str, Judged] = Field(
        default_factory=lambda: {"mmd": Judged(metric=Mmd(), criterion=Quantile())},
        description="by name: {metric: ..., criterion: ...}",
    )
    decide: Annotated[str, BeforeValidator(_votes)] = Field(
        "any", description="how the metrics vote: majority, any, all, or 'at-least n'"
    )
    check_every: Rhythm = Field(
        default_factory=lambda: Every(samples=1000), description="samples or sample time between checks"
    )
    sample_size: PositiveInt = Field(5000, description="compare at most so many samples of each window")
    min_samples: PositiveInt = Field(2, description="do not compare while either window has fewer samples")
    warmup: Warmup = Field(default_factory=Warmup, description="the checks before the metrics decide")
    seed: NonNegativeInt = Field(0, description="seed of what is random in the metrics")
    _windows: TwoWindows = PrivateAttr()
    _beat: Every = PrivateAttr()
    _kept: KeptFeatures = PrivateAttr()
    _pairs: KeptPairs = PrivateAttr(default_factory=KeptPairs)
    _pairs_of: str | None = PrivateAttr(default=None)
    _history: dict[str, list[float]] = PrivateAttr(default_factory=dict)
    _checks: int = PrivateAttr(default=0)
    _asked: bool = PrivateAttr(default=False)
    _gathered: list[Int64s] = PrivateAttr(default_factory=list)
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @model_validator(mode="after")
    def _set_up(self) -> "Drift":
        if not self.metrics:
            raise ValueError("metrics: needs at least one")
        if self.decide.startswith("at-least") and int(self.decide.split()[1]) > len(self.metrics):
            raise ValueError(f"decide: {self.decide} can never be reached with {counted(len(self.metrics), 'metric')}")
        most = {"sample_size": self.sample_size}
        if isinstance(self.window, Amount):
            most |= {"window.amount.reference": self.window.reference, "window.amount.current": self.window.current}
        for name, count in most.items():
            if count < self.min_samples:
                raise ValueError(
                    f"min_samples: with {name}: {count} no window ever has {self.min_samples} samples to compare"
                )
        self._windows, self._beat = TwoWindows(self.window), fresh(self.check_every)
        self._kept, self._history = KeptFeatures(self.features), {name: [] for name in self.metrics}
        return self

    def bind(self, features: Features) -> None:
        super().bind(features)
        self.warmup.trigger.bind(features)

    def update(self, batch: Samples) -> Iterator[int]:
        return checked(self._beat, batch, take=self._take, check=self._check)

    def ahead(self, batch: Samples) -> int:
        return self._beat.ahead(batch)

    def _take(self, samples: Samples) -> None:
        if not len(samples):
            return
        self._windows.append(samples)
        self._last = int(samples.keys[-1]), int(samples.timestamps[-1])
        if self._checks < self.warmup.checks:
            for _ in self.warmup.trigger.update(samples):
                self._asked = True

    def _check(self) -> bool:
        self._checks += 1
        reference, current = self._windows.sample(self.sample_size)
        if self._checks <= self.warmup.checks:
            return self._warm_up(current)
        if not len(reference):
            return self._noted(True, reason="there is no reference window yet")
        if self._kept.needs_checkpoint and bound_features(self._features).checkpoint is None:
            return self._noted(True, reason="there is no checkpoint yet")
        if min(len(reference), len(current)) < self.min_samples:
            return self._noted(False, reason="too few samples in a window", sizes=(len(reference), len(current)))
        return self._compare(reference, current)

    def _compare(self, reference: Int64s, current: Int64s) -> bool:
        features = bound_features(self._features)
        left, right = self._kept.rows(features, reference, current)
        squared = self._squared(features.checkpoint, Keyed(reference, left), Keyed(current, right))
        judged: dict[str, tuple[Distance, Verdict]] = {}
        for name, pair in self.metrics.items():
            seed = self.seed + self._checks
            if squared is None or pair.metric.needs_rows:
                distance = pair.metric.distance(left, right, seed=seed)
            else:
                distance = pair.metric.of_distances(squared, seed=seed)
            past = np.array(self._history[name], dtype=np.float64)
            evidence = Evidence(value=distance.value, history=past, p_value=distance.p_value)
            judged[name] = distance, pair.criterion.judge(evidence)
            self._remember(name, distance.value)
        fires = self._decided([verdict.fires for _, verdict in judged.values()])
        moved = moved_most(left, right, names=self._kept.names)
        return self._noted(fires, judged=judged, sizes=(len(left), len(right)), moved=moved)

    def _squared(self, checkpoint: str | None, reference: Keyed, current: Keyed) -> SquaredDistances | None:
        """The distances between the windows' rows, where a metric looks at no more and they are worth keeping."""
        if not self._slides or all(pair.metric.needs_rows for pair in self.metrics.values()):
            return None
        if self._kept.needs_checkpoint and checkpoint != self._pairs_of:
            self._pairs.forget()
        self._pairs_of = checkpoint
        return self._pairs.between(reference, current)

    @property
    def _slides(self) -> bool:
        """Whether the current window keeps samples from one check to the next, so that distances between them are met again."""
        bounds, rhythm = self.window, self.check_every
        if isinstance(bounds, Amount) and rhythm.samples is not None:
            return rhythm.samples < bounds.current
        if isinstance(bounds, Time) and rhythm.interval is not None:
            return rhythm.interval < bounds.current
        return True

    def _remember(self, name: str, value: float) -> None:
        memory = self.metrics[name].criterion.memory
        if memory and not np.isnan(value):
            self._history[name] = [*self._history[name], value][-memory:]

    def _decided(self, votes: list[bool]) -> bool:
        need = {"any": 1, "all": len(votes), "majority": len(votes) // 2 + 1}.get(self.decide)
        return sum(votes) >= (need if need is not None else int(self.decide.split()[1]))

    def _warm_up(self, current: Int64s) -> bool:
        """The simple trigger decides; the references that its rounds make are remembered, and the last check calibrates."""
        fires, self._asked = self._asked, False
        needs_model = self._kept.needs_checkpoint and bound_features(self._features).checkpoint is None
        if self._checks == self.warmup.checks and self._gathered and not needs_model:
            self._calibrate(current)
        return self._noted(fires, reason="warm-up")

    def _calibrate(self, current: Int64s) -> None:
        features = bound_features(self._features)
        rows = self._kept.rows(features, current, *self._gathered)
        for name, pair in self.metrics.items():
            for reference in rows[1:]:
                self._remember(name, pair.metric.distance(reference, rows[0], seed=self.seed).value)
        self._gathered = []

    def _noted(
        self,
        fires: bool,
        *,
        reason: str | None = None,
        judged: Mapping[str, tuple[Distance, Verdict]] | None = None,
        sizes: tuple[int, int] = (0, 0),
        moved: list[dict[str, Any]] | None = None,
    ) -> bool:
        metrics = {
            name: {
                "distance": _number(distance.value),
                "threshold": verdict.bound,
                "p_value": distance.p_value,
                "fired": verdict.fires,
                **({} if verdict.of is None else {"of": verdict.of, "measured": verdict.measured}),
            }
            for name, (distance, verdict) in (judged or {}).items()
        }
        first = next(iter(metrics.values()), {"distance": None, "threshold": None, "p_value": None})
        self.note(
            trigger="drift",
            key=self._last[0],
            timestamp=self._last[1],
            fired=fires,
            reason=reason,
            distance=first["distance"],
            threshold=first["threshold"],
            p_value=first["p_value"],
            metrics=metrics,
            decide=self.decide,
            num_reference=sizes[0],
            num_current=sizes[1],
            moved=moved or [],
        )
        return fires

    def inform(self, round: Round) -> None:  # noqa: A002
        self._windows.turn()
        self._pairs.forget()
        if self._checks < self.warmup.checks:
            self.warmup.trigger.inform(round)
            self._gathered.append(self._windows.sample(self.sample_size)[0])

    def state_dict(self) -> dict[str, Any]:
        return {
            "windows": self._windows.state_dict(),
            "beat": self._beat.state_dict(),
            "history": {name: list(values) for name, values in self._history.items()},
            "checks": self._checks,
            "asked": self._asked,
            "gathered": [pack(keys) for keys in self._gathered],
            "last": list(self._last),
            "warmup": self.warmup.trigger.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._windows.load_state_dict(state["windows"])
        self._beat.load_state_dict(state["beat"])
        self._history = {name: list(values) for name, values in state["history"].items()}
        self._checks, self._asked = state["checks"], state["asked"]
        self._gathered = [unpack(text) for text in state["gathered"]]
        self._last = (state["last"][0], state["last"][1])
        self.warmup.trigger.load_state_dict(state["warmup"])


def _number(value: float) -> float | None:
    """The value, or None where it is not a finite number, as JSON wants it."""
    return float(value) if np.isfinite(value) else None
