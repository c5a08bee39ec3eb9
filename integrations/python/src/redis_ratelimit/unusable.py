"""Limits that the module cannot hold to, if that shows only when they are asked: refused, and said once.

Most limits are checked where they are declared, and raise `ArgumentError` there. Some frameworks hand over theirs only
with a request. An exception would then be answered with 500, each time; or it would be swallowed, and nothing limited.
"""

from __future__ import annotations

import logging
import threading
from functools import lru_cache

from .errors import ArgumentError
from .rates import Rate, checked_burst

_logger = logging.getLogger("redis_ratelimit")
_lock = threading.Lock()
_told: set[tuple[str, int, float]] = set()
# A limit may come from a function, and be another one each time.
_MOST_TOLD = 1000


def usable(limit: int, seconds: float, name: str, *, gcra: bool = False) -> Rate | None:
    """Return the rate, or None if the module has no such limit: then every request has to be refused.

    An error is logged then, which names the limit by `name`; once for each limit.
    """
    try:
        return _rate(limit, seconds, gcra)
    except ArgumentError as error:
        _tell(limit, seconds, name, error)
        return None


# By the types, too: 5.0 is equal to 5, and no limit.
@lru_cache(maxsize=1024, typed=True)
def _rate(limit: int, seconds: float, gcra: bool) -> Rate:
    rate = Rate.of(limit, seconds)
    if gcra:
        checked_burst(rate, limit)
    return rate


def _tell(limit: int, seconds: float, name: str, error: ArgumentError) -> None:
    with _lock:
        if (name, limit, seconds) in _told or len(_told) >= _MOST_TOLD:
            return
        _told.add((name, limit, seconds))
    _logger.error("%s: there is no limit of %s per %s s, so it refuses every request: %s", name, limit, seconds, error)
