"""Rates and durations as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_ratelimit import ArgumentError, Rate
from redis_ratelimit.rates import MAX_UNITS, MAX_WINDOW_MS, milliseconds, one_rate, rates
from redis_ratelimit.unusable import usable

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "limit", "window_ms"),
    [
        ("5/m", 5, MINUTE),
        ("5/M", 5, MINUTE),
        ("5/min", 5, MINUTE),
        ("10/hour", 10, HOUR),
        ("10 per hour", 10, HOUR),
        ("10per hour", 10, HOUR),
        ("100 per 15 minutes", 100, 15 * MINUTE),
        ("100/15minutes", 100, 15 * MINUTE),
        ("3/10s", 3, 10 * SECOND),
        ("3 / 10 s", 3, 10 * SECOND),
        ("3/10", 3, 10 * SECOND),
        ("1000/day", 1000, DAY),
        ("1/500ms", 1, 500),
        ("7 per 2 weeks", 7, 14 * DAY),
        ("7/w", 7, 7 * DAY),
        ("2 PER MONTH", 2, 30 * DAY),
        ("2/year", 2, 365 * DAY),
        (" 4294967295/10 years ", MAX_UNITS, MAX_WINDOW_MS),
    ],
)
def test_reads_what_people_write(text: str, limit: int, window_ms: int) -> None:
    assert Rate.parse(text) == Rate(limit, window_ms)


@pytest.mark.parametrize(
    "text",
    [
        *["", "5", "5/", "/m", "m", "5/m/", "5//m", "-5/m", "+5/m", "5.5/m", "5/1.5m", "5/-1m", "5/0s", "0/m", "5 m"],
        *[
            "5/mm",
            "5/11 years",
            "4294967296/m",
            "5/fortnight",
            "5 pers",
            "5/m 6/h",
            "\u0665/m",
            "5/\u0663s",
            "5/m\n;",
            "9" * 30,
        ],
        *["5 p e r m", "0x5/m", "5/1e3s", "\uff15/m", "1_0/m"],
    ],
)
def test_refuses_what_is_no_rate_and_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"Write a number|must be from 1|must be an integer from 1"):
        Rate.parse(text)


@given(st.text())
def test_any_text_is_a_rate_or_an_argument_error(text: str) -> None:
    try:
        rate = Rate.parse(text)
    except ArgumentError:
        return
    assert Rate.parse(str(rate)) == rate


@given(st.integers(1, MAX_UNITS), st.integers(1, MAX_WINDOW_MS))
def test_what_a_rate_prints_reads_as_the_same_rate(limit: int, window_ms: int) -> None:
    rate = Rate(limit, window_ms)
    assert Rate.parse(str(rate)) == rate
    assert milliseconds(rate.window) == window_ms
    assert rates([str(rate), rate, (limit, rate.window)]) == (rate, rate, rate)


def test_reads_several() -> None:
    both = (Rate(5, MINUTE), Rate(100, HOUR))
    for text in ("5/m;100/h", "5/m, 100/h", "5/m | 100 per hour"):
        assert Rate.parse_many(text) == both
    assert rates(["5/m; 100/h", (7, "1d")]) == (*both, Rate(7, DAY))
    assert one_rate((5, 60)) == both[0]
    with pytest.raises(ArgumentError, match="one rate is needed here, not 2"):
        one_rate("5/m;100/h")


@pytest.mark.parametrize("rate", [5, None, (5,), (5, 60, 1), [5, 60], b"5/m", (5.0, 60), (True, 60), (5, True)])
def test_refuses_other_things_than_rates(rate: object) -> None:
    with pytest.raises(ArgumentError):
        rates([rate])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(1, 1000), (0.001, 1), (1.5, 1500), ("15m", 900_000), ("day", DAY), (timedelta(days=1, milliseconds=1), DAY + 1)],
)
def test_a_duration_is_seconds_or_a_timedelta_or_text(duration: object, expected: int) -> None:
    assert milliseconds(duration) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "duration",
    [
        0,
        -1,
        0.0001,
        float("inf"),
        float("nan"),
        timedelta(0),
        timedelta(days=-1),
        timedelta(days=3651),
        "",
        "x",
        None,
        True,
    ],
)
def test_refuses_other_durations_and_names_the_argument(duration: object) -> None:
    with pytest.raises(ArgumentError, match="block must be from 1 ms to 10 years"):
        milliseconds(duration, "block")  # type: ignore[arg-type]


def test_a_rate_cannot_be_made_with_values_out_of_range() -> None:
    for limit, window in ((0, 1), (MAX_UNITS + 1, 1), (1, 0), (1, MAX_WINDOW_MS + 1), (1, 1.5), (True, 1)):
        with pytest.raises(ArgumentError):
            Rate(limit, window)  # type: ignore[arg-type]


def test_what_is_remembered_of_a_limit_is_not_told_of_what_only_equals_it() -> None:
    for _ in range(2):
        assert usable(5, 60, "a test") == Rate(5, 60_000)
        assert usable(5.0, 60, "a test") is None  # type: ignore[arg-type]
        assert usable(True, 60, "a test") is None
        # GCRA has no more than a unit for each nanosecond.
        assert usable(4_294_967_295, 0.001, "a test", gcra=True) is None
        assert usable(4_294_967_295, 0.001, "a test") is not None
