"""One limiter in many event loops: one after the other, at the same time, and closed from elsewhere."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django_project  # noqa: F401 (its settings are those of the process)
import flask
import httpx
import pytest
import redis.asyncio
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from fastapi import Depends, FastAPI
from kinds import PATIENCE, PATIENT
from limits import parse
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string
from redis.credentials import CredentialProvider
from servers import Certificates, Cluster, Sentinels, Server, eventually
from test_outages import paused

import redis_ratelimit.limits
from redis_ratelimit import AsyncRateLimiter
from redis_ratelimit.asgi import RateLimitMiddleware
from redis_ratelimit.fastapi import RateLimit
from redis_ratelimit.multilevel import AsyncMultiLevelLimiter, Level

KEY = "rl:a"


def clients(server: Server) -> int:
    """How many clients the server has, without the administrator."""
    return int(server.admin.info("clients")["connected_clients"]) - 1


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def run_and_close(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop of its own that is closed at once: nothing is ended in order, as by `asyncio.run`."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


@pytest.fixture(params=["socket", "client", "tls", "sentinel", "cluster", "cluster client"])
def place(request: pytest.FixtureRequest, start: Any) -> Iterator[tuple[AsyncRateLimiter, list[Server]]]:
    """A limiter, and all servers that it may be connected to."""
    kind = request.param
    client: Any = None
    if kind.startswith("cluster"):
        cluster = start(Cluster, nodes=3)
        url, servers = cluster.url(), cluster.nodes
        if kind == "cluster client":
            client = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    elif kind == "sentinel":
        group = start(Sentinels, sentinels=1, replicas=0)
        url, servers = group.url(), group.servers
    elif kind == "tls":
        certificates: Certificates = request.getfixturevalue("certificates")
        servers = [start(Server, certificates=certificates)]
        url = servers[0].tls_url
    else:
        servers = [start(Server)]
        url = servers[0].url
        if kind == "client":
            client = redis.asyncio.Redis(unix_socket_path=servers[0].socket)
    limiter = AsyncRateLimiter(client, timeout=PATIENT) if client else AsyncRateLimiter.from_url(url, timeout=PATIENT)
    yield limiter, servers
    asyncio.run(limiter.aclose())


def test_loops_one_after_the_other_leave_no_connection(place: tuple[AsyncRateLimiter, list[Server]]) -> None:
    limiter, servers = place
    before = [clients(server) for server in servers]
    assert [asyncio.run(limiter.check(KEY, "9/h")).remaining for _ in range(3)] == [8, 7, 6]
    for server, were in zip(servers, before, strict=True):
        assert eventually(lambda server=server, were=were: clients(server) <= were, what="no client is left")
    open_files = descriptors()
    assert [asyncio.run(limiter.check(KEY, "9/h")).remaining for _ in range(3)] == [5, 4, 3]
    assert descriptors() <= open_files


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loops_that_are_closed_at_once_leave_no_more_than_the_last(
    place: tuple[AsyncRateLimiter, list[Server]],
) -> None:
    limiter, servers = place
    # A client of a cluster may be connected to three nodes: it asks one for slots, one for commands, and that of
    # the key. One of Sentinel is connected to a Sentinel as well.
    of_one = len(servers)
    before = [clients(server) for server in servers]
    gc.collect()
    gc.disable()
    try:
        open_files = descriptors()
        assert [run_and_close(limiter.check(KEY, "99/h")).remaining for _ in range(10)] == list(range(98, 88, -1))
        assert descriptors() <= open_files + of_one + 1
        assert eventually(lambda: sum(map(clients, servers)) <= sum(before) + of_one)
        asyncio.run(limiter.aclose())
        assert descriptors() <= open_files
        for server, were in zip(servers, before, strict=True):
            assert eventually(lambda server=server, were=were: clients(server) <= were)
    finally:
        gc.enable()
        gc.collect()


def test_loops_at_the_same_time_get_exactly_the_limit(place: tuple[AsyncRateLimiter, list[Server]]) -> None:
    limiter, servers = place

    async def some() -> int:
        decisions = await asyncio.gather(*(limiter.check(KEY, "50/h") for _ in range(5)))
        return sum(decision.allowed for decision in decisions)

    before = [clients(server) for server in servers]
    with ThreadPoolExecutor(8) as threads:
        granted = list(threads.map(lambda _: asyncio.run(some()), range(16)))
    assert sum(granted) == 50
    for server, were in zip(servers, before, strict=True):
        assert eventually(lambda server=server, were=were: clients(server) <= were)


class Running:
    """An event loop that runs in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)


