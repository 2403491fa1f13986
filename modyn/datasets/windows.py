"""Windows as they are given to a dataset: what is none is refused before anything is read."""

from typing import Any

import numpy as np

from modyn.errors import DataError
from modyn.types import Window


def check(given: Any) -> None:
    """Raise DataError, saying what a window is, unless it is one, by key or by time, or None.

    >>> check(Window(0, 5))
    >>> check(5)
    Traceback (most recent call last):
    modyn.errors.DataError: a window must be a modyn.types.Window, such as Window(0, 100), or None for all samples; got 5
    """
    if given is None:
        return
    if not isinstance(given, Window):
        raise DataError(
            f"a window must be a modyn.types.Window, such as Window(0, 100), or None for all samples; got {given!r:.60}"
        )
    if given.by not in ("key", "time"):
        raise DataError(f"a window is by 'key' or by 'time'; got by={given.by!r:.60}")
    ends: tuple[Any, ...] = given.start, given.end
    for end in ends:
        if not isinstance(end, int | np.integer):
            unit = "" if given.by == "key" else " (microseconds: modyn.types.to_microseconds makes them of a datetime)"
            raise DataError(f"a window by {given.by} is between integers{unit}; got {end!r:.60}")
