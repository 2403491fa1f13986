"""Measures where the seconds of an epoch go: waiting for data, moving it, scoring large batches, forward, backward, step."""

import time

from modyn.phases import PHASES


class Clock:
    """Adds up the time between marks, by phase. On a GPU a phase is the time to launch it, unless ``lap`` follows a synchronisation."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._last = time.perf_counter()

    def start(self) -> None:
        """Begin to measure; what passed since the last lap belongs to no phase."""
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Count the time since the last lap to ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """The seconds by phase since the last call."""
        taken, self.seconds = self.seconds, dict.fromkeys(PHASES, 0.0)
        return taken