def test_a_limiter_is_closed_from_another_loop(start: Any) -> None:
    server = start(Server)
    limiter = AsyncRateLimiter.from_url(server.url, timeout=PATIENT)
    with Running() as one, Running() as other:
        assert one.run(limiter.check(KEY, "9/h")).remaining == 8
        assert other.run(limiter.check(KEY, "9/h")).remaining == 7
        assert clients(server) == 2
        other.run(limiter.aclose())
        assert eventually(lambda: clients(server) == 0)
        # And a loop in which nobody ever asked.
        one.run(limiter.check(KEY, "9/h"))
        asyncio.run(limiter.aclose())
        assert eventually(lambda: clients(server) == 0)
        assert one.run(limiter.check(KEY, "9/h")).remaining == 5
        # Two at a time, who wait for each other.
        both = [asyncio.run_coroutine_threadsafe(limiter.aclose(), running.loop) for running in (one, other)]
        for done in both:
            done.result(60)
        assert eventually(lambda: clients(server) == 0)
        asyncio.run(limiter.aclose())


def test_closing_does_not_wait_for_a_loop_that_is_busy(start: Any) -> None:
    server = start(Server)
    limiter = AsyncRateLimiter.from_url(server.url, timeout=0.5, policy="open")
    go_on = threading.Event()
    with Running() as busy:
        assert eventually(lambda: not busy.run(limiter.check(KEY, "9/h")).degraded)
        busy.loop.call_soon_threadsafe(go_on.wait, 60)
        try:
            asyncio.run(asyncio.wait_for(limiter.aclose(), 30))
        finally:
            go_on.set()
        assert eventually(lambda: clients(server) == 0)


def test_a_limiter_that_nobody_has_any_more_is_closed(start: Any) -> None:
    server = start(Server)
    with Running() as running:
        limiter = AsyncRateLimiter.from_url(server.url, timeout=PATIENT)
        running.run(limiter.check(KEY, "9/h"))
        assert clients(server) == 1
        del limiter
        assert eventually(lambda: clients(server) == 0)


def test_policies_share_the_connections_of_each_loop(start: Any) -> None:
    server = start(Server)
    limiter = AsyncRateLimiter.from_url(server.url, timeout=PATIENT)
    opened = limiter.with_policy("open")

    async def both() -> int:
        await limiter.check(KEY, "9/h")
        assert (await opened.check(KEY, "9/h")).degraded is None
        return clients(server)

    assert [asyncio.run(both()) for _ in range(3)] == [1, 1, 1]


# Everything else that asks


async def get(app: Any, path: str = "/") -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return (await client.get(path)).status_code


def of_levels(url: str) -> Callable[[], Awaitable[Any]]:
    levels = AsyncMultiLevelLimiter(AsyncRateLimiter.from_url(url, timeout=PATIENT), [Level("ip", "3/h")])

    async def ask() -> bool:
        return (await levels.check({"ip": "192.0.2.1"})).allowed

    return ask


def of_storage(url: str) -> Callable[[], Awaitable[Any]]:
    assert redis_ratelimit.limits
    storage = storage_from_string(url.replace("unix://", "async+rl+unix://"), timeout=PATIENT)
    strategy, rate = FixedWindowRateLimiter(storage), parse("3/hour")
    return lambda: strategy.hit(rate, "ann")


