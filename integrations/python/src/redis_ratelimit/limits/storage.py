"""The blocking storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import redis
from limits.storage import MovingWindowSupport, Storage

from ..client import RateLimiter
from ..connection import DEFAULT_TIMEOUT
from ..handle import run
from ..rates import MAX_UNITS
from ..url import STORAGE_SCHEMES
from .base import StorageBase
from .naming import PREFIX
from .state import LimitState

try:
    from limits.storage import SlidingWindowCounterSupport
except ImportError:  # before limits 4.1
    SlidingWindowCounterSupport = object  # type: ignore[assignment,misc]


class RateLimitStorage(StorageBase[RateLimiter], Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """A storage whose every hit is one command.

    `uri` is one of ``rl://[user][:password]@host:port/db``, ``rls://`` (TLS), ``rl+unix:///path``,
    ``rl+sentinel://host:port,host:port/service``, ``rl+cluster://host:port,host:port``, and the last two with ``rls``;
    else as in `RateLimiter.from_url`. `options` are redis-py's, of the limiter ``observe`` and ``cache_denials``, and
    of `limits` ``service_name`` and ``sentinel_kwargs``. With `connection_pool`, a pool of redis-py, its settings count
    and not the URI's, but for the limiter's own.

    Keys begin with `key_prefix` and a colon. Answers are waited for `timeout` seconds. Whatever is no decision raises a
    `RateLimitError`, or with `wrap_exceptions` a `limits.errors.StorageError` around it.

    The methods of `limits` serve its own strategies. Each is at most one command; what they read is the reply to a hit
    of the same request, if that is fresh: see `state.ReplyCache`. `decide`, `look` and `stats` serve
    `SlidingWindowRateLimiter`, whose tests always ask.

    Raises `limits.errors.ConfigurationError` for what is no URI or option. Nothing is connected before the first hit.
    """

    STORAGE_SCHEME = list(STORAGE_SCHEMES)  # noqa: RUF012 (as limits has it)
    _pool_type = redis.ConnectionPool
    _client_type = redis.Redis
    _cluster_type = redis.RedisCluster
    _limiter_type = RateLimiter

    def __init__(
        self,
        uri: str,
        connection_pool: redis.ConnectionPool | None = None,
        key_prefix: str = PREFIX,
        wrap_exceptions: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> None:
        Storage.__init__(self, uri, wrap_exceptions=wrap_exceptions)
        self._open(uri, connection_pool, key_prefix, timeout, options)

    def decide(self, key: str, limit: int, expiry: int, cost: int = 1, *, gcra: bool = False) -> LimitState:
        """Hit a limit: one RL.CHECK or RL.GCRA.

        A cost of 0 is always granted, and only looks (RL.PEEK). A limit of 0 grants nothing, and asks nobody.
        """
        return run(self._decide(key, limit, expiry, cost, gcra=gcra))

    def look(self, key: str, limit: int = MAX_UNITS, cost: int = 1, expiry: int = 0) -> LimitState:
        """See what a limit has left, and whether the cost would be granted: one RL.PEEK. A cost of 0 always would."""
        return run(self._look(key, limit, cost, expiry))

    def stats(self, key: str, limit: int, expiry: int) -> LimitState:
        """Return what the last hit or look has told, if it is fresh; else look."""
        return run(self._stats(key, limit, expiry))

    def incr(self, key: str, expiry: int, amount: int = 1, elastic_expiry: bool = False) -> int:
        """Hit the limit that is part of the key, and return the units in use; above the limit if denied.

        What is denied is not counted. If the key is none of `limits.RateLimitItem.key_for`, there is no limit in it,
        and everything counts that was hit within `expiry` seconds. `elastic_expiry`, which limits before 5.0 gives, has
        no meaning in a window that slides.
        """
        return run(self._incr(key, expiry, amount))

    def get(self, key: str) -> int:
        """Return the units in use."""
        return run(self._get(key))

    def get_expiry(self, key: str) -> float:
        """Return the time when a unit is free, if there is none, or when the whole quota is back."""
        return run(self._get_expiry(key))

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Hit a limit, and return whether it was granted."""
        return run(self._acquire(key, limit, expiry, amount))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the window has begun, and the units in use."""
        return run(self._get_moving_window(key, expiry))

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Hit a limit, and return whether it was granted."""
        return run(self._acquire(key, limit, expiry, amount))

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return a previous window, which has nothing to count, and a current one with the units in use."""
        return run(self._get_sliding_window(key, expiry))

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a limit."""
        self.clear(key)

    def clear(self, key: str) -> None:
        """Forget a limit."""
        run(self._clear(key))

    def reset(self) -> int:
        """Forget all limits of this prefix, and return how many there were.

        It looks through all keys of the server, or of all primaries (SCAN), so a user needs ``+scan``.
        """
        return run(self._reset())

    async def _scan(self, client: Any, pattern: str) -> AsyncIterator[bytes]:
        for key in client.scan_iter(match=pattern, count=1000):
            yield key

    def check(self) -> bool:
        """Whether hits are answered. Asking does not count as a decision: see `commands.probe`.

        If the user may not run ``CL.THROTTLE``, or the server does not have it, it is a hit on a key of its own that is
        gone after a millisecond.
        """
        return run(self._check())
