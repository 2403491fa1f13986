"""Train when somebody asks for it, by the command line, Python or the API.

A request is one line in ``requests.jsonl`` in the run's folder, appended by any process; the run sees that there are more lines than it has
answered. Nothing has to be running when the request is made, and one made while a run is down is answered when it goes on.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from modyn.errors import NotFound
from modyn.triggers import Trigger
from modyn.types import Samples

FILE = "requests.jsonl"


class Manual(Trigger):
    """Fires when training is asked for by hand, after the samples that have arrived by then.

    Several requests that wait together are answered by one round. ``request_training`` makes one. Where it falls depends on when the stream is asked
    for samples, so it alone of the triggers depends on how a stream is cut. Within ``any-of`` it adds a button to any other trigger.

    >>> import numpy as np
    >>> from modyn.triggers.memory_features import MemoryFeatures
    >>> features, trigger = MemoryFeatures(np.zeros(4)), Manual()
    >>> trigger.bind(features)
    >>> features.requests = 1
    >>> list(trigger.update(Samples(np.arange(4), np.arange(4))))
    [3]
    """

    _answered: int = PrivateAttr(default=0)
    _last: tuple[int, int] = PrivateAttr(default=(-1, 0))

    @property
    def _waiting(self) -> int:
        return 0 if self._features is None else self._features.requests - self._answered

    def update(self, batch: Samples) -> Iterator[int]:
        if len(batch):
            self._last = int(batch.keys[-1]), int(batch.timestamps[-1])
        waiting = self._waiting
        if waiting > 0:
            self._answered += waiting
            self.note(trigger="manual", key=self._last[0], timestamp=self._last[1], fired=True, num_requests=waiting)
            yield len(batch) - 1

    def ahead(self, batch: Samples) -> int:
        return len(batch) - 1 if self._waiting > 0 else len(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"answered": self._answered, "last": list(self._last)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._answered, self._last = state["answered"], (state["last"][0], state["last"][1])


def request_training(folder: Path, *, at: int, by: str) -> int:
    """Ask the run in ``folder`` to train; returns how many requests it has had. ``at`` is the wall clock in microseconds, ``by`` says who asks.

    Raises NotFound if there is no run.
    """
    if not folder.is_dir():
        raise NotFound(f"there is no run in {folder}")
    with (folder / FILE).open("ab") as file:
        file.write(json.dumps({"at": at, "by": by}).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return requests_in(folder)


def requests_in(folder: Path) -> int:
    """How often training was asked for in the run of ``folder``; 0 if never."""
    try:
        return (folder / FILE).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
