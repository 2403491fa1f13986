"""Sample times: columns of dates, texts or numbers, and names of files, as microseconds UTC."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modyn.errors import BadSample, ConfigError
from modyn.sources.convert import MOSTLY, cast_or_null, decoded, filled, is_text, to_mask
from modyn.sources.rows import as_arrow, as_numpy
from modyn.types import Array, Int64s, to_microseconds

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999, in microseconds UTC: what dates can say. What lies outside was mostly meant in another unit."""
UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
_ZONED = r"\d[Tt ]\d{2}.*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"
_US = pa.timestamp("us")
_NS = pa.timestamp("ns")


def times_of(
    column: pa.ChunkedArray | pa.Array, *, what: str, unit: str | None, pattern: str | None, timezone: str
) -> tuple[Int64s, Array]:
    """``times[n]`` in microseconds UTC, and ``failed[n]``: where no time could be read (missing, or not a time).

    ``pattern`` is strptime's; without one, text is read as ISO 8601. Times without a zone are taken to be in ``timezone``;
    in the hour that a clock change repeats, as the earlier one. What lies outside the years 1 to 9999 is no time. Raises ConfigError
    if the column holds numbers and no unit is given.
    """
    times, failed = _read(decoded(column), what=what, unit=unit, pattern=pattern, timezone=timezone)
    return times, failed | (times < FIRST) | (times > LAST)


def _read(array: pa.Array, *, what: str, unit: str | None, pattern: str | None, timezone: str) -> tuple[Int64s, Array]:
    if is_text(array.type):
        return _of_text(array, what=what, unit=unit, pattern=pattern, timezone=timezone)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return _of_moments(array, timezone)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        return _of_numbers(array, what, unit)
    raise ConfigError(f"column '{what}' holds {array.type}, which is no time")


def _of_moments(array: pa.Array, timezone: str) -> tuple[Int64s, Array]:
    if pa.types.is_date(array.type):
        array = pc.cast(array, _US)
    if array.type.tz is None and timezone.upper() != "UTC":
        array = pc.assume_timezone(array, timezone, ambiguous="earliest", nonexistent="earliest")
    array = pc.cast(array, pa.timestamp("us", tz=array.type.tz), safe=False)
    return _filled(pc.cast(array, pa.int64())), to_mask(array.is_null())


def _of_numbers(array: pa.Array, what: str, unit: str | None) -> tuple[Int64s, Array]:
    if unit is None:
        raise _needs_unit(what)
    missing = to_mask(array.is_null())
    if pa.types.is_integer(array.type):
        numbers = _filled(pc.cast(array, pa.int64(), safe=False))
        if unit == "ns":
            return numbers // 1000, missing
        limit = np.iinfo(np.int64).max // UNITS[unit]
        return numbers * UNITS[unit], missing | (numbers > limit) | (numbers < -limit)
    floats = as_numpy(filled(pc.cast(array, pa.float64()), float("nan")))
    floats = floats * (0.001 if unit == "ns" else UNITS[unit])
    failed = missing | ~np.isfinite(floats) | (np.abs(floats) > 9.2e18)
    return np.rint(np.where(failed, 0.0, floats)).astype(np.int64), failed


def _of_text(
    array: pa.Array, *, what: str, unit: str | None, pattern: str | None, timezone: str
) -> tuple[Int64s, Array]:
    array = pc.utf8_trim_whitespace(array)
    if pattern is not None:
        return _of_pattern(array, pattern, timezone)
    if unit is not None:
        numbers, failed = cast_or_null(array, pa.int64())
        if failed.any():
            numbers, failed = cast_or_null(array, pa.float64())
        times, bad = _of_numbers(numbers, what, unit)
        return times, bad | failed
    _refuse_numbers(array, what)
    zoned = to_mask(pc.match_substring_regex(array, _ZONED))
    times, failed = np.zeros(len(array), np.int64), np.ones(len(array), bool)
    for rows, zone in ((np.flatnonzero(zoned), "UTC"), (np.flatnonzero(~zoned), None)):
        if len(rows):
            times[rows], failed[rows] = _of_iso(
                array if len(rows) == len(array) else array.take(as_arrow(rows)), zone, timezone
            )
    return times, failed


def _refuse_numbers(array: pa.Array, what: str) -> None:
    """Raise ConfigError if nearly all texts are numbers: only a unit or a format can say what they mean."""
    present = array.drop_null()
    numbers = pc.sum(pc.match_substring_regex(present, r"^-?\d+(\.\d+)?$")).as_py() or 0
    if len(present) and numbers >= MOSTLY * len(present):
        raise _needs_unit(what)


def _needs_unit(what: str) -> ConfigError:
    return ConfigError(
        f"column '{what}' holds numbers: say time_unit (d, h, s, ms, us or ns since 1970-01-01 UTC), "
        "or time_format, such as %Y%m%d"
    )


def _of_iso(array: pa.Array, zone: str | None, timezone: str) -> tuple[Int64s, Array]:
    moments, failed = cast_or_null(array, pa.timestamp("us", tz=zone))
    times, missing = _of_moments(moments, timezone)
    fine = np.flatnonzero(failed)
    if len(fine):  # Arrow refuses digits beyond microseconds instead of cutting them off
        moments, _ = cast_or_null(array.take(as_arrow(fine)), pa.timestamp("ns", tz=zone))
        times[fine], missing[fine] = _of_moments(moments, timezone)
    return times, missing


def _of_pattern(array: pa.Array, pattern: str, timezone: str) -> tuple[Int64s, Array]:
    import pandas as pd

    zoned = "%z" in pattern or "%Z" in pattern
    moments = pd.to_datetime(array.to_pandas(), format=pattern, errors="coerce", utc=zoned)
    moments = moments.dt.tz_localize(None) if moments.dt.tz is not None else moments
    return _of_moments(
        pa.Array.from_pandas(moments, type=_NS if str(moments.dtype).endswith("[ns]") else _US),
        "UTC" if zoned else timezone,
    )


def _filled(array: pa.Array) -> Int64s:
    return as_numpy(filled(array, 0)).copy()


def time_in_name(path: str, *, pattern: str, layout: str | None, unit: str | None, timezone: str) -> int:
    """The time (us) that a file's path tells: the first group of the regular expression ``pattern``.

    >>> from modyn.types import to_datetime
    >>> time = time_in_name("a/2013-02-03.csv", pattern=r"(\\d{4}-\\d{2}-\\d{2})", layout=None, unit=None, timezone="UTC")
    >>> f"{to_datetime(time):%d.%m.%Y}"
    '03.02.2013'

    Raises BadSample if the path tells none.
    """
    match = re.search(pattern, path)
    if match is None:
        raise BadSample(f"{path}: nothing in the path matches time_pattern {pattern!r}")
    text = match[1] if match.re.groups else match[0]
    try:
        times, failed = times_of(pa.array([text]), what="file name", unit=unit, pattern=layout, timezone=timezone)
    except ConfigError:
        failed = np.array([True])
    if failed[0]:
        raise BadSample(f"{path}: {text!r} in the path is not a time" + (f" of the form {layout}" if layout else ""))
    return int(times[0])


def check_zone(name: str) -> str:
    """The time zone's name, if there is such a zone. Raises ValueError."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone is named '{name}': names look like Europe/Zurich or UTC") from None
    return name


def check_pattern(pattern: str | None) -> str | None:
    """The pattern, if it is a regular expression. Raises ValueError."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


def now_us() -> int:
    """The wall clock, in microseconds UTC."""
    return to_microseconds(datetime.now(UTC))
