"""How often a trigger checks: each so many samples, or at borders of sample time."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator

from modyn.triggers.every import Every
from modyn.types import Samples


def _written(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"samples": value}
    return {"interval": value} if isinstance(value, str) else value


Rhythm = Annotated[Every, BeforeValidator(_written)]
"""``1000`` (samples), ``7d`` (sample time), or the options of ``every``."""


def fresh(rhythm: Every) -> Every:
    """The same rhythm, counting for itself."""
    return rhythm.model_copy()


def checked(
    rhythm: Every, batch: Samples, *, take: Callable[[Samples], None], check: Callable[[], bool]
) -> Iterator[int]:
    """Take in a batch up to each beat of a rhythm, and yield the beats at which ``check`` says to train."""
    start = 0
    for position in rhythm.update(batch):
        take(batch[start : position + 1])
        start = position + 1
        if check():
            yield position
    take(batch[start:])
