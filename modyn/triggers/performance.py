"""Train when the deployed checkpoint's score gets worse."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from modyn.config import DurationOrZero
from modyn.triggers import Features, Trigger
from modyn.triggers.criteria import Criterion, Evidence, Verdict
from modyn.triggers.criteria.avoidable_misclassifications import AvoidableMisclassifications
from modyn.triggers.criteria.p_value import PValue
from modyn.triggers.criteria.threshold import Threshold
from modyn.triggers.every import Every
from modyn.triggers.features import bound_features
from modyn.triggers.forecast import Method, forecast
from modyn.triggers.labelled import Labelled
from modyn.triggers.rhythm import Rhythm, checked, fresh
from modyn.triggers.scores import HIGHER_IS_BETTER, NOT_OF_CLASSES, ScoreName, score
from modyn.triggers.warmup import WarmingUp, Warmup
from modyn.types import Float64s, Round, Samples

_ROUNDS_REMEMBERED = 5


class Performance(Trigger):
    """Fires when the deployed checkpoint's score on newly labelled data meets a criterion.

    At each check it is scored on the samples whose labels became known since the check before and on which it was not trained. With ``mode:
    lookahead`` the score and the number of samples up to the next check are forecast from the last checks since the round, and the criteria judge the
    forecast as well. Before there is a checkpoint, the first check fires, but for those of the ``warmup``. If rounds follow each other faster than ``label_delay``, nothing can be scored.

    Wang and Abraham 2015, "Concept Drift Detection for Streaming Data".

    >>> import numpy as np
    >>> from modyn.triggers.criteria.threshold import Threshold
    >>> from modyn.triggers.memory_features import MemoryFeatures
    >>> features = MemoryFeatures(np.zeros(40), labels=np.repeat([0, 1], 20))
    >>> features.deploy("run-1/0", model=lambda raw: np.tile([1.0, 0.0], (len(raw), 1)))
    >>> trigger = Performance(check_every=10, criteria={"bound": Threshold(value=0.8)})
    >>> trigger.bind(features)
    >>> next(trigger.update(Samples(np.arange(40), np.arange(40))))
    29
    """

    metric: ScoreName = Field(
        "accuracy", description="accuracy, balanced-accuracy, f1-macro, roc-auc, loss or mean-absolute-error"
    )
    check_every: Rhythm = Field(
        default_factory=lambda: Every(samples=1000), description="samples or sample time between checks"
    )
    criteria: Mapping[str, Criterion] = Field(description="by name: which scores call for training")
    combine: Literal["any", "all"] = Field("any", description="whether one criterion suffices")
    label_delay: DurationOrZero = Field(0, description="how long after its sample's time a label becomes known")
    min_samples: PositiveInt = Field(
        1, description="score no fewer newly labelled samples; fewer wait for the next check"
    )
    mode: Literal["hindsight", "lookahead"] = Field(
        "hindsight", description="judge what was seen, or what is forecast for the next check too"
    )
    forecast: Method = Field("ridge", description="how lookahead forecasts: a line with a ridge penalty, or the mean")
    forecast_window: PositiveInt = Field(10, description="number of past values that a forecast looks at")
    warmup: Warmup = Field(
        default_factory=Warmup,
        description="the first checks, at which a simple trigger decides: {checks: ..., trigger: ...}",
    )
    _beat: Every = PrivateAttr()
    _warming: WarmingUp = PrivateAttr()
    _asked: bool | None = PrivateAttr(default=None)
    _labelled: Labelled = PrivateAttr()
    _history: list[float] = PrivateAttr(default_factory=list)
    _counts: list[tuple[float, float]] = PrivateAttr(default_factory=list)
    _right_after: list[float] = PrivateAttr(default_factory=list)
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @model_validator(mode="after")
    def _set_up(self) -> "Performance":
        if not self.criteria:
            raise ValueError("criteria: needs at least one")
        for name, criterion in self.criteria.items():
            if isinstance(criterion, PValue):
                raise ValueError(f"criteria.{name}: p-value is for the drift trigger: a score has no p-value")
            if isinstance(criterion, AvoidableMisclassifications) and self.metric in NOT_OF_CLASSES:
                raise ValueError(
                    f"criteria.{name}: avoidable-misclassifications counts errors, which metric {self.metric} does not; use accuracy"
                )
            if isinstance(criterion, Threshold) and HIGHER_IS_BETTER[self.metric] and criterion.value > 1:
                raise ValueError(
                    f"criteria.{name}: {self.metric} is at most 1, so that a threshold of {criterion.value:g} would fire at each check"
                )
        self._warming = WarmingUp(self.warmup)
        self._beat, self._labelled = fresh(self.check_every), Labelled(self.label_delay)
        return self

    def bind(self, features: Features) -> None:
        super().bind(features)
        self._warming.bind(features)

    def update(self, batch: Samples) -> Iterator[int]:
        return checked(self._beat, batch, take=self._take, check=self._check)

    def ahead(self, batch: Samples) -> int:
        return self._beat.ahead(batch)

    def _take(self, samples: Samples) -> None:
        self._warming.take(samples)
        if len(samples):
            self._labelled.append(samples)
            self._last = int(samples.keys[-1]), int(samples.timestamps[-1])

    def _check(self) -> bool:
        self._asked = self._warming.decides()
        features = bound_features(self._features)
        if features.checkpoint is None:
            return self._noted(True, reason="there is no checkpoint yet")
        due = self._labelled.due()
        if len(due) < self.min_samples:
            return self._noted(False, reason="too few newly labelled samples", num_samples=len(due))
        found = score(features, self.metric, due)
        if len(found.keys) < self.min_samples:
            return self._noted(False, reason="too few newly labelled samples", num_samples=len(found.keys))
        self._labelled.settled(found.keys)
        if not self._counts and not np.isnan(found.num_wrong):
            accuracy = 1 - found.num_wrong / len(found.keys)
            self._right_after = [*self._right_after, accuracy][-_ROUNDS_REMEMBERED:]
        self._counts.append((float(len(found.keys)), found.num_wrong))
        return self._judge(found.value, len(found.keys))

    def _judge(self, value: float, num_samples: int) -> bool:
        past = np.array(self._history, dtype=np.float64)
        counts = np.array(self._counts)
        verdicts = self._verdicts(value, past, counts)
        fires = self._decided(verdicts)
        if not np.isnan(value):
            memory = max(self.forecast_window, *(c.memory for c in self.criteria.values()))
            self._history = [*self._history, value][-memory:]
        ahead = None
        if self.mode == "lookahead":
            ahead, more = self._foresee(counts)
            # The next check will judge its score after this one.
            fires = fires or self._decided(self._verdicts(ahead, np.array(self._history, dtype=np.float64), more))
        return self._noted(fires, value=value, verdicts=verdicts, num_samples=num_samples, ahead=ahead)

    def _foresee(self, counts: Float64s) -> tuple[float, Float64s]:
        """The score forecast for the next check from those since the last round, and the counts with that check's forecast appended."""
        recent = np.array(self._history[-min(self.forecast_window, len(counts)) :], dtype=np.float64)
        value = forecast(recent, method=self.forecast)
        window = counts[-self.forecast_window :]
        arriving = max(forecast(window[:, 0], method=self.forecast), 0.0)
        share = forecast(window[:, 1] / window[:, 0], method=self.forecast)
        return value, np.vstack([counts, [arriving, float(np.clip(share, 0, 1)) * arriving]])

    def _verdicts(self, value: float, past: Float64s, counts: Float64s) -> dict[str, Verdict]:
        evidence = Evidence(
            value=value,
            history=past,
            low=HIGHER_IS_BETTER[self.metric],
            counts=None if np.isnan(counts).any() else counts,
            expected=float(np.mean(self._right_after)) if self._right_after else None,
        )
        return {name: criterion.judge(evidence) for name, criterion in self.criteria.items()}

    def _decided(self, verdicts: Mapping[str, Verdict]) -> bool:
        votes = [verdict.fires for verdict in verdicts.values()]
        return any(votes) if self.combine == "any" else all(votes)

    def _noted(
        self,
        fires: bool,
        *,
        reason: str | None = None,
        value: float | None = None,
        verdicts: Mapping[str, Verdict] | None = None,
        num_samples: int = 0,
        ahead: float | None = None,
    ) -> bool:
        if self._asked is not None:
            fires, reason = self._asked, "warm-up"
        criteria: dict[str, dict[str, Any]] = {
            name: {"threshold": v.bound, "fired": v.fires}
            | (dict[str, Any]() if v.of is None else {"of": v.of, "measured": v.measured})
            for name, v in (verdicts or {}).items()
        }
        self.note(
            trigger="performance",
            key=self._last[0],
            timestamp=self._last[1],
            fired=fires,
            reason=reason,
            metric=self.metric,
            score=None if value is None or np.isnan(value) else value,
            threshold=next((v.bound for v in (verdicts or {}).values()), None),
            criteria=criteria,
            forecast=None if ahead is None or np.isnan(ahead) else ahead,
            num_samples=num_samples,
            expected_accuracy=float(np.mean(self._right_after)) if self._right_after else None,
        )
        return fires

    def inform(self, round: Round) -> None:  # noqa: A002
        self._warming.inform(round)
        self._labelled.inform(round)
        self._counts = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "beat": self._beat.state_dict(),
            "warmup": self._warming.state_dict(),
            "labelled": self._labelled.state_dict(),
            "history": list(self._history),
            "counts": [[n, None if np.isnan(wrong) else wrong] for n, wrong in self._counts],
            "right_after": list(self._right_after),
            "last": list(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._beat.load_state_dict(state["beat"])
        self._warming.load_state_dict(state["warmup"])
        self._labelled.load_state_dict(state["labelled"])
        self._history, self._right_after = list(state["history"]), list(state["right_after"])
        self._counts = [(n, float("nan") if wrong is None else wrong) for n, wrong in state["counts"]]
        self._last = (state["last"][0], state["last"][1])
