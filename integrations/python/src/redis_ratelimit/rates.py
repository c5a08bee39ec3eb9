"""Rates as people write them: ``5/m``, ``10/hour``, ``100 per 15 minutes``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TypeAlias

from .errors import ArgumentError

MAX_UNITS = 4_294_967_295
"""The greatest limit, burst and cost."""
MAX_WINDOW_MS = 10 * 365 * 24 * 3600 * 1000
"""The longest window and block: 10 years of 365 days."""

MAX_WINDOWS = 8
"""The most windows on one key."""
MAX_REFILL_MS = 100 * 365 * 24 * 3600 * 1000
"""The longest time in which a burst of GCRA may refill: 100 years."""

_UNITS_MS = {
    unit: milliseconds
    for milliseconds, units in (
        (1, "ms msec msecs millisecond milliseconds"),
        (1000, "s sec secs second seconds"),
        (60_000, "m min mins minute minutes"),
        (3_600_000, "h hr hrs hour hours"),
        (86_400_000, "d day days"),
        (7 * 86_400_000, "w week weeks"),
        (30 * 86_400_000, "month months"),
        (365 * 86_400_000, "y year years"),
    )
    for unit in units.split()
}
_DURATION = re.compile(r"(?P<number>[0-9]{1,15})?\s*(?P<unit>[a-z]+)?", re.ASCII | re.IGNORECASE)
_RATE = re.compile(r"(?P<limit>[0-9]{1,15})\s*(?:/|per\b)\s*(?P<window>.*)", re.ASCII | re.IGNORECASE)

Duration: TypeAlias = int | float | timedelta | str
"""A time from 1 ms to 10 years: a number of seconds, a `timedelta`, or text such as ``15m`` or ``2 hours``."""


def milliseconds(duration: Duration, what: str = "window") -> int:
    """Return the duration in whole milliseconds.

    >>> milliseconds(1.5), milliseconds("15m"), milliseconds(timedelta(hours=1)), milliseconds("day")
    (1500, 900000, 3600000, 86400000)

    Raises `ArgumentError`, which names `what`, for what is no duration or out of range.
    """
    if isinstance(duration, str):
        value = _from_text(duration)
    elif isinstance(duration, timedelta):
        value = duration // timedelta(milliseconds=1)
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        # Infinity and not-a-number fail the comparison and stay out.
        value = round(duration * 1000) if 0 < duration <= MAX_WINDOW_MS else None
    else:
        value = None
    if value is None or not 1 <= value <= MAX_WINDOW_MS:
        raise ArgumentError(
            f"{what} must be from 1 ms to 10 years: seconds, a timedelta, or text such as '15m' or '2 hours', "
            f"not {duration!r:.80}"
        )
    return value


def _from_text(text: str) -> int | None:
    match = _DURATION.fullmatch(text.strip())
    if match is None or not match[0]:
        return None
    unit = _UNITS_MS.get((match["unit"] or "s").lower())
    return None if unit is None else int(match["number"] or 1) * unit


def units(value: int, what: str) -> int:
    """Return the number, or raise an `ArgumentError` that names `what` if it is none from 1 to 4294967295."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_UNITS:
        raise ArgumentError(f"{what} must be an integer from 1 to {MAX_UNITS}, not {value!r:.80}")
    return value


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """`limit` units per window.

    >>> Rate.parse("100 per 15 minutes")
    Rate(limit=100, window_ms=900000)
    >>> Rate.of(5, "1m") == Rate.of(5, 60) == Rate.parse("5/min")
    True
    >>> str(Rate.parse("3 / 10 sec"))
    '3/10s'
    """

    limit: int
    """Units, from 1 to 4294967295."""
    window_ms: int
    """Length of the window in milliseconds, from 1 to 10 years."""

    def __post_init__(self) -> None:
        units(self.limit, "limit")
        if isinstance(self.window_ms, bool) or not isinstance(self.window_ms, int):
            raise ArgumentError(f"window_ms must be an integer, not {self.window_ms!r:.80}")
        if not 1 <= self.window_ms <= MAX_WINDOW_MS:
            raise ArgumentError(f"window_ms must be from 1 to {MAX_WINDOW_MS} (10 years), not {self.window_ms}")

    @classmethod
    def of(cls, limit: int, window: Duration) -> Rate:
        """Make a rate of a number and a duration."""
        return cls(limit, milliseconds(window))

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read one rate: a number, ``/`` or ``per``, and a time whose number may be missing.

        Units are s, m, h, d, w and y, ms, and their names (``sec``, ``minutes``, …); a month is 30 days, a year 365.
        Upper and lower case are the same, spaces do not matter. Raises `ArgumentError` for anything else.
        """
        match = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
        window = _from_text(match["window"]) if match and match["window"] else None
        if match is None or window is None:
            raise ArgumentError(
                f"not a rate: {text!r:.80}. Write a number, '/' or 'per', and a time: "
                "'5/m', '10/hour', '3/10s', '100 per 15 minutes'"
            )
        return cls(int(match["limit"]), window)

    @classmethod
    def parse_many(cls, text: str) -> tuple[Rate, ...]:
        """Read one or more rates with ``;``, ``,`` or ``|`` between them.

        >>> Rate.parse_many("5/m; 100 per hour")
        (Rate(limit=5, window_ms=60000), Rate(limit=100, window_ms=3600000))
        """
        return _parsed(text)

    @property
    def window(self) -> timedelta:
        """The length of the window."""
        return timedelta(milliseconds=self.window_ms)

    def __str__(self) -> str:
        for unit in ("w", "d", "h", "m", "s"):
            number, rest = divmod(self.window_ms, _UNITS_MS[unit])
            if rest == 0:
                return f"{self.limit}/{number}{unit}"
        return f"{self.limit}/{self.window_ms}ms"


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[Rate, ...]:
    # An application has few rates, and asks with each of them all the time.
    return tuple(Rate.parse(part) for part in re.split(r"[;,|]", text))


def checked_burst(rate: Rate, burst: int | None = None) -> int:
    """Return the burst of a GCRA limiter, by default the limit. Raises `ArgumentError` for what there cannot be."""
    burst = rate.limit if burst is None else units(burst, "burst")
    if rate.limit > rate.window_ms * 1_000_000:
        raise ArgumentError(f"the rate of a GCRA limiter must be at most one unit for each nanosecond, not {rate}")
    if burst * rate.window_ms > MAX_REFILL_MS * rate.limit:
        raise ArgumentError(f"burst must refill within 100 years (burst x window / limit), not {burst} at {rate}")
    return burst


RateLike: TypeAlias = Rate | str | tuple[int, Duration]
"""A `Rate`, text with one or more rates, or a pair of a limit and a window."""


def rates(given: Iterable[RateLike]) -> tuple[Rate, ...]:
    """Return all the rates given, in order."""
    found: list[Rate] = []
    for rate in given:
        if isinstance(rate, Rate):
            found.append(rate)
        elif isinstance(rate, str):
            found.extend(Rate.parse_many(rate))
        elif isinstance(rate, tuple) and len(rate) == 2:
            found.append(Rate.of(*rate))
        else:
            raise ArgumentError(f"not a rate: {rate!r:.80}. Give a Rate, text such as '5/m', or a pair (5, '1m')")
    return tuple(found)


def checked_windows(found: tuple[Rate, ...], what: str) -> tuple[Rate, ...]:
    """Return the rates, or raise an `ArgumentError` that names `what` if one key cannot have all of them."""
    if not 1 <= len(found) <= MAX_WINDOWS:
        raise ArgumentError(f"{what} needs from 1 to {MAX_WINDOWS} rates, not {len(found)}")
    if len({rate.window_ms for rate in found}) < len(found):
        raise ArgumentError(f"the windows of {what} must differ: {'; '.join(map(str, found))}")
    return found


def one_rate(given: RateLike) -> Rate:
    """Return the rate given, or raise `ArgumentError` if it is more than one."""
    found = rates([given])
    if len(found) != 1:
        raise ArgumentError(f"one rate is needed here, not {len(found)}: {given!r:.80}")
    return found[0]
