"""The storage and the strategies for `limits.aio`: those for blocking calls, to be awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from limits import RateLimitItem
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter
from limits.util import WindowStats

from ..aio import AsyncRateLimiter
from ..connection import DEFAULT_TIMEOUT
from ..rates import MAX_UNITS
from ..url import STORAGE_SCHEMES
from .base import StorageBase
from .naming import GCRA, PREFIX
from .state import LimitState

try:
    from limits.aio.storage import SlidingWindowCounterSupport
except ImportError:  # before limits 4.1
    SlidingWindowCounterSupport = object  # type: ignore[assignment,misc]


class AsyncRateLimitStorage(StorageBase[AsyncRateLimiter], Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """`RateLimitStorage` for `limits.aio`. Its schemes have ``async+`` before them."""

    STORAGE_SCHEME = [f"async+{scheme}" for scheme in STORAGE_SCHEMES]  # noqa: RUF012 (as limits has it)
    _pool_type = redis.asyncio.ConnectionPool
    _client_type = redis.asyncio.Redis
    _cluster_type = redis.asyncio.RedisCluster
    _limiter_type = AsyncRateLimiter

    def __init__(
        self,
        uri: str,
        connection_pool: redis.asyncio.ConnectionPool | None = None,
        key_prefix: str = PREFIX,
        wrap_exceptions: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> None:
        Storage.__init__(self, uri, wrap_exceptions=wrap_exceptions)
        self._open(uri, connection_pool, key_prefix, timeout, options)

    async def decide(self, key: str, limit: int, expiry: int, cost: int = 1, *, gcra: bool = False) -> LimitState:
        """As `RateLimitStorage.decide`."""
        return await self._decide(key, limit, expiry, cost, gcra=gcra)

    async def look(self, key: str, limit: int = MAX_UNITS, cost: int = 1, expiry: int = 0) -> LimitState:
        """As `RateLimitStorage.look`."""
        return await self._look(key, limit, cost, expiry)

    async def stats(self, key: str, limit: int, expiry: int) -> LimitState:
        """As `RateLimitStorage.stats`."""
        return await self._stats(key, limit, expiry)

    async def incr(self, key: str, expiry: int, amount: int = 1, elastic_expiry: bool = False) -> int:
        """As `RateLimitStorage.incr`."""
        return await self._incr(key, expiry, amount)

    async def get(self, key: str) -> int:
        """As `RateLimitStorage.get`."""
        return await self._get(key)

    async def get_expiry(self, key: str) -> float:
        """As `RateLimitStorage.get_expiry`."""
        return await self._get_expiry(key)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """As `RateLimitStorage.acquire_entry`."""
        return await self._acquire(key, limit, expiry, amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """As `RateLimitStorage.get_moving_window`."""
        return await self._get_moving_window(key, expiry)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """As `RateLimitStorage.acquire_sliding_window_entry`."""
        return await self._acquire(key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """As `RateLimitStorage.get_sliding_window`."""
        return await self._get_sliding_window(key, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """As `RateLimitStorage.clear_sliding_window`."""
        await self.clear(key)

    async def clear(self, key: str) -> None:
        """As `RateLimitStorage.clear`."""
        await self._clear(key)

    async def reset(self) -> int:
        """As `RateLimitStorage.reset`."""
        return await self._reset()

    async def _scan(self, client: Any, pattern: str) -> AsyncIterator[bytes]:
        async for key in client.scan_iter(match=pattern, count=1000):
            yield key

    async def check(self) -> bool:
        """As `RateLimitStorage.check`."""
        return await self._check()


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

    @classmethod
    def by_name(cls, storage: Storage) -> RateLimiter:
        """As `SlidingWindowRateLimiter.by_name`."""
        return cls(storage) if isinstance(storage, AsyncRateLimitStorage) else MovingWindowRateLimiter(storage)

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
        return (await self.storage.stats(key, item.amount, item.get_expiry())).stats(item.amount)

    async def clear(self, item: RateLimitItem, *identifiers: str) -> None:
        """As `SlidingWindowRateLimiter.clear`."""
        await self.storage.clear(self.key_for(item, identifiers))


class AsyncGcraRateLimiter(AsyncSlidingWindowRateLimiter):
    """`GcraRateLimiter` for `limits.aio`."""

    gcra = True

    def key_for(self, item: RateLimitItem, identifiers: tuple[str, ...]) -> str:
        """Return what the storage calls a limit."""
        return super().key_for(item, identifiers) + GCRA
