"""The blocking storage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis
from limits.errors import ConfigurationError
from limits.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage

from ..classify import CLIENT_ERRORS, cannot_probe, classify
from ..client import RateLimiter
from ..commands import peek, probe
from ..connection import DEFAULT_TIMEOUT
from ..errors import ArgumentError, PoolExhaustedError, RateLimitError
from ..handle import run
from ..policy import answer
from ..rates import MAX_UNITS
from ..url import STORAGE_SCHEMES
from .address import limiter_address
from .common import BATCH, Common, count_after, moving_window, two_windows
from .naming import PREFIX, limit_in, limit_of
from .standing import Recent, Standing


class RateLimitStorage(Common, Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """A storage whose every hit is one command.

    `uri` is one of ``rl://[user][:password]@host:port/db``, ``rls://`` (TLS), ``rl+unix:///path``,
    ``rl+sentinel://host:port,host:port/service``, ``rl+cluster://host:port,host:port``, and the last two with ``rls``;
    else as in `RateLimiter.from_url`. `options` are redis-py's, and of `limits` ``service_name`` and
    ``sentinel_kwargs``. With `connection_pool`, a pool of redis-py, its settings count and not the URI's.

    Keys begin with `key_prefix` and a colon. Answers are waited for `timeout` seconds. Whatever is no decision raises a
    `RateLimitError`, or with `wrap_exceptions` a `limits.errors.StorageError` around it.

    The methods of `limits` serve its own strategies, each with one command. `decide`, `look` and `recent` serve
    `SlidingWindowRateLimiter`, which needs none to know where the window stands after a hit.

    Raises `limits.errors.ConfigurationError` for what is no URI or option. Nothing is connected before the first hit.
    """

    STORAGE_SCHEME = list(STORAGE_SCHEMES)  # noqa: RUF012 (as limits has it)

    def __init__(
        self,
        uri: str,
        connection_pool: redis.ConnectionPool | None = None,
        key_prefix: str = PREFIX,
        wrap_exceptions: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> None:
        Common.__init__(self, key_prefix)
        Storage.__init__(self, uri, wrap_exceptions=wrap_exceptions)
        if not isinstance(connection_pool, redis.ConnectionPool | None):
            raise ConfigurationError("connection_pool must be a redis.ConnectionPool")
        try:
            if connection_pool is None:
                url, options = limiter_address(uri, options)
                self.limiter = RateLimiter.from_url(url, timeout=timeout, **options)
            else:
                client = redis.Redis(connection_pool=connection_pool, **options)
                self.limiter = RateLimiter(client, timeout=timeout)
        except (ArgumentError, TypeError) as error:
            raise ConfigurationError(str(error)) from error

    def decide(self, key: str, limit: int, expiry: int, cost: int = 1, *, gcra: bool = False) -> Standing:
        """Hit a limit: one RL.CHECK or RL.GCRA.

        A cost of 0 is always granted, and only looks (RL.PEEK). A limit of 0 grants nothing, and asks nobody.
        """
        if cost == 0:
            return self.look(key, limit, 0, expiry)
        if limit == 0:
            standing = Standing.of(None, expiry, allowed_if_unused=False)
            self.recent.keep(key, standing)
            return standing
        if refusal := self.refusal(key, limit, expiry, cost):
            return refusal
        with self.wrapping():
            ask = self.limiter.gcra if gcra else self.limiter.check
            try:
                decision = ask(self.redis_key(key), (limit, expiry), cost=cost)
            except PoolExhaustedError:
                # Raised, it might be swallowed, and everything would pass.
                decision = answer("closed", "POOL", limit=limit, cost=cost)
            standing = Standing.of(decision, expiry)
        self.recent.keep(key, standing)
        return standing

    def look(self, key: str, limit: int = MAX_UNITS, cost: int = 1, expiry: int = 0) -> Standing:
        """See where a limit stands, and whether the cost would be granted: one RL.PEEK. A cost of 0 always would."""
        declared = limit_in(key)
        if cost and declared and declared[0] and (refusal := self.refusal(key, *declared, cost)):
            return refusal
        with self.wrapping():
            try:
                decision = self.limiter.peek(self.redis_key(key), cost=max(cost, 1))
            except PoolExhaustedError:
                decision = answer("closed", "POOL", limit=limit, cost=cost)
        standing = Standing.of(decision, expiry, allowed_if_unused=cost <= limit)
        self.recent.keep(key, standing)
        return standing if cost else replace(standing, allowed=True)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Hit the limit that is part of the key, and return the units in use; above the limit if denied.

        What is denied is not counted. Where the key is none of `limits.RateLimitItem.key_for`, there is no limit in it,
        and everything counts that was hit within `expiry` seconds.
        """
        limit = limit_of(key, expiry)
        if limit is None:
            limit = MAX_UNITS
        return count_after(self.decide(key, limit, expiry, amount), limit, amount)

    def get(self, key: str) -> int:
        """Return the units in use."""
        return self.look(key).used

    def get_expiry(self, key: str) -> float:
        """Return the time when a unit is free, if there is none, or when the whole quota is back."""
        # limits asks for it after get().
        return (self.recent.find(key, 1.0) or self.look(key)).resets_at

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Hit a limit, and return whether it was granted."""
        return self.decide(key, limit, expiry, amount).allowed

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the window has begun, and the units in use."""
        return moving_window(self.look(key), expiry)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Hit a limit, and return whether it was granted."""
        return self.decide(key, limit, expiry, amount).allowed

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return a previous window, which is always empty, and a current one with the units in use."""
        return two_windows(self.look(key), expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a limit."""
        self.clear(key)

    def clear(self, key: str) -> None:
        """Forget a limit."""
        with self.wrapping():
            self.limiter.reset(self.redis_key(key))
        self.recent.keep(key, Standing.of(None))

    def reset(self) -> int:
        """Forget all limits of this prefix, and return how many there were.

        It looks through all keys of the server, or of all primaries (SCAN), so a user needs ``+scan``.
        """
        client = self.limiter._handle.client()
        in_one = 1 if isinstance(client, redis.RedisCluster) else BATCH
        forgotten = 0
        found: list[bytes] = []
        try:
            for key in client.scan_iter(match=self.pattern, count=1000):
                found.append(key)
                if len(found) == in_one:
                    forgotten += self.limiter.reset(*found)
                    found.clear()
        except CLIENT_ERRORS as error:
            raise classify(error) from error
        if found:
            forgotten += self.limiter.reset(*found)
        self.recent = Recent()
        return forgotten

    def check(self) -> bool:
        """Whether hits are answered. Asking does not count as a decision: see `commands.probe`.

        If the user may not run ``CL.THROTTLE``, or the server does not have it, it is a hit on a key of its own that is
        gone after a millisecond.
        """
        key = self.redis_key("check")
        try:
            if self.may_probe:
                try:
                    # First whether our module is there: CL.THROTTLE might be another's.
                    run(self.limiter._ask_quietly(peek(key, 1)))
                    run(self.limiter._ask_quietly(probe(key)))
                except RateLimitError as error:
                    if not cannot_probe(error):
                        raise
                    # Not again: the server counts what it has to refuse.
                    self.may_probe = False
            if not self.may_probe:
                self.limiter.check(key, (MAX_UNITS, 0.001))
        except RateLimitError:
            return False
        return True
