"""Train when a stream detector of the river library signals a change."""

import base64
import importlib
import inspect
import zlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from modyn.config import DurationOrZero
from modyn.errors import ConfigError, MissingExtra, TrainingError, did_you_mean
from modyn.problems import describe_value
from modyn.triggers import Features, Trigger
from modyn.triggers.every import Every
from modyn.triggers.features import Kind, bound_features
from modyn.triggers.labelled import Labelled
from modyn.triggers.rhythm import Rhythm, checked, fresh
from modyn.triggers.warmup import WarmingUp, Warmup
from modyn.types import Float64s, Round, Samples

DETECTORS = {
    "adwin": ("river.drift", "ADWIN", "Bifet and Gavaldà 2007"),
    "ddm": ("river.drift.binary", "DDM", "Gama et al. 2004"),
    "eddm": ("river.drift.binary", "EDDM", "Baena-García et al. 2006"),
    "hddm-a": ("river.drift.binary", "HDDMA", "Frías-Blanco et al. 2014"),
    "hddm-w": ("river.drift.binary", "HDDMW", "Frías-Blanco et al. 2014"),
    "kswin": ("river.drift", "KSWIN", "Raab et al. 2020"),
    "page-hinkley": ("river.drift", "PageHinkley", "Page 1954"),
}
"""Module and class in river (before river 0.23 those of hddm had an underscore), and the paper."""


OF_ERRORS = frozenset({"ddm", "eddm", "hddm-a", "hddm-w"})
"""Detectors of a stream of zeros and ones."""


def _parameter(value: object) -> object:
    if not isinstance(value, int | float | str):
        raise ValueError(f"must be a number, true, false or a word; got {describe_value(value)}")
    return value


