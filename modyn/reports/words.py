"""Numbers, durations, windows and policies as a reader wants them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

UNDEFINED = "undefined"
MODEL_NAMES = {
    "active": "active model",
    "trained": "trained model (the next one)",
    "never-retrained": "first checkpoint, never retrained",
    "majority-class": "majority class",
    "mean-label": "mean label",
    "no-change": "no change (the previous label)",
}


def score_text(value: float | None) -> str:
    """A score in three decimals, or in three significant digits where that says more.

    >>> score_text(0.70149), score_text(1234.5), score_text(0.000123), score_text(float("nan"))
    ('0.701', '1,234', '0.000123', 'undefined')
    """
    if value is None or value != value:
        return UNDEFINED
    if value and (abs(value) < 0.01 or abs(value) >= 1000):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:.3f}"


def duration_text(seconds: float | None) -> str:
    """A duration in the unit that suits it.

    >>> [duration_text(s) for s in (0.0, 0.0002, 0.0123, 4.21, 38.4, 250.0, 7300.0)]
    ['0 s', '< 1 ms', '12 ms', '4.2 s', '38 s', '4 min 10 s', '2 h 1 min']
    """
    if seconds is None or seconds != seconds:
        return UNDEFINED
    if seconds < 0.001:
        return "< 1 ms" if seconds else "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 // 60 else f"{whole // 3600} h"


def count_text(number: int, noun: str) -> str:
    """
    >>> count_text(1, "round"), count_text(1200, "sample")
    ('1 round', '1,200 samples')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size_text(size: float) -> str:
    """
    >>> size_text(900), size_text(4096), size_text(3_500_000)
    ('900 B', '4.1 kB', '3.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def window_text(start: datetime, end: datetime) -> str:
    """A half-open window of time, as exact as its borders need (down to seconds).

    >>> window_text(datetime(2013, 1, 1), datetime(2013, 1, 31))
    '[2013-01-01, 2013-01-31)'
    >>> window_text(datetime(2013, 1, 1), datetime(2013, 1, 1, 6))
    '[2013-01-01 00:00, 2013-01-01 06:00)'
    """
    pattern = "%Y-%m-%d %H:%M:%S" if start.second or end.second else "%Y-%m-%d %H:%M"
    pattern = "%Y-%m-%d" if start.time() == end.time() == time() else pattern
    return f"[{start:{pattern}}, {end:{pattern}})"


def span_text(start: datetime, end: datetime) -> str:
    """The times of the first and the last sample of ``[start, end)``, both included, to the minute.

    >>> span_text(datetime(2013, 1, 1, 5), datetime(2013, 1, 31, 4, 59, 0, 1))
    '2013-01-01 05:00 to 2013-01-31 04:59'
    """
    return f"{start:%Y-%m-%d %H:%M} to {end - timedelta(microseconds=1):%Y-%m-%d %H:%M}"


def policy_text(document: Any) -> str:
    """A policy as a resolved pipeline has it, in one short line, less the options that are null, zero, off or empty.

    >>> policy_text({"every": {"interval": "30d", "start": None}}), policy_text("all")
    ('every (interval 30d)', 'all')
    >>> policy_text({"uniform": {"budget": "25%", "history": {"last": 2, "time": None}, "warmup_rounds": 0}})
    'uniform (budget 25%, history last 2)'
    >>> policy_text({"drift": {"metrics": {"a": {"metric": {"energy": {"pca": None}}}}}})
    'drift (metrics a (metric energy))'
    """
    if not isinstance(document, Mapping):
        return _value_text(document)
    parts = []
    for name, options in document.items():
        given = options.items() if isinstance(options, Mapping) else [("", options)]
        texts = [f"{key} {_value_text(value)}".strip() for key, value in given if not _is_off(value)]
        parts.append(f"{name} ({', '.join(texts)})" if texts else str(name))
    return ", ".join(parts)


def _is_off(value: Any) -> bool:
    return not _names(value) and all(map(_is_off, value.values())) if isinstance(value, Mapping) else not value


def _names(value: Any) -> bool:
    """Whether it names something that has options, which may all be off."""
    return isinstance(value, Mapping) and len(value) == 1 and all(isinstance(item, Mapping) for item in value.values())


def _value_text(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = [f"{key} {_within(item)}".strip() for key, item in value.items() if _names(value) or not _is_off(item)]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})" if parts else ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_value_text, value)) + "]"
    return "on" if value is True else "" if value is None else str(value)


def _within(value: Any) -> str:
    """An option's value after its name; options of its own stand in brackets."""
    text = _value_text(value)
    return f"({text})" if isinstance(value, Mapping) and " " in text and not text.startswith("(") else text


def rows_of(table: "pd.DataFrame") -> list[Any]:
    """The rows of a table as named tuples."""
    return list(table.itertuples())


def is_missing(value: Any) -> bool:
    """Whether a table's cell holds nothing (None, NaN, NaT or NA)."""
    import pandas as pd

    return value is None or bool(pd.isna(value))


def whole_text(value: Any, noun: str) -> str:
    """A count from a table's cell, in words."""
    return f"{noun}s not counted" if is_missing(value) else count_text(int(value), noun)
