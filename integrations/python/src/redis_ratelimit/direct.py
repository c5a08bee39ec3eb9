"""Requests by the connections of a client of redis-py, and not by its `execute_command`.

What is sent and read is the same, for these are the connections that `execute_command` uses, with their timeouts and
health checks. What it and its pool do around them costs more than all that this package does: they repeat, count,
measure and call back. Of a limiter's own client that is nothing, unless somebody listens there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import getpid
from types import FunctionType
from typing import Any

import redis
import redis.asyncio

from .classify import CLIENT_ERRORS

try:
    from redis.observability import get_observability_instance
except ImportError:  # before redis-py 7.2
    get_observability_instance = None  # type: ignore[assignment]


def direct_way(kind: type[Direct], client: Any) -> Direct | None:
    """Return the way by the connections of a client; None if no request may ever go by it.

    `client` is one that a limiter has made for itself, of one server or behind Sentinel.
    """
    retry = client.connection_pool.connection_kwargs.get("retry")
    # Before redis-py 6 it did not tell how often it repeats, and its pool wanted to know the command.
    return kind(client) if getattr(retry, "get_retries", lambda: None)() == 0 else None


class Direct(ABC):
    """The connections of a client.

    Once taken from its pool they stay here between requests. Each is looked at before it is used again, as the pool
    does; one on which something has failed goes back, and is connected anew by the pool.
    """

    def __init__(self, client: Any) -> None:
        self._kind = type(client)
        self._own: Any = None
        self._pool = pool = client.connection_pool
        # The last one first, as in a pool. To take one and to put it back is one step each, for any number of threads.
        self._idle: list[Any] = []
        # A Sentinel's pool closes its idle connections when there is another primary, and must find them.
        self._keeps = type(pool) in (redis.ConnectionPool, redis.asyncio.ConnectionPool)

    def is_open(self) -> bool:
        """Whether nobody listens to the client."""
        # Tracers, such as those of OpenTelemetry and Sentry, put their own in its place, at any time.
        if self._kind.execute_command is not self._own:
            if not _is_of_redis_py(self._kind):
                return False
            self._own = self._kind.execute_command
        return get_observability_instance is None or get_observability_instance().get_provider_manager() is None

    @abstractmethod
    async def exchange(self, words: Sequence[Any]) -> Any:
        """Send a command, and return the reply. Raises what redis-py raises, and repeats nothing."""


class BlockingDirect(Direct):
    """Those of a blocking client."""

    def _take(self) -> Any:
        pool, idle = self._pool, self._idle
        try:
            connection = idle.pop()
            # Those of the process that this one was forked from are left to it.
            while connection.pid != getpid():
                connection = idle.pop()
        except IndexError:
            return pool.get_connection()
        try:
            if not connection.can_read():
                return connection
        except CLIENT_ERRORS:
            # The server has closed it.
            pass
        connection.disconnect()
        pool.release(connection)
        return pool.get_connection()

    async def exchange(self, words: Sequence[Any]) -> Any:
        """Send a command, and return the reply."""
        connection = self._take()
        try:
            connection.send_command(*words)
            reply = connection.read_response(disable_decoding=True)
        except BaseException:
            self._pool.release(connection)
            raise
        if self._keeps:
            self._idle.append(connection)
        else:
            self._pool.release(connection)
        return reply


class AsyncDirect(Direct):
    """Those of an asyncio client, which are of one event loop."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        connection_class = self._pool.connection_class
        # The second is its name before redis-py 8.
        self._can_read = getattr(connection_class, "can_read", None) or connection_class.can_read_destructive

    async def _take(self) -> Any:
        pool = self._pool
        if not self._idle:
            return await pool.get_connection()
        connection = self._idle.pop()
        try:
            if not await self._can_read(connection):
                return connection
        except CLIENT_ERRORS:
            # The server has closed it.
            pass
        except BaseException:
            # Cancelled while it waited.
            await pool.release(connection)
            raise
        await connection.disconnect()
        await pool.release(connection)
        return await pool.get_connection()

    async def exchange(self, words: Sequence[Any]) -> Any:
        """Send a command, and return the reply."""
        connection = await self._take()
        try:
            await connection.send_command(*words)
            reply = await connection.read_response(disable_decoding=True)
        except BaseException:
            await self._pool.release(connection)
            raise
        if self._keeps:
            self._idle.append(connection)
        else:
            await self._pool.release(connection)
        return reply


def _is_of_redis_py(kind: Any) -> bool:
    function = kind.execute_command
    # A function in its place may have taken over its names, but not where it was written.
    return type(function) is FunctionType and function.__globals__["__name__"] == kind.__module__