class StreamDetector(Trigger):
    """Fires when a detector of the river library signals a change in a stream of numbers: the checkpoint's errors or losses, or a feature.

    The numbers are fetched each ``check_every`` and given to the detector one by one; a change found among them fires at the check. After it, and after each
    round if the numbers come from the checkpoint, the detector starts anew. ddm, eddm, hddm-a and hddm-w take errors only. Before there is a checkpoint that
    the numbers need, the first check fires, but for those of the ``warmup``. Its state is the numbers since its start. It comes with: pip install 'modyn[stream]'.

    Bifet and Gavaldà 2007 (adwin), Gama et al. 2004 (ddm), Baena-García et al. 2006 (eddm), Frías-Blanco et al. 2014 (hddm), Raab et al. 2020
    (kswin), Page 1954 (page-hinkley); Montiel et al. 2021 (river).

    >>> import numpy as np
    >>> from modyn.triggers.memory_features import MemoryFeatures
    >>> trigger = StreamDetector(detector="page-hinkley", of="raw", check_every=50, parameters={"threshold": 5.0})
    >>> trigger.bind(MemoryFeatures(np.repeat([0.0, 1.0], 100)))
    >>> list(trigger.update(Samples(np.arange(200), np.arange(200))))
    [149]
    """

    detector: Literal["adwin", "ddm", "eddm", "hddm-a", "hddm-w", "kswin", "page-hinkley"] = Field(
        "adwin", description="which detector"
    )
    of: Kind = Field(
        Kind("error"), description="the stream of numbers: error, loss, column:NAME, or any kind of one column"
    )
    parameters: Mapping[str, Annotated[float | int | bool | str, BeforeValidator(_parameter)]] = Field(
        default_factory=dict, description="the detector's own parameters, by river's names"
    )
    check_every: Rhythm = Field(
        default_factory=lambda: Every(samples=100), description="samples or sample time between checks"
    )
    label_delay: DurationOrZero = Field(0, description="how long after its sample's time a label becomes known")
    warmup: Warmup = Field(
        default_factory=Warmup,
        description="the first checks, at which a simple trigger decides: {checks: ..., trigger: ...}",
    )
    _beat: Every = PrivateAttr()
    _warming: WarmingUp = PrivateAttr()
    _asked: bool | None = PrivateAttr(default=None)
    _waiting: Labelled = PrivateAttr()
    _river: Any = PrivateAttr(default=None)
    _fed: list[Float64s] = PrivateAttr(default_factory=list)
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @model_validator(mode="after")
    def _set_up(self) -> "StreamDetector":
        if self.detector in OF_ERRORS and self.of.name != "error":
            raise ValueError(
                f"{self.detector} takes a stream of errors (0 or 1); use of: error, or adwin, kswin or page-hinkley"
            )
        delay = self.label_delay if self.of.name in ("error", "loss", "label") else 0
        self._warming = WarmingUp(self.warmup)
        self._beat, self._waiting = fresh(self.check_every), Labelled(delay)
        return self

    @model_validator(mode="after")
    def _known_parameters(self) -> "StreamDetector":
        if self.parameters:
            try:
                self._new()
            except MissingExtra:
                pass  # it is asked for at the first check
            except ConfigError as error:
                raise ValueError(f"parameters: {error}") from None
        return self

    def _new(self) -> Any:
        """A detector that has seen nothing. Raises MissingExtra without river, ConfigError if it does not take the parameters."""
        module, name, _ = DETECTORS[self.detector]
        try:
            home = importlib.import_module(module)
            cls = getattr(home, name, None) or getattr(home, f"{name[:-1]}_{name[-1]}")
        except ImportError:
            raise MissingExtra("river", extra="stream") from None
        known = inspect.signature(cls).parameters
        for parameter, value in self.parameters.items():
            if parameter not in known:
                raise ConfigError(f"{self.detector} has none named '{parameter}'. {did_you_mean(parameter, known)}")
            if isinstance(value, str) and not isinstance(known[parameter].default, str):
                raise ConfigError(f"{parameter} must be a number, true or false; got {describe_value(value)}")
        seed = {"seed": 0} if self.detector == "kswin" else {}
        try:
            return cls(**{**seed, **self.parameters})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.detector} does not take them: {error}") from None

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
            self._waiting.append(samples)
            self._last = int(samples.keys[-1]), int(samples.timestamps[-1])

    def _check(self) -> bool:
        self._asked = self._warming.decides()
        features = bound_features(self._features)
        if self.of.needs_checkpoint and features.checkpoint is None:
            return self._noted(True, 0, reason="there is no checkpoint yet")
        keys = self._waiting.due()
        if not len(keys):
            return self._noted(False, 0, reason="no new numbers")
        rows = self.of.compute(features, keys)
        if rows.shape[1] != 1:
            raise TrainingError(
                f"a stream detector takes one number a sample, and {self.of} has {rows.shape[1]} columns"
            )
        known = np.isfinite(rows[:, 0])
        self._waiting.settled(keys[known])
        values = rows[known, 0].astype(np.float64)
        if self.detector in OF_ERRORS and not np.isin(values, (0.0, 1.0)).all():
            raise ConfigError(
                f"trigger.stream-detector: {self.detector} takes a stream of errors (0 or 1), and this model's are distances from the label; "
                "use adwin, kswin or page-hinkley"
            )
        if self._river is None:
            self._river, self._fed = self._new(), []
        fires = self._feed(values)
        if fires:
            self._river = None
        return self._noted(fires, len(values), mean=float(values.mean()) if len(values) else None)

    def _feed(self, values: Float64s) -> bool:
        """Whether the detector signals a change among the values; it sees no more after one."""
        self._fed.append(values)
        for value in values.tolist():
            self._river.update(value)
            if self._river.drift_detected:
                return True
        return False

    def _noted(self, fires: bool, num_samples: int, *, reason: str | None = None, mean: float | None = None) -> bool:
        if self._asked is not None:
            fires, reason = self._asked, "warm-up"
        self.note(
            trigger="stream-detector",
            key=self._last[0],
            timestamp=self._last[1],
            fired=fires,
            reason=reason,
            detector=self.detector,
            of=self.of.name,
            score=mean,
            num_samples=num_samples,
        )
        return fires

    def inform(self, round: Round) -> None:  # noqa: A002
        self._warming.inform(round)
        if self.of.needs_checkpoint:
            self._river = None
            self._waiting.inform(round)

    def state_dict(self) -> dict[str, Any]:
        fed = np.concatenate(self._fed) if self._river is not None and self._fed else None
        return {
            "beat": self._beat.state_dict(),
            "warmup": self._warming.state_dict(),
            "waiting": self._waiting.state_dict(),
            "fed": None if fed is None else base64.b85encode(zlib.compress(fed.astype("<f8").tobytes())).decode(),
            "last": list(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._beat.load_state_dict(state["beat"])
        self._warming.load_state_dict(state["warmup"])
        self._waiting.load_state_dict(state["waiting"])
        self._last, self._river = (state["last"][0], state["last"][1]), None
        if state["fed"] is not None:
            self._river, self._fed = self._new(), []
            self._feed(np.frombuffer(zlib.decompress(base64.b85decode(state["fed"])), "<f8"))
