"""What the blocking and the asyncio storage have in common: all but the asking."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from limits.errors import StorageError

from ..errors import RateLimitError, UnavailableError
from ..outage import logger
from ..rates import MAX_UNITS
from ..unusable import usable
from .naming import GCRA, redis_key
from .standing import Recent, Standing

BATCH = 500
"""Keys in one RL.RESET."""


class Common:
    """Names, a memory, and the way that errors take."""

    wrap_exceptions: bool

    def __init__(self, key_prefix: str) -> None:
        self.key_prefix = key_prefix
        self.recent = Recent()
        self.may_probe = True
        self._logged: set[type[RateLimitError]] = set()

    @property
    def base_exceptions(self) -> type[Exception]:
        """All that a storage raises of itself: `RateLimitError`."""
        return RateLimitError

    def redis_key(self, key: str) -> str:
        """Return the key in Redis of what `limits` calls `key`."""
        return redis_key(self.key_prefix, key)

    def refusal(self, key: str, limit: int, expiry: int, cost: int) -> Standing | None:
        """Return the answer to what the server cannot decide; None if it can.

        That is a limit which the module does not have, or a cost above any limit. Neither is ever granted. It is not an
        exception, which would be swallowed or end in a fallback, and nothing would be limited.
        """
        if cost <= MAX_UNITS and usable(limit, expiry, "a storage for limits", gcra=key.endswith(GCRA)) is not None:
            return None
        standing = Standing(False, limit, time.time() + expiry, time.monotonic())
        self.recent.keep(key, standing)
        return standing

    @property
    def pattern(self) -> str:
        """What the keys of this storage look like to SCAN."""
        return re.sub(r"([\\*?\[\]])", r"\\\1", self.key_prefix) + ":*"

    @contextmanager
    def wrapping(self) -> Iterator[None]:
        """Raise as `limits` has promised: a StorageError around each exception, if that was asked for."""
        try:
            yield
        except RateLimitError as error:
            self._log(error)
            if self.wrap_exceptions:
                raise StorageError(error) from error
            raise
        else:
            self._logged.clear()

    def _log(self, error: RateLimitError) -> None:
        """Say once why hits fail: those who fall back to memory only say that they do. Outages are logged already."""
        if not isinstance(error, UnavailableError) and type(error) not in self._logged:
            self._logged.add(type(error))
            logger.error("rate limiting does not work: %s", error)


def count_after(standing: Standing, limit: int, amount: int) -> int:
    """Return what ``incr`` says: the units in use, or a number above the limit if there was no room for the amount."""
    return standing.used if standing.allowed else max(standing.used + amount, limit + 1)


def moving_window(standing: Standing, expiry: int) -> tuple[float, int]:
    """Return the time at which a window that ends with the standing has begun, and the units in it."""
    start = standing.resets_at - expiry if standing.used else time.time()
    return start, standing.used


def two_windows(standing: Standing, expiry: int) -> tuple[int, float, int, float]:
    """Return the standing as the count and the rest of a previous window, which is empty, and of a current one."""
    # The rest of a whole window would be taken for none.
    rest = min(max(standing.resets_at - time.time(), 0.0), math.nextafter(expiry, 0))
    return 0, 0.0, standing.used, rest
