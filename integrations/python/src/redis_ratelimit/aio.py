"""The asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio
from redis.client import NEVER_DECODE
from redis.exceptions import MaxConnectionsError, RedisClusterException, SlotNotCoveredError

from . import commands, connection
from .classify import CLIENT_ERRORS, is_demotion
from .commands import Key, Request
from .connection import ASYNCIO, DEFAULT_TIMEOUT
from .decision import Decision, Decisions
from .info import Info, TopKey
from .limiter import Limiter
from .policy import Policy
from .rates import Duration, RateLike, units

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

MAX_CONNECTIONS = 100
"""How many calls of one limiter may be on their way at a time."""


class AsyncRateLimiter(Limiter):
    """`RateLimiter` for asyncio: the same calls, to be awaited. To be used in one event loop.

    `client` is a `redis.asyncio.Redis` or `redis.asyncio.RedisCluster`. At most `max_connections` calls are on their
    way at a time, each on a connection of its own; the others wait for up to `timeout` seconds. All else is as for
    `RateLimiter`.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        *,
        policy: Policy = "raise",
        timeout: float | None = DEFAULT_TIMEOUT,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        super().__init__(connection.like(client, timeout, ASYNCIO), policy)
        self._timeout = timeout
        # A client that is used as it is has its own way.
        self._room = None if timeout is None else _room(max_connections)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        policy: Policy = "raise",
        timeout: float = DEFAULT_TIMEOUT,
        max_connections: int = MAX_CONNECTIONS,
        **options: Any,
    ) -> Self:
        """As `RateLimiter.from_url`."""
        made = cls.__new__(cls)
        Limiter.__init__(made, connection.from_url(url, timeout, options, ASYNCIO), policy)
        made._timeout = timeout
        made._room = _room(max_connections)
        return made

    async def check(
        self,
        key: Key,
        *rates: RateLike,
        cost: int = 1,
        at_most: bool = False,
        force: bool = False,
        block: Duration | None = None,
    ) -> Decision:
        """As `RateLimiter.check`."""
        return await self._ask(commands.check(key, rates, cost, at_most, force, block))

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
    ) -> Decision:
        """As `RateLimiter.gcra`."""
        return await self._ask(commands.gcra(key, rate, burst, cost, at_most, force, block))

    async def mcheck(
        self, rates: Mapping[Key, RateLike] | Iterable[tuple[Key, RateLike]], *, cost: int = 1
    ) -> Decisions:
        """As `RateLimiter.mcheck`."""
        return await self._ask(commands.mcheck(rates, cost))

    async def peek(self, key: Key, *, cost: int = 1) -> Decision | None:
        """As `RateLimiter.peek`."""
        return await self._ask(commands.peek(key, cost))

    async def info(self, key: Key) -> Info | None:
        """As `RateLimiter.info`."""
        return await self._ask(commands.info(key))

    async def refund(self, key: Key, units: int = 1) -> Decision | None:
        """As `RateLimiter.refund`."""
        return await self._ask(commands.refund(key, units))

    async def reset(self, *keys: Key) -> int:
        """As `RateLimiter.reset`."""
        return await self._ask(commands.reset(keys))

    async def top(self, count: int = 10) -> list[TopKey]:
        """As `RateLimiter.top`."""
        return await self._ask(commands.top(count))

    async def aclose(self) -> None:
        """Close the limiter's own connections; a later call opens them again."""
        client = self._link.take()
        if client is not None and self._link.owned:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, request: Request[T]) -> T:
        try:
            replies = await self._send_in_turn(request)
        except CLIENT_ERRORS as error:
            return self._without_decision(request, error)
        self._outages.succeeded()
        return request.read(replies)

    async def _send_in_turn(self, request: Request[T]) -> list[Any]:
        if self._room is None:
            return await self._send(request)
        if self._room.locked():
            try:
                await asyncio.wait_for(self._room.acquire(), self._timeout)
            except asyncio.TimeoutError:
                raise MaxConnectionsError(f"no connection was free within {self._timeout} s") from None
        else:
            await self._room.acquire()
        try:
            return await self._send(request)
        finally:
            self._room.release()

    async def _send(self, request: Request[T]) -> list[Any]:
        client = self._link.get()
        try:
            return await _send(client, request)
        except SlotNotCoveredError:
            # A cluster client looks for the owner of a slot again only when a node has sent it elsewhere.
            await client.nodes_manager.initialize()
        except RedisClusterException:
            # No node answers, and a cluster client may have forgotten where to look: the next call makes another.
            if self._link.owned and self._link.take(client) is not None:
                await client.aclose()
            raise
        except CLIENT_ERRORS as error:
            if not is_demotion(error):
                raise
            # A replica has refused, so nothing was charged: once more, to whoever is the primary now.
            if not isinstance(client, redis.asyncio.RedisCluster):
                await client.connection_pool.disconnect(inuse_connections=False)
        return await _send(client, request)


def _room(connections: int) -> asyncio.Semaphore:
    return asyncio.Semaphore(units(connections, "max_connections"))


async def _send(client: Any, request: Request[T]) -> list[Any]:
    # Keys are bytes, whatever the client decodes.
    options: dict[str, Any] = {NEVER_DECODE: True}
    cluster = isinstance(client, redis.asyncio.RedisCluster)
    if not cluster:
        return [await client.execute_command(*request.words, **options)]
    await client.initialize()
    # Told the node, redis-py follows redirections but repeats nothing.
    nodes = [client.get_node_from_key(request.slot_key())] if request.keys else client.get_primaries()
    return [await client.execute_command(*request.words, target_nodes=node, **options) for node in nodes]
