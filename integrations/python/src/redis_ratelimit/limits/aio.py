"""The storage and the strategies for `limits.aio`: those for blocking calls, to be awaited."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis.asyncio
from limits import RateLimitItem
from limits.aio.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage
from limits.aio.strategies import RateLimiter
from limits.errors import ConfigurationError
from limits.util import WindowStats

from ..aio import AsyncRateLimiter
from ..classify import CLIENT_ERRORS, cannot_probe, classify
from ..commands import peek, probe
from ..connection import DEFAULT_TIMEOUT
from ..errors import ArgumentError, PoolExhaustedError, RateLimitError
from ..policy import answer
from ..rates import MAX_UNITS
from ..url import STORAGE_SCHEMES
from .address import limiter_address
from .common import BATCH, Common, count_after, moving_window, two_windows
from .naming import GCRA, PREFIX, limit_in, limit_of
from .standing import Recent, Standing


class AsyncRateLimitStorage(Common, Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """`RateLimitStorage` for `limits.aio`. Its schemes have ``async+`` before them."""

    STORAGE_SCHEME = [f"async+{scheme}" for scheme in STORAGE_SCHEMES]  # noqa: RUF012 (as limits has it)

    def __init__(
        self,
        uri: str,
        connection_pool: redis.asyncio.ConnectionPool | None = None,
        key_prefix: str = PREFIX,
        wrap_exceptions: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> None:
        Common.__init__(self, key_prefix)
        Storage.__init__(self, uri, wrap_exceptions=wrap_exceptions)
        if not isinstance(connection_pool, redis.asyncio.ConnectionPool | None):
            raise ConfigurationError("connection_pool must be a redis.asyncio.ConnectionPool")
        try:
            if connection_pool is None:
                url, options = limiter_address(uri, options)
                self.limiter = AsyncRateLimiter.from_url(url, timeout=timeout, **options)
            else:
                client = redis.asyncio.Redis(connection_pool=connection_pool, **options)
                self.limiter = AsyncRateLimiter(client, timeout=timeout)
        except (ArgumentError, TypeError) as error:
            raise ConfigurationError(str(error)) from error

    async def decide(self, key: str, limit: int, expiry: int, cost: int = 1, *, gcra: bool = False) -> Standing:
        """As `RateLimitStorage.decide`."""
        if cost == 0:
            return await self.look(key, limit, 0, expiry)
        if limit == 0:
            standing = Standing.of(None, expiry, allowed_if_unused=False)
            self.recent.keep(key, standing)
            return standing
        if refusal := self.refusal(key, limit, expiry, cost):
            return refusal
        with self.wrapping():
            ask = self.limiter.gcra if gcra else self.limiter.check
            try:
                decision = await ask(self.redis_key(key), (limit, expiry), cost=cost)
            except PoolExhaustedError:
                # Raised, it might be swallowed, and everything would pass.
                decision = answer("closed", "POOL", limit=limit, cost=cost)
            standing = Standing.of(decision, expiry)
        self.recent.keep(key, standing)
        return standing

    async def look(self, key: str, limit: int = MAX_UNITS, cost: int = 1, expiry: int = 0) -> Standing:
        """As `RateLimitStorage.look`."""
        declared = limit_in(key)
        if cost and declared and declared[0] and (refusal := self.refusal(key, *declared, cost)):
            return refusal
        with self.wrapping():
            try:
                decision = await self.limiter.peek(self.redis_key(key), cost=max(cost, 1))
            except PoolExhaustedError:
                decision = answer("closed", "POOL", limit=limit, cost=cost)
        standing = Standing.of(decision, expiry, allowed_if_unused=cost <= limit)
        self.recent.keep(key, standing)
        return standing if cost else replace(standing, allowed=True)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """As `RateLimitStorage.incr`."""
        limit = limit_of(key, expiry)
        if limit is None:
            limit = MAX_UNITS
        return count_after(await self.decide(key, limit, expiry, amount), limit, amount)

    async def get(self, key: str) -> int:
        """As `RateLimitStorage.get`."""
        return (await self.look(key)).used

    async def get_expiry(self, key: str) -> float:
        """As `RateLimitStorage.get_expiry`."""
        return (self.recent.find(key, 1.0) or await self.look(key)).resets_at

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """As `RateLimitStorage.acquire_entry`."""
        return (await self.decide(key, limit, expiry, amount)).allowed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """As `RateLimitStorage.get_moving_window`."""
        return moving_window(await self.look(key), expiry)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """As `RateLimitStorage.acquire_sliding_window_entry`."""
        return (await self.decide(key, limit, expiry, amount)).allowed

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """As `RateLimitStorage.get_sliding_window`."""
        return two_windows(await self.look(key), expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """As `RateLimitStorage.clear_sliding_window`."""
        await self.clear(key)

    async def clear(self, key: str) -> None:
        """As `RateLimitStorage.clear`."""
        with self.wrapping():
            await self.limiter.reset(self.redis_key(key))
        self.recent.keep(key, Standing.of(None))

    async def reset(self) -> int:
        """As `RateLimitStorage.reset`."""
        client = await self.limiter._handle.client()
        in_one = 1 if isinstance(client, redis.asyncio.RedisCluster) else BATCH
        forgotten = 0
        found: list[bytes] = []
        try:
            async for key in client.scan_iter(match=self.pattern, count=1000):
                found.append(key)
                if len(found) == in_one:
                    forgotten += await self.limiter.reset(*found)
                    found.clear()
        except CLIENT_ERRORS as error:
            raise classify(error) from error
        if found:
            forgotten += await self.limiter.reset(*found)
        self.recent = Recent()
        return forgotten

    async def check(self) -> bool:
        """As `RateLimitStorage.check`."""
        key = self.redis_key("check")
        try:
            if self.may_probe:
                try:
                    # First whether our module is there: CL.THROTTLE might be another's.
                    await self.limiter._ask_quietly(peek(key, 1))
                    await self.limiter._ask_quietly(probe(key))
                except RateLimitError as error:
                    if not cannot_probe(error):
                        raise
                    # Not again: the server counts what it has to refuse.
                    self.may_probe = False
            if not self.may_probe:
                await self.limiter.check(key, (MAX_UNITS, 0.001))
        except RateLimitError:
            return False
        return True


class AsyncSlidingWindowRateLimiter(RateLimiter):
    """`SlidingWindowRateLimiter` for `limits.aio`."""

    gcra = False
    storage: AsyncRateLimitStorage

    def __init__(self, storage: Storage) -> None:
        if not isinstance(storage, AsyncRateLimitStorage):
            raise NotImplementedError(
                f"{type(self).__name__} needs a storage of an async+rl:// URI, not {type(storage)}"
            )
        super().__init__(storage)

    def key_for(self, item: RateLimitItem, identifiers: tuple[str, ...]) -> str:
        """Return what the storage calls a limit."""
        return item.key_for(*identifiers)

    async def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """As `SlidingWindowRateLimiter.hit`."""
        key = self.key_for(item, identifiers)
        return (await self.storage.decide(key, item.amount, item.get_expiry(), cost, gcra=self.gcra)).allowed

    async def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """As `SlidingWindowRateLimiter.test`."""
        key = self.key_for(item, identifiers)
        return (await self.storage.look(key, item.amount, cost, item.get_expiry())).allowed

    async def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """As `SlidingWindowRateLimiter.get_window_stats`."""
        key = self.key_for(item, identifiers)
        standing = self.storage.recent.find(key, item.get_expiry())
        if standing is None:
            standing = await self.storage.look(key, item.amount, expiry=item.get_expiry())
        return standing.stats(item.amount)

    async def clear(self, item: RateLimitItem, *identifiers: str) -> None:
        """As `SlidingWindowRateLimiter.clear`."""
        await self.storage.clear(self.key_for(item, identifiers))


class AsyncGcraRateLimiter(AsyncSlidingWindowRateLimiter):
    """`GcraRateLimiter` for `limits.aio`."""

    gcra = True

    def key_for(self, item: RateLimitItem, identifiers: tuple[str, ...]) -> str:
        """Return what the storage calls a limit."""
        return super().key_for(item, identifiers) + GCRA
