"""The asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import redis.asyncio

from . import commands
from .commands import Key, pairs_of
from .connection import ASYNCIO, DEFAULT_TIMEOUT, target_of_client
from .decision import Decision, Decisions
from .errors import ReservationDeniedError
from .handle import AsyncHandle, awaited
from .info import Info, TopKey
from .leases import AsyncLease
from .limiter import Limiter
from .policy import Policy
from .rates import Duration, RateLike
from .reservations import AsyncReservation, Charge, asking, beats, leases
from .url import own_options, target_of_url

if TYPE_CHECKING:
    from typing_extensions import Self


class AsyncRateLimiter(Limiter):
    """`RateLimiter` for asyncio: the same calls, to be awaited. For any number of event loops.

    `client` is a `redis.asyncio.Redis` or `redis.asyncio.RedisCluster`. Its settings are taken over; the connections
    are the limiter's, and each belongs to the event loop in which it was made. They are closed by `aclose`, and when
    their loop ends. With ``timeout=None`` the client is used as it is, and so only in its own loop.

    `max_connections` is 100 unless the URL or the client's pool says something else, and counts for each event loop.
    All else is as for `RateLimiter`.
    """

    _handle: AsyncHandle

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        *,
        policy: Policy = "raise",
        timeout: float | None = DEFAULT_TIMEOUT,
        max_connections: int | None = None,
        observe: bool = False,
        cache_denials: int = 0,
    ) -> None:
        handle = AsyncHandle(target_of_client(client, timeout, max_connections, ASYNCIO), timeout)
        super().__init__(handle, policy, observe, cache_denials)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        policy: Policy = "raise",
        timeout: float = DEFAULT_TIMEOUT,
        max_connections: int | None = None,
        observe: bool = False,
        cache_denials: int = 0,
        **options: Any,
    ) -> Self:
        """As `RateLimiter.from_url`."""
        made = cls.__new__(cls)
        target = target_of_url(url, timeout, max_connections, options, ASYNCIO)
        own = {"observe": observe, "cache_denials": cache_denials, **own_options(url)}
        Limiter.__init__(made, AsyncHandle(target, timeout), policy, **own)
        return made

    async def check(
        self,
        key: Key,
        *rates: RateLike,
        cost: int = 1,
        at_most: bool = False,
        force: bool = False,
        block: Duration | None = None,
        upto: Duration | None = None,
        keep: int = 0,
        receipt: bool = False,
        renew: int | None = None,
    ) -> Decision:
        """As `RateLimiter.check`."""
        words = (key, rates, cost, at_most, force, block)
        return await self._decide(commands.check, *words, upto=upto, keep=keep, receipt=receipt, renew=renew)

    async def gcra(
        self,
        key: Key,
        rate: RateLike,
        *,
        burst: int | None = None,
        cost: int = 1,
        at_most: bool = False,
        force: bool = False,
        block: Duration | None = None,
        upto: Duration | None = None,
        keep: int = 0,
        max_wait: Duration | None = None,
    ) -> Decision:
        """As `RateLimiter.gcra`."""
        words = (key, rate, burst, cost, at_most, force, block)
        return await self._decide(commands.gcra, *words, upto=upto, keep=keep, max_wait=max_wait)

    async def mcheck(
        self,
        rates: Mapping[Key, RateLike] | Iterable[tuple[Key, RateLike]],
        *,
        cost: int = 1,
        costs: Sequence[int] | None = None,
        force: bool = False,
        receipt: bool = False,
    ) -> Decisions:
        """As `RateLimiter.mcheck`."""
        costs = tuple(costs) if isinstance(costs, list) else costs
        request = self._decide(commands.mcheck, pairs_of(rates), cost, costs=costs, force=force, receipt=receipt)
        return await request

    async def peek(self, key: Key, *, cost: int = 1) -> Decision | None:
        """As `RateLimiter.peek`."""
        return await self._ask(commands.peek(key, cost))

    async def info(self, key: Key) -> Info | None:
        """As `RateLimiter.info`."""
        return await self._ask(commands.info(key))

    async def refund(self, key: Key, units: int = 1, *, receipt: int | None = None) -> Decision | None:
        """As `RateLimiter.refund`."""
        return await self._ask(commands.refund(key, units, receipt=receipt))

    def lease(
        self, key: Key, limit: int, ttl: Duration, *, cost: int = 1, heartbeat: bool | Duration = False
    ) -> AsyncLease:
        """As `RateLimiter.lease`, for ``async with``. The heartbeat is a task."""
        return AsyncLease(self, key, limit, ttl, cost, heartbeat)

    def reserve(self, *charges: Charge, heartbeat: bool | Duration = False) -> AsyncReservation[Decisions]:
        """As `RateLimiter.reserve`, for ``async with``. The heartbeat is a task."""
        return AsyncReservation(self, asking(self, charges), ReservationDeniedError, beats(leases(charges), heartbeat))

    async def wait_turn(
        self, key: Key, rate: RateLike, *, burst: int = 1, cost: int = 1, max_wait: Duration = 60
    ) -> Decision:
        """As `RateLimiter.wait_turn`. A call that is cancelled has had its turn."""
        request = commands.gcra(key, rate, burst, cost, max_wait=max_wait)
        return await self._wait_turn(request, awaited, asyncio.sleep)

    async def reset(self, *keys: Key) -> int:
        """As `RateLimiter.reset`."""
        return await self._ask(commands.reset(keys))

    async def top(self, count: int = 10, *, database: int | None = None) -> list[TopKey]:
        """As `RateLimiter.top`."""
        return await self._ask(commands.top(count, database))

    async def aclose(self) -> None:
        """Close the limiter's own connections, in all event loops; a later call opens them again."""
        await self._handle.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
