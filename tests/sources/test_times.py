from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modyn.errors import BadSample, ConfigError
from modyn.sources.times import time_in_name, times_of
from modyn.types import to_microseconds


def read(values: Any, **options: Any) -> tuple[list[int], list[bool]]:
    settings = {"what": "t", "unit": None, "pattern": None, "timezone": "UTC", **options}
    array = values if isinstance(values, pa.Array) else pa.array(values)
    times, failed = times_of(array, **settings)
    return times.tolist(), failed.tolist()


MOMENTS = st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2250, 1, 1))


@given(st.lists(MOMENTS, min_size=1))
def test_every_moment_comes_back_from_its_text(moments: list[datetime]) -> None:
    expected = [to_microseconds(m) for m in moments]
    assert read([m.isoformat() for m in moments])[0] == expected
    assert read([m.isoformat(sep=" ") + "Z" for m in moments])[0] == expected
    assert read([m.strftime("%Y%m%d %H%M%S.%f") for m in moments], pattern="%Y%m%d %H%M%S.%f")[0] == expected


@given(st.lists(st.tuples(MOMENTS, st.integers(-12 * 60, 14 * 60)), min_size=1))
def test_offsets_are_subtracted(pairs: list[tuple[datetime, int]]) -> None:
    moments = [m.replace(tzinfo=timezone(timedelta(minutes=offset))) for m, offset in pairs]
    assert read([m.isoformat() for m in moments])[0] == [to_microseconds(m) for m in moments]


def test_times_with_and_without_zone_may_be_mixed() -> None:
    times, failed = read(["2013-07-01 12:00", "2013-07-01T12:00:00+00:00"], timezone="Europe/Zurich")
    assert times[1] - times[0] == 2 * 3600 * 10**6
    assert failed == [False, False]


def test_only_the_texts_that_are_no_time_fail() -> None:
    texts = ["2013-01-01", "soon", "", None, "2013-02-30", "2013-01-01 00:00:00.123456789"]
    times, failed = read(texts)
    assert failed == [False, True, True, True, True, False]
    assert times[5] - times[0] == 123456


@pytest.mark.parametrize(("unit", "scale"), [("s", 10**6), ("ms", 1000), ("us", 1), ("d", 86_400 * 10**6)])
def test_numbers_count_in_their_unit(unit: str, scale: int) -> None:
    assert read([3, 5], unit=unit)[0] == [3 * scale, 5 * scale]
    assert read([2.5], unit=unit)[0] == [round(2.5 * scale)]
    assert read(["7"], unit=unit)[0] == [7 * scale]


def test_nanoseconds_are_cut_to_microseconds() -> None:
    assert read([1999], unit="ns")[0] == [1]
    assert read(pa.array([np.datetime64(1999, "ns")]))[0] == [1]


def test_numbers_without_a_unit_are_asked_about() -> None:
    with pytest.raises(ConfigError, match="column 't' holds numbers: say time_unit"):
        read([1356998400])
    with pytest.raises(ConfigError, match="say time_unit"):
        read(["1356998400"])


def test_numbers_that_overflow_fail() -> None:
    assert read([2**62, 1], unit="s")[1] == [True, False]
    assert read([float("nan"), 1e300], unit="s")[1] == [True, True]


def test_a_name_tells_its_time() -> None:
    options: dict[str, Any] = {"unit": None, "timezone": "UTC"}
    expected = to_microseconds(datetime(2013, 2, 3, tzinfo=UTC))
    assert time_in_name("x/20130203_1.csv", pattern=r"(\d{8})_", layout="%Y%m%d", **options) == expected
    with pytest.raises(BadSample, match="nothing in the path matches"):
        time_in_name("x/y.csv", pattern=r"(\d{8})_", layout="%Y%m%d", **options)
    with pytest.raises(BadSample, match="'20139999' in the path is not a time of the form %Y%m%d"):
        time_in_name("x/20139999_1.csv", pattern=r"(\d{8})_", layout="%Y%m%d", **options)
