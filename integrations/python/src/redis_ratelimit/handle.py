"""How requests reach a server: the clients of a limiter, how many calls may be on their way, and what is asked again.

Both limiters send by the same code. It is written as a coroutine, in which the blocking one never waits for anything:
see `run`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from redis.asyncio.cluster import PipelineCommand
from redis.client import NEVER_DECODE
from redis.credentials import CredentialProvider
from redis.exceptions import AskError, MovedError, ReadOnlyError, RedisClusterException, SlotNotCoveredError

from .classify import CLIENT_ERRORS, is_demotion
from .commands import Request
from .connection import Target
from .direct import AsyncDirect, BlockingDirect, Direct, direct_way
from .errors import PoolExhaustedError

T = TypeVar("T")

_HOLDERS = (
    *(dict, list, tuple, set, deque, socket.socket),
    *(asyncio.StreamReader, asyncio.StreamWriter, asyncio.BaseTransport, asyncio.BaseProtocol),
)
"""What is between a client and its sockets, besides the types of redis-py."""

MAX_CONNECTIONS = 100
"""How many calls of an asyncio limiter may be on their way at a time, unless somebody says something else."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("a blocking limiter has waited for an event loop")


class Place:
    """A client, and the room for calls on it: those of the process, or of one event loop."""

    __slots__ = ("client", "direct", "room")

    def __init__(self, room: Any) -> None:
        self.client: Any = None
        self.direct: Direct | None = None
        self.room = room


async def called(function: Callable[..., Any], *words: Any, **options: Any) -> Any:
    """Call a function that blocks."""
    return function(*words, **options)


async def awaited(function: Callable[..., Any], *words: Any, **options: Any) -> Any:
    """Call a function, and await what it returns."""
    return await function(*words, **options)