def of_middleware(url: str) -> Callable[[], Awaitable[Any]]:
    app = RateLimitMiddleware(FastAPI(), "3/h", limiter=f"{url}?{PATIENCE}")

    async def ask() -> bool:
        status = await get(app)
        assert status in (404, 429)
        return status == 404

    return ask


def of_dependency(url: str) -> Callable[[], Awaitable[Any]]:
    app = FastAPI()
    limiter = AsyncRateLimiter.from_url(url, timeout=PATIENT)

    @app.get("/", dependencies=[Depends(RateLimit("3/h", limiter=limiter))])
    async def view() -> None: ...

    async def ask() -> bool:
        status = await get(app)
        assert status in (200, 429)
        return status == 200

    return ask


@pytest.mark.parametrize("make", [of_levels, of_storage, of_middleware, of_dependency])
def test_everything_that_asks_may_be_asked_in_any_loop(start: Any, make: Callable[[str], Any]) -> None:
    server = start(Server)
    ask = make(server.url)

    async def once() -> bool:
        return bool(await ask())

    assert [asyncio.run(once()) for _ in range(5)] == [True] * 3 + [False] * 2
    assert eventually(lambda: clients(server) == 0)
    server.admin.flushall()
    with ThreadPoolExecutor(5) as threads:
        assert sum(threads.map(lambda _: asyncio.run(once()), range(10))) == 3
    assert eventually(lambda: clients(server) == 0)


def test_asynchronous_views_of_flask(start: Any) -> None:
    """Each request has an event loop of its own there."""
    server = start(Server)
    app = flask.Flask(__name__)
    limiter = AsyncRateLimiter.from_url(server.url, timeout=PATIENT)

    @app.get("/")
    async def view() -> tuple[str, int]:
        return "", 200 if await limiter.check(KEY, "3/h") else 429

    app.testing = True
    answers = [app.test_client().get("/").status_code for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
    assert eventually(lambda: clients(server) == 0)


def test_asynchronous_views_of_django(start: Any) -> None:
    """Under WSGI each request has an event loop of its own."""
    server = start(Server)
    limiter = AsyncRateLimiter.from_url(server.url, timeout=PATIENT)

    async def view(_: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200 if await limiter.check(KEY, "3/h") else 429)

    urls = types.ModuleType("urls")
    urls.urlpatterns = [path("", view)]  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=urls):
        answers = [Client().get("/").status_code for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
    assert eventually(lambda: clients(server) == 0)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_loop_that_was_closed_at_once_takes_no_connection_of_the_application_along(start: Any) -> None:
    """Not of its credentials either, nor of a task that was waiting for the limiter."""
    server = start(Server, password="secret")

    class Credentials(CredentialProvider):
        def __init__(self) -> None:
            self.vault = redis.Redis(unix_socket_path=server.socket, password="secret")

        def get_credentials(self) -> tuple[str]:
            return ("secret",)

    credentials = Credentials()
    own = redis.Redis(unix_socket_path=server.socket, password="secret")
    asked = redis.asyncio.Redis(unix_socket_path=server.socket, credential_provider=credentials)
    limiter = AsyncRateLimiter(asked, timeout=PATIENT)

    async def wait(mine: list[Any]) -> None:
        await limiter.check(KEY, "9/h")
        assert mine

    async def leave() -> None:
        await limiter.check(KEY, "9/h")
        with paused(server):
            tasks.append(asyncio.ensure_future(wait([own])))
            await asyncio.sleep(0.1)

    tasks: list[Any] = []
    connections = [client.client_id() for client in (own, credentials.vault)]
    run_and_close(leave())
    asyncio.run(limiter.aclose())
    # A client connects again if it has to: then the server knows it by another number.
    assert [client.client_id() for client in (own, credentials.vault)] == connections
    tasks.clear()
    gc.collect()
