"""Another trigger's firings, never too soon after a round and never too late."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from modyn.config import Duration
from modyn.triggers import Features, Trigger
from modyn.triggers.combining.children import Children
from modyn.types import Round, Samples


class Cooldown(Trigger):
    """Fires when its trigger does, but never sooner than ``min_samples`` and ``min_interval`` after the last round, nor later than ``max_interval``.

    A firing that comes too soon is kept and takes place after the first sample with which both bounds are met, or is dropped with ``early: drop``. The
    first round may come at any time; ``max_interval`` counts from the first sample then. Time is sample time, the greatest timestamp seen.

    >>> import numpy as np
    >>> from modyn.triggers.every import Every
    >>> from modyn.types import Samples
    >>> list(Cooldown(trigger=Every(samples=2), min_samples=5).update(Samples(np.arange(14), np.arange(14))))
    [1, 6, 11]
    """

    trigger: Trigger = Field(description="whose firings are let through")
    min_samples: PositiveInt | None = Field(None, description="samples that must have arrived since the last round")
    min_interval: Duration | None = Field(None, description="sample time that must have passed since the last round")
    max_interval: Duration | None = Field(
        None, description="sample time after the last round at which to fire in any case"
    )
    early: Literal["keep", "drop"] = Field("keep", description="what becomes of a firing that comes too soon")
    _bounds: "_Bounds" = PrivateAttr()
    _children: Children = PrivateAttr()
    _kept: tuple[int, int] | None = PrivateAttr(default=None)
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @model_validator(mode="after")
    def _set_up(self) -> "Cooldown":
        bounds = (self.min_samples, self.min_interval, self.max_interval)
        if bounds == (None, None, None):
            raise ValueError("needs at least one of min_samples, min_interval and max_interval")
        if self.min_interval and self.max_interval and self.min_interval > self.max_interval:
            raise ValueError("min_interval must not be longer than max_interval")
        self._bounds = _Bounds(samples=self.min_samples, least=self.min_interval, most=self.max_interval)
        self._children = Children((self.trigger, self._bounds))
        return self

    def bind(self, features: Features) -> None:
        super().bind(features)
        self._children.bind(features)

    def update(self, batch: Samples) -> Iterator[int]:
        for position, (asked, _) in self._children.events(batch):
            if position >= 0:
                self._last = int(batch.keys[position]), int(batch.timestamps[position])
            overdue, allowed = self._bounds.overdue, self._bounds.allowed
            nothing_new = self._bounds.just_restarted and bool(len(batch))
            fires = not nothing_new and (overdue or ((asked or self._kept is not None) and allowed))
            self._explain(fires, asked=asked, overdue=overdue, allowed=allowed)
            if fires:
                self._kept = None
                self._bounds.restart()
                yield position
            elif asked and self.early == "keep":
                self._kept = self._kept or self._last
        if len(batch):
            self._last = int(batch.keys[-1]), int(batch.timestamps[-1])

    def _explain(self, fires: bool, *, asked: bool, overdue: bool, allowed: bool) -> None:
        if not (asked or fires):
            return
        self._notes += self._children.notes("cooldown")
        kept = self._kept if fires and not (overdue or asked) else None
        reason = "the child fired" if fires else "too soon after the last round"
        if overdue and fires:
            reason = "the longest interval is over"
        elif kept is not None:
            reason = "the child had fired too soon after the last round"
        self.note(
            trigger="cooldown",
            key=self._last[0],
            timestamp=self._last[1],
            fired=fires,
            reason=reason,
            allowed=allowed,
            kept_since=None if kept is None else list(kept),
        )

    def explain(self) -> list[dict[str, Any]]:
        self._notes += self._children.notes("cooldown")
        return super().explain()

    def inform(self, round: Round) -> None:  # noqa: A002
        self._kept = None
        self._children.inform(round)

    def ahead(self, batch: Samples) -> int:
        return self._children.ahead(batch)

    def state_dict(self) -> dict[str, Any]:
        kept = None if self._kept is None else list(self._kept)
        return {"children": self._children.state_dict(), "kept": kept, "last": list(self._last)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._children.load_state_dict(state["children"])
        self._kept = None if state["kept"] is None else (state["kept"][0], state["kept"][1])
        self._last = (state["last"][0], state["last"][1])


class _Bounds(Trigger):
    """Fires after each sample with which one of the bounds since the last round is newly reached."""

    samples: int | None
    least: int | None
    most: int | None
    _count: int = PrivateAttr(default=0)
    _since: int | None = PrivateAttr(default=None)
    _now: int | None = PrivateAttr(default=None)
    _round_done: bool = PrivateAttr(default=False)

    @property
    def elapsed(self) -> int:
        return self._now - self._since if self._now is not None and self._since is not None else 0

    @property
    def allowed(self) -> bool:
        return not self._round_done or (self._count >= (self.samples or 0) and self.elapsed >= (self.least or 0))

    @property
    def just_restarted(self) -> bool:
        """Whether the last sample is the one after which a round took place."""
        return self._round_done and self._count == 0

    @property
    def overdue(self) -> bool:
        return self.most is not None and self.elapsed >= self.most

    def restart(self) -> None:
        self._count, self._since, self._round_done = 0, self._now, True

    def inform(self, round: Round) -> None:  # noqa: A002
        self.restart()

    def ahead(self, batch: Samples) -> int:
        if not len(batch):
            return 0
        elapsed, reached = self.elapsed, len(batch)
        if self.samples is not None and self._count < self.samples:
            reached = min(reached, self.samples - self._count - 1)
        open_bounds = [bound for bound in (self.least, self.most) if bound is not None and elapsed < bound]
        if not open_bounds:
            return reached
        first = int(batch.timestamps[0])
        start = max(first, self._now) if self._now is not None else first
        since = start if self._since is None else self._since
        times = np.maximum(np.maximum.accumulate(batch.timestamps), start)
        return min(reached, *(int(np.searchsorted(times, since + bound)) for bound in open_bounds))

    def update(self, batch: Samples) -> Iterator[int]:
        start = 0
        while start < len(batch):
            first = self.ahead(batch[start:])
            fires = start + first < len(batch)
            seen = batch.timestamps[start : start + first + 1]
            newest = int(seen.max())
            self._now = newest if self._now is None else max(self._now, newest)
            self._since = int(seen[0]) if self._since is None else self._since
            self._count += len(seen)
            start += len(seen)
            if fires:
                yield start - 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count, "since": self._since, "now": self._now, "round_done": self._round_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._count, self._since, self._now = state["count"], state["since"], state["now"]
        self._round_done = state["round_done"]