class ClientHandle(ABC):
    """The clients of a limiter, which are made when they are first needed."""

    def __init__(self, target: Target, max_connections: int | None, patience: float | None) -> None:
        self.target = target
        self._max_connections = max_connections
        self._patience = patience
        self._lock = threading.Lock()

    # Of one kind

    _call: Callable[..., Coroutine[Any, Any, Any]]
    """Calls a function of redis-py, and returns what it returns in the end."""
    _direct: type[Direct]

    @abstractmethod
    def _place(self) -> Place | None:
        """Return where the caller belongs; None if that has to be made first, by `_settle`."""

    @abstractmethod
    async def _settle(self) -> Place:
        """Make the place of the caller."""

    @abstractmethod
    async def _enter(self, room: Any) -> bool:
        """Take a seat, and return whether there was one in time."""

    @abstractmethod
    async def _prepare(self, client: Any) -> None:
        """Let a cluster client find out about the cluster."""

    # Of both

    async def send(self, request: Request[Any]) -> list[Any]:
        """Send a request, and return the reply, or in a cluster those of all nodes that are asked.

        Raises `PoolExhaustedError` if no connection is free in time, else what redis-py raises.
        """
        place = self._place() or await self._settle()
        return await (self._send(place, request) if place.room is None else self._seated(place, self._send, request))

    async def send_all(self, requests: Sequence[Request[Any]]) -> list[list[Any] | Exception]:
        """Send requests with keys at once, in a cluster to one node after the other. They are no transaction.

        Returns for each what `send` would have returned, or raised.
        """
        try:
            return await self._seated(self._place() or await self._settle(), self._send_all, requests)
        except PoolExhaustedError as error:
            return [error] * len(requests)
        except CLIENT_ERRORS as error:
            return [error] * len(requests)

    async def _seated(self, place: Place, send: Callable[[Place, Any], Coroutine[Any, Any, T]], what: Any) -> T:
        room = place.room
        if room is None:
            return await send(place, what)
        if not await self._enter(room):
            raise PoolExhaustedError(
                f"no connection was free within {self._patience} s, of max_connections={self._max_connections}"
            )
        try:
            return await send(place, what)
        finally:
            room.release()

    async def _send(self, place: Place, request: Request[Any]) -> list[Any]:
        client = place.client or self._client_of(place)
        try:
            direct = place.direct
            if direct is not None and direct.is_open():
                return [await direct.exchange(request.words)]
            return await self._execute(client, request)
        except SlotNotCoveredError:
            # A cluster client looks for the owner of a slot again only when a node has sent it elsewhere.
            await self._call(client.nodes_manager.initialize)
        except RedisClusterException:
            # No node answers, and a cluster client may have forgotten where to look: the next call makes another.
            await self._discard(place, client)
            raise
        except CLIENT_ERRORS as error:
            if not is_demotion(error):
                raise
            # A replica has refused, so nothing was charged: once more, to whoever is the primary now.
            if not self.target.cluster:
                await self._call(client.connection_pool.disconnect, inuse_connections=False)
        return await self._execute(client, request)

    async def _execute(self, client: Any, request: Request[Any]) -> list[Any]:
        # Keys are bytes, whatever the client decodes.
        options: dict[str, Any] = {NEVER_DECODE: True}
        if not self.target.cluster:
            return [await self._call(client.execute_command, *request.words, **options)]
        await self._prepare(client)
        # Told the node, redis-py follows redirections but repeats nothing.
        nodes = [client.get_node_from_key(request.slot_key())] if request.keys else client.get_primaries()
        return [
            await self._call(client.execute_command, *request.words, target_nodes=node, **options) for node in nodes
        ]

    async def _send_all(self, place: Place, requests: Sequence[Request[Any]]) -> list[list[Any] | Exception]:
        client = self._client_of(place)
        groups: dict[str, tuple[Any, list[int]]] = {}
        if self.target.cluster:
            await self._prepare(client)
        for index, request in enumerate(requests):
            node = client.get_node_from_key(request.slot_key()) if self.target.cluster else None
            groups.setdefault(node.name if node else "", (node, []))[1].append(index)
        found: dict[int, list[Any] | Exception] = {}
        for node, indexes in groups.values():
            try:
                replies = await self._pipeline(client, node, [requests[index].words for index in indexes])
            except CLIENT_ERRORS as error:
                replies = [error] * len(indexes)
            for index, reply in zip(indexes, replies, strict=True):
                found[index] = reply if isinstance(reply, Exception) else [reply]
        for index, reply in found.items():
            # A node that is not the one to ask has charged nothing, and given nothing back.
            if isinstance(reply, (ReadOnlyError, MovedError, AskError)):
                try:
                    found[index] = await self._send(place, requests[index])
                except CLIENT_ERRORS as error:
                    found[index] = error
        return [found[index] for index in range(len(requests))]

    async def _pipeline(self, client: Any, node: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send commands at once on one connection. What the server refuses is returned, not raised."""
        pipeline = (client if node is None else client.get_redis_connection(node)).pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words, **{NEVER_DECODE: True})
        replies: list[Any] = await self._call(pipeline.execute, raise_on_error=False)
        return replies

    def _client_of(self, place: Place) -> Any:
        client = place.client
        if client is None:
            with self._lock:
                if place.client is None:
                    client = self.target.make()
                    if self.target.owned and not self.target.cluster:
                        place.direct = direct_way(self._direct, client)
                    place.client = client
                client = place.client
        return client

    async def _discard(self, place: Place, wanted: Any = None) -> None:
        """Close the client of a place (if it is the one wanted). The next call makes another."""
        with self._lock:
            client = place.client
            if client is None or wanted not in (None, client):
                return
            place.client = place.direct = None
        if self.target.owned:
            await _close(client, self._call)


class BlockingHandle(ClientHandle):
    """The client of all threads of a process."""

    _call = staticmethod(called)
    _direct = BlockingDirect

    def __init__(self, target: Target, patience: float | None) -> None:
        super().__init__(target, target.max_connections, patience)
        self._process = 0
        self._only = Place(None)
        self._begin()

    def _begin(self) -> None:
        """Make room in this process. In the one that it was forked from, others may have had seats."""
        self._only.room = None if self._max_connections is None else threading.Semaphore(self._max_connections)
        self._process = os.getpid()

    def client(self) -> Any:
        """Return the client, for those who ask other things than limits."""
        return self._client_of(self._only)

    def close(self) -> None:
        """Close the connections; a later call opens them again."""
        run(self._discard(self._only))

    def _place(self) -> Place | None:
        return self._only if self._only.room is None or self._process == os.getpid() else None

    async def _settle(self) -> Place:
        with self._lock:
            if self._process != os.getpid():
                self._begin()
        return self._only

    async def _enter(self, room: threading.Semaphore) -> bool:
        return room.acquire(timeout=self._patience)

    async def _prepare(self, client: Any) -> None:
        pass


class AsyncHandle(ClientHandle):
    """The clients of all event loops: a connection belongs to the loop in which it was made.

    A loop that ends in order, as that of `asyncio.run` does, closes its connections by itself: it ends all asynchronous
    generators, of which `_keep` is one. What a loop leaves that was closed without that is closed when the limiter
    meets the next loop.
    """

    _call = staticmethod(awaited)
    _direct = AsyncDirect

    def __init__(self, target: Target, patience: float | None) -> None:
        super().__init__(target, target.max_connections or MAX_CONNECTIONS, patience)
        self._places: dict[asyncio.AbstractEventLoop, tuple[Place, AsyncIterator[None]]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        # A client that is used as it is has a loop and a way of its own.
        self._theirs = None if target.owned else Place(None)

    async def client(self) -> Any:
        """Return the client of the running loop, for those who ask other things than limits."""
        return self._client_of(self._place() or await self._settle())

    async def close(self) -> None:
        """Close the connections of all loops; a later call opens them again."""
        here = asyncio.get_running_loop()
        with self._lock:
            self._forget_closed_loops()
            places = {loop: place for loop, (place, _) in self._places.items()}
        elsewhere = [self._close_in(loop, place) for loop, place in places.items() if loop is not here]
        if here in places:
            await self._discard(places[here])
        waiting = [asyncio.wrap_future(done) for done in elsewhere if done is not None]
        if waiting:
            # No longer than for an answer: a loop that is busy closes them when it comes to it.
            await asyncio.wait(waiting, timeout=self._patience)

    def _close_in(self, loop: asyncio.AbstractEventLoop, place: Place) -> Future[None] | None:
        """Close the connections of another loop in that loop. Returns when that is done, if it runs now."""
        done: Future[None] = Future()

        def start() -> None:
            task = loop.create_task(self._discard(place))
            # The loop alone does not keep it.
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            task.add_done_callback(lambda _: done.set_result(None))

        with suppress(RuntimeError):
            # Else it was closed a moment ago.
            loop.call_soon_threadsafe(start)
            return done if loop.is_running() else None
        return None

    def _place(self) -> Place | None:
        if self._theirs is not None:
            return self._theirs
        found = self._places.get(asyncio.get_running_loop())
        return None if found is None else found[0]

    async def _settle(self) -> Place:
        loop = asyncio.get_running_loop()
        place = Place(asyncio.Semaphore(self._max_connections or MAX_CONNECTIONS))
        keeper = _keep(weakref.ref(self), loop, place)
        # Begun in this loop, it is ended by it. It waits for nothing, so no other task comes here meanwhile.
        await anext(keeper)
        with self._lock:
            self._forget_closed_loops()
            self._places[loop] = (place, keeper)
        return place

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._places if loop.is_closed()]:
            place, _ = self._places.pop(loop)
            if place.client is not None:
                abandon(place.client)

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget a loop that is about to be closed."""
        with self._lock:
            self._places.pop(loop, None)

    async def _enter(self, room: asyncio.Semaphore) -> bool:
        if not room.locked():
            return await room.acquire()
        try:
            return await asyncio.wait_for(room.acquire(), self._patience)
        except asyncio.TimeoutError:
            return False

    async def _prepare(self, client: Any) -> None:
        await client.initialize()

    async def _pipeline(self, client: Any, node: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
        if node is None:
            return await super()._pipeline(client, node, commands)
        # A node of an asyncio cluster client has connections, but no client.
        sent = [PipelineCommand(index, *words, **{NEVER_DECODE: True}) for index, words in enumerate(commands)]
        await node.execute_pipeline(sent)
        return [command.result for command in sent]


async def _keep(handle: weakref.ref[AsyncHandle], loop: asyncio.AbstractEventLoop, place: Place) -> AsyncIterator[None]:
    """Stay until the loop ends, or nobody has the limiter any more; then close the connections."""
    try:
        yield
    finally:
        found = handle()
        if found is not None:
            found.leave(loop)
        client, place.client, place.direct = place.client, None, None
        if client is not None:
            await _close(client, awaited)


async def _close(client: Any, call: Callable[..., Coroutine[Any, Any, Any]]) -> None:
    # A client closes no pool that it was given, and a Sentinel client not the connections to the Sentinels.
    for close in [getattr(client, "aclose", None) or client.close, *(pool.disconnect for pool in _pools(client))]:
        with suppress(*CLIENT_ERRORS):
            await call(close)


def abandon(client: Any) -> None:
    """Close the sockets of an asyncio client whose loop is closed: there is nothing left that could be waited for.

    They are found by their type. What else a client refers to, such as an application's credentials, is left alone.
    """
    found, waiting = {id(client)}, [client]
    while waiting:
        for one in gc.get_referents(waiting.pop()):
            if id(one) in found or not _may_hold_sockets(one):
                continue
            found.add(id(one))
            if isinstance(one, socket.socket):
                # uvloop has closed it with the loop.
                with suppress(OSError):
                    one.close()
            else:
                waiting.append(one)


def _may_hold_sockets(one: object) -> bool:
    # Not what is the application's: its tasks and functions may refer to connections of its own.
    if isinstance(one, (type, CredentialProvider)):
        return False
    return isinstance(one, _HOLDERS) or any(base.__module__.partition(".")[0] == "redis" for base in type(one).__mro__)


def _pools(client: Any) -> Iterator[Any]:
    """Return the pools of a client, with those of the Sentinels that it asks, and of the nodes of a cluster."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        yield pool
        for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
            yield sentinel.connection_pool
    for node in _nodes(client):
        if getattr(node, "redis_connection", None) is not None:
            yield node.redis_connection.connection_pool


def _nodes(client: Any) -> list[Any]:
    manager = getattr(client, "nodes_manager", None)
    return [] if manager is None else [*manager.nodes_cache.values(), *manager.startup_nodes.values()]
