"""What a limit is called: by `limits`, and in Redis."""

from __future__ import annotations

from functools import lru_cache

from limits.limits import GRANULARITIES

from ..keys import escape, hashed

PREFIX = "rl:limits"
"""What keys begin with by default. `reset` of a storage forgets them all, and nothing else that begins with ``rl:``."""

LONGEST = 256
"""Bytes: what is longer is hashed. Some parts of it come from clients."""


def redis_key(prefix: str, key: str) -> str:
    """Return the key in Redis of what `limits` calls `key`.

    >>> redis_key("rl:limits", "LIMITER/192.0.2.1/login/5/1/minute")
    'rl:limits:LIMITER/192.0.2.1/login/5/1/minute'
    >>> redis_key("rl:limits", "LIMITER/2001:db8::1/{login}/5/1/minute")
    'rl:limits:LIMITER/2001%3Adb8%3A%3A1/%7Blogin%7D/5/1/minute'
    >>> redis_key("rl:limits", "LIMITER/" + 1000 * "x" + "/5/1/minute")
    'rl:limits:%=ed52a1b8407068ef2fbefff40695e5070553346f'
    """
    escaped = escape(key)
    return f"{prefix}:{escaped if len(escaped.encode()) <= LONGEST else hashed(key)}"


GCRA = "/gcra"
"""What the keys of `GcraRateLimiter` end with."""


def limit_in(key: str) -> tuple[int, int] | None:
    """Return the limit that is part of a key, and its window in seconds; or None if there is none in it.

    ``RateLimitItem.key_for`` ends keys with the amount, the multiples and the name of the granularity, so no
    identifier can stand in their place.

    >>> limit_in("LIMITER/192.0.2.1/login/5/2/minute"), limit_in("LIMITER/192.0.2.1/login/5/2/minute/gcra")
    ((5, 120), (5, 120))
    >>> limit_in("my own") is None
    True
    """
    parts = key.removesuffix(GCRA).rsplit("/", 3)
    return _limit(*parts[-3:]) if len(parts) >= 3 else None


# An application has few limits, and many keys.
@lru_cache(maxsize=256)
def _limit(amount: str, multiples: str, granularity: str) -> tuple[int, int] | None:
    known = GRANULARITIES.get(granularity)
    if known is None or not (amount.isdecimal() and multiples.isdecimal()):
        return None
    return int(amount), known.GRANULARITY.seconds * int(multiples)


def limit_of(key: str, expiry: int) -> int | None:
    """Return the limit that is part of a key with such a window, or None if there is none in it.

    >>> limit_of("LIMITER/192.0.2.1/login/5/2/minute", 120)
    5
    >>> limit_of("LIMITER/192.0.2.1/login/5/2/minute", 60) is limit_of("my own", 60) is None
    True
    """
    found = limit_in(key)
    return found[0] if found is not None and found[1] == expiry else None
