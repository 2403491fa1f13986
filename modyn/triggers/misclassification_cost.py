"""Train when avoidable errors have cost more than training will."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from modyn.config import DurationOrZero
from modyn.triggers import Features, Trigger
from modyn.triggers.criteria.avoidable_misclassifications import avoidable
from modyn.triggers.every import Every
from modyn.triggers.features import bound_features
from modyn.triggers.forecast import TrainingCosts
from modyn.triggers.labelled import Labelled, with_known_labels
from modyn.triggers.rhythm import Rhythm, checked, fresh
from modyn.triggers.warmup import WarmingUp, Warmup
from modyn.types import Round, Samples

_ROUNDS_REMEMBERED = 5


class MisclassificationCost(Trigger):
    """Fires when the area under (avoidable misclassifications so far) over time, divided by the exchange rate, reaches the predicted training seconds.

    At each check the avoidable misclassifications on newly labelled samples, max(0, wrong - (1 - expected accuracy) n), are added to their number
    since the last round; the area under that number over sample time is the regret. The expected accuracy is the mean of the first checks after past
    rounds, unless given. Before there is a checkpoint, the first check fires, but for those of the ``warmup``. Everything starts anew at each round.

    Mahadevan and Mathioudakis 2024, "Cost-aware retraining for machine learning".

    >>> import numpy as np
    >>> from modyn.triggers.memory_features import MemoryFeatures
    >>> trigger = MisclassificationCost(seconds_of_delay_per_training_second=1.0, check_every=10)
    >>> trigger.bind(MemoryFeatures(np.zeros(40), labels=np.zeros(40)))
    >>> next(trigger.update(Samples(np.arange(40), np.arange(40))))  # there is no checkpoint yet
    9
    """

    seconds_of_delay_per_training_second: PositiveFloat = Field(
        allow_inf_nan=False,
        description="how many seconds one avoidable misclassification may go on for each second of training saved",
    )
    window: PositiveInt = Field(10, description="number of past trainings from which their cost is learned")
    expected_accuracy: float | None = Field(
        None, ge=0, le=1, description="the accuracy of a new checkpoint (null = learned from past rounds)"
    )
    allow_reduction: bool = Field(
        False, description="whether a check with fewer errors than expected takes from the number"
    )
    check_every: Rhythm = Field(
        default_factory=lambda: Every(samples=1000), description="samples or sample time between checks"
    )
    label_delay: DurationOrZero = Field(0, description="how long after its sample's time a label becomes known")
    warmup: Warmup = Field(
        default_factory=Warmup,
        description="the first checks, at which a simple trigger decides: {checks: ..., trigger: ...}",
    )
    _beat: Every = PrivateAttr()
    _warming: WarmingUp = PrivateAttr()
    _asked: bool | None = PrivateAttr(default=None)
    _labelled: Labelled = PrivateAttr()
    _costs: TrainingCosts = PrivateAttr()
    _right_after: list[float] = PrivateAttr(default_factory=list)
    _first_check: bool = PrivateAttr(default=True)
    _number: float = PrivateAttr(default=0.0)
    _area: float = PrivateAttr(default=0.0)
    _since: int | None = PrivateAttr(default=None)
    _count: int = PrivateAttr(default=0)
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @model_validator(mode="after")
    def _set_up(self) -> "MisclassificationCost":
        self._warming = WarmingUp(self.warmup)
        self._beat, self._labelled = fresh(self.check_every), Labelled(self.label_delay)
        self._costs = TrainingCosts(self.window)
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
            self._count += len(samples)
            self._last = int(samples.keys[-1]), int(samples.timestamps[-1])

    def _check(self) -> bool:
        self._asked = self._warming.decides()
        features = bound_features(self._features)
        if features.checkpoint is None:
            return self._noted(True, reason="there is no checkpoint yet")
        now = self._labelled.now
        if now is not None and self._since is not None:
            self._area += self._number * (now - self._since) / 1e6
        self._since = now
        keys, wrong = with_known_labels(features, self._labelled.due())
        self._labelled.settled(keys)
        if len(keys):
            self._add(len(keys), float(wrong.sum()))
        if not self._costs.past:
            return self._noted(False, reason="no training's cost is known yet", num_samples=len(keys))
        needed = self._costs.predict(self._count) * self.seconds_of_delay_per_training_second
        fires = self._number > 0 and self._area >= needed
        return self._noted(fires, num_samples=len(keys), threshold=needed)

    def _add(self, num_samples: int, num_wrong: float) -> None:
        if self._first_check:
            self._right_after = [*self._right_after, 1 - num_wrong / num_samples][-_ROUNDS_REMEMBERED:]
            self._first_check = False
        counts = np.array([[num_samples, num_wrong]], dtype=np.float64)
        self._number += float(avoidable(counts, self._expected(), allow_reduction=self.allow_reduction)[0])

    def _expected(self) -> float:
        return float(np.mean(self._right_after)) if self.expected_accuracy is None else self.expected_accuracy

    def _noted(
        self, fires: bool, *, reason: str | None = None, num_samples: int = 0, threshold: float | None = None
    ) -> bool:
        if self._asked is not None:
            fires, reason = self._asked, "warm-up"
        self.note(
            trigger="misclassification-cost",
            key=self._last[0],
            timestamp=self._last[1],
            fired=fires,
            reason=reason,
            distance=self._area,
            threshold=threshold,
            avoidable=self._number,
            expected_accuracy=self._expected() if self._right_after or self.expected_accuracy is not None else None,
            num_samples=num_samples,
        )
        return fires

    def inform(self, round: Round) -> None:  # noqa: A002
        self._warming.inform(round)
        self._costs.record(self._count, dict(round.costs))
        self._labelled.inform(round)
        self._number = self._area = 0.0
        self._count, self._first_check = 0, True

    def state_dict(self) -> dict[str, Any]:
        return {
            "beat": self._beat.state_dict(),
            "warmup": self._warming.state_dict(),
            "labelled": self._labelled.state_dict(),
            "costs": [list(pair) for pair in self._costs.past],
            "right_after": list(self._right_after),
            "first_check": self._first_check,
            "number": self._number,
            "area": self._area,
            "since": self._since,
            "count": self._count,
            "last": list(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._beat.load_state_dict(state["beat"])
        self._warming.load_state_dict(state["warmup"])
        self._labelled.load_state_dict(state["labelled"])
        self._costs.past = [(n, seconds) for n, seconds in state["costs"]]
        self._right_after, self._first_check = list(state["right_after"]), state["first_check"]
        self._number, self._area, self._since = state["number"], state["area"], state["since"]
        self._count, self._last = state["count"], (state["last"][0], state["last"][1])
