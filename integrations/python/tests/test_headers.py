"""HTTP headers."""

from dataclasses import replace

import pytest

from redis_ratelimit import ArgumentError, Decision, Rate
from redis_ratelimit.headers import rate_limit, retry_after, x_ratelimit

GRANTED = Decision(granted=1, limit=5, remaining=4, retry_after_ms=0, reset_after_ms=59_001)
DENIED = Decision(granted=0, limit=5, remaining=0, retry_after_ms=30_001, reset_after_ms=60_000)
NEVER = Decision(granted=0, limit=5, remaining=5, retry_after_ms=-1, reset_after_ms=0)
DEGRADED = Decision(granted=0, limit=5, remaining=0, retry_after_ms=1000, reset_after_ms=1000, degraded="OOM")


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(1, "1"), (999, "1"), (1000, "1"), (1001, "2"), (59_999, "60"), (3_600_000, "3600")]
)
def test_retry_after_is_in_whole_seconds_rounded_up(milliseconds: int, seconds: str) -> None:
    assert retry_after(Decision(0, 5, 0, milliseconds, milliseconds)) == {"Retry-After": seconds}


def test_retry_after_is_only_for_those_who_may_come_back() -> None:
    assert retry_after(GRANTED) == {}
    assert retry_after(NEVER) == {}
    # Nobody should repeat at once what can never be granted.
    assert retry_after(NEVER, Rate.parse("5/m")) == {"Retry-After": "60"}
    assert retry_after(replace(NEVER, reset_after_ms=90_000), Rate.parse("5/m")) == {"Retry-After": "90"}
    assert retry_after(GRANTED, Rate.parse("5/m")) == {}
    assert retry_after(DENIED, Rate.parse("5/m")) == {"Retry-After": "31"}
    assert retry_after(DEGRADED) == {"Retry-After": "1"}


def test_x_ratelimit_says_when_in_either_way() -> None:
    assert x_ratelimit(GRANTED, reset="delta") == {
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "4",
        "X-RateLimit-Reset": "60",
    }
    assert x_ratelimit(GRANTED, now=1000.0)["X-RateLimit-Reset"] == "1060"
    assert x_ratelimit(GRANTED, now=1000.999)["X-RateLimit-Reset"] == "1060"
    assert x_ratelimit(GRANTED, now=1001.0)["X-RateLimit-Reset"] == "1061"
    assert x_ratelimit(DEGRADED) == {}
    with pytest.raises(ArgumentError, match="'epoch' or 'delta'"):
        x_ratelimit(GRANTED, reset="date")  # type: ignore[arg-type]


def test_rate_limit_is_a_list_of_structured_fields() -> None:
    assert rate_limit({"burst": (Rate.parse("5/m"), GRANTED), "daily": (Rate.parse("1000/d"), DENIED)}) == {
        "RateLimit-Policy": '"burst";q=5;w=60, "daily";q=1000;w=86400',
        "RateLimit": '"burst";r=4;t=60, "daily";r=0;t=60',
    }
    # A window that is no whole number of seconds cannot be said. What never fits takes nothing from the quota.
    assert rate_limit({"fast": (Rate(5, 1500), NEVER)}) == {
        "RateLimit-Policy": '"fast";q=5',
        "RateLimit": '"fast";r=5;t=0',
    }
    assert rate_limit({"gone": (Rate.parse("5/m"), DEGRADED)}) == {"RateLimit-Policy": '"gone";q=5;w=60'}
    assert rate_limit({}) == {}


def test_names_are_quoted() -> None:
    assert rate_limit({'a "b" \\c': (Rate.parse("5/m"), GRANTED)})["RateLimit"] == '"a \\"b\\" \\\\c";r=4;t=60'
    for name in ("é", "a\nb", "a\r\nSet-Cookie: x", "\x7f"):
        with pytest.raises(ArgumentError, match="printable ASCII"):
            rate_limit({name: (Rate.parse("5/m"), GRANTED)})
