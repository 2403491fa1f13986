"""How often a trigger checks: each so many samples, or at borders of sample time."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from modyn.triggers.every import Every


def _written(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"samples": value}
    return {"interval": value} if isinstance(value, str) else value


Rhythm = Annotated[Every, BeforeValidator(_written)]
"""``1000`` (samples), ``7d`` (sample time), or the options of ``every``."""


def fresh(rhythm: Every) -> Every:
    """The same rhythm, counting for itself."""
    return rhythm.model_copy()
