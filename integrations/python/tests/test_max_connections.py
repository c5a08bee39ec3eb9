"""A cap on connections is a cap: calls wait for their turn, and a full pool is no outage."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio
from kinds import Blocking
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter
from servers import Cluster, Server, eventually

import redis_ratelimit.limits
from redis_ratelimit import AsyncRateLimiter, ConfigurationError, PoolExhaustedError, RateLimiter, UnavailableError

KEY = "rl:a"
PATIENT = 60.0


class Watched:
    """Looks all the time how many clients a server has, and keeps the greatest number."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def _watch(self) -> None:
        with redis.Redis(unix_socket_path=self._server.socket) as admin:
            while not self._over.is_set():
                # Without this one, and the administrator's.
                self.most = max(self.most, int(admin.info("clients")["connected_clients"]) - 2)

    def __enter__(self) -> Watched:
        assert self._server.admin.ping()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


BLOCKING: dict[str, Callable[[Server], RateLimiter]] = {
    "blocking pool": lambda server: RateLimiter(
        redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(server.url, max_connections=5)),
        timeout=PATIENT,
    ),
    "pool": lambda server: RateLimiter(
        redis.Redis(connection_pool=redis.ConnectionPool.from_url(server.url, max_connections=5)), timeout=PATIENT
    ),
    "client": lambda server: RateLimiter(
        redis.Redis(unix_socket_path=server.socket, max_connections=5), timeout=PATIENT
    ),
    "client and keyword": lambda server: RateLimiter(
        redis.Redis(unix_socket_path=server.socket), timeout=PATIENT, max_connections=5
    ),
    "URL": lambda server: RateLimiter.from_url(f"{server.url}?max_connections=5", timeout=PATIENT),
    "keyword": lambda server: RateLimiter.from_url(server.url, timeout=PATIENT, max_connections=5),
    "as it is": lambda server: RateLimiter(
        redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(server.url, max_connections=5, timeout=60)),
        timeout=None,
    ),
}


@pytest.mark.parametrize("kind", BLOCKING)
def test_threads_share_the_connections_that_there_may_be(start: Any, kind: str) -> None:
    server = start(Server)
    limiter = BLOCKING[kind](server)
    barrier = threading.Barrier(40)

    def ask(_: int) -> int:
        barrier.wait(60)
        return sum(limiter.check(KEY, "100/h").allowed for _ in range(5))

    with Watched(server) as watched, ThreadPoolExecutor(40) as threads:
        assert sum(threads.map(ask, range(40))) == 100
    assert 1 <= watched.most <= 5
    limiter.close()


ASYNCIO: dict[str, Callable[[Server], AsyncRateLimiter]] = {
    "blocking pool": lambda server: AsyncRateLimiter(
        redis.asyncio.Redis(
            connection_pool=redis.asyncio.BlockingConnectionPool.from_url(server.url, max_connections=5)
        ),
        timeout=PATIENT,
    ),
    "client": lambda server: AsyncRateLimiter(
        redis.asyncio.Redis(unix_socket_path=server.socket, max_connections=5), timeout=PATIENT
    ),
    "client and keyword": lambda server: AsyncRateLimiter(
        redis.asyncio.Redis(unix_socket_path=server.socket), timeout=PATIENT, max_connections=5
    ),
    "URL": lambda server: AsyncRateLimiter.from_url(f"{server.url}?max_connections=5", timeout=PATIENT),
    "URL and keyword": lambda server: AsyncRateLimiter.from_url(
        f"{server.url}?max_connections=5", timeout=PATIENT, max_connections=50
    ),
    "keyword": lambda server: AsyncRateLimiter.from_url(server.url, timeout=PATIENT, max_connections=5),
}


@pytest.mark.parametrize("kind", ASYNCIO)
async def test_tasks_share_the_connections_that_there_may_be(start: Any, kind: str) -> None:
    server = start(Server)
    async with ASYNCIO[kind](server) as limiter:
        with Watched(server) as watched:
            decisions = await asyncio.gather(*(limiter.check(KEY, "100/h") for _ in range(160)))
        assert sum(decision.allowed for decision in decisions) == 100
        assert {decision.degraded for decision in decisions} == {None}
        assert 1 <= watched.most <= 5


@pytest.mark.parametrize("max_connections", [3, None])
async def test_the_default_is_a_hundred_for_each_event_loop(start: Any, max_connections: int | None) -> None:
    limiter = AsyncRateLimiter.from_url("redis://localhost", max_connections=max_connections)
    assert limiter._handle._max_connections == (max_connections or 100)


def test_nodes_of_a_cluster_have_no_more_either(start: Any) -> None:
    cluster = start(Cluster)
    [node] = cluster.nodes
    client = redis.RedisCluster(host="127.0.0.1", port=node.port, max_connections=5)
    for limiter in (
        RateLimiter.from_url(cluster.url(), timeout=PATIENT, max_connections=5),
        RateLimiter(client, timeout=PATIENT),
    ):
        limiter.reset(KEY)
        before = int(node.admin.info("clients")["connected_clients"])
        with ThreadPoolExecutor(40) as threads:
            assert sum(threads.map(lambda asked: asked.check(KEY, "100/h").allowed, [limiter] * 200)) == 100
        assert int(node.admin.info("clients")["connected_clients"]) - before < 5
        limiter.close()
    client.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_the_whole_room(start: Any) -> None:
    """Whoever had a connection when the process was forked does not give it back there."""
    server = start(Server)
    limiter = RateLimiter.from_url(server.url, timeout=PATIENT, max_connections=1)
    with busy(server, limiter):
        child = multiprocessing.get_context("fork").Process(target=_peeks, args=(limiter,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
    limiter.close()


def _peeks(limiter: RateLimiter) -> None:
    assert limiter.peek("rl:other") is None


@contextmanager
def busy(server: Server, limiter: Any) -> Iterator[None]:
    """The one connection of a limiter waits for its answer, and the server is well all the same."""
    server.run("CLIENT PAUSE 600000 WRITE")
    asking = threading.Thread(target=limiter.check, args=(KEY, "100/h"))
    asking.start()
    eventually(lambda: server.admin.info("clients")["blocked_clients"] == 1)
    try:
        yield
    finally:
        server.run("CLIENT UNPAUSE")
        asking.join()


def one_connection(limiters: Blocking, server: Server, **options: Any) -> Any:
    # Calls wait long for an answer, and shortly for their turn.
    return limiters.from_url(server.url, timeout=0.2, socket_timeout=PATIENT, max_connections=1, **options)


def test_a_full_pool_is_no_outage_and_lets_nothing_pass(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Server)
    raising = one_connection(limiters, server)
    raising.check(KEY, "100/h")
    with busy(server, raising):
        with pytest.raises(PoolExhaustedError, match=r"max_connections=1") as caught:
            raising.check(KEY, "100/h")
        assert not isinstance(caught.value, UnavailableError)
        for policy in ("open", "closed"):
            for answer in (
                raising.with_policy(policy).check(KEY, "100/h"),
                raising.with_policy(policy).peek("rl:other"),
                raising.with_policy(policy).mcheck({KEY: "100/h"}),
            ):
                assert not answer.allowed
                assert answer.degraded == "POOL"
                assert answer.retry_after == 1
        with pytest.raises(PoolExhaustedError):
            raising.with_policy("open").reset(KEY)
        assert raising.outage is None
    assert raising.check(KEY, "100/h").remaining == 97
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "too few connections" in caplog.text


def test_a_full_pool_of_a_client_that_is_used_as_it_is(start: Any) -> None:
    server = start(Server)
    for kind in (redis.ConnectionPool, redis.BlockingConnectionPool):
        waits = {} if kind is redis.ConnectionPool else {"timeout": 0.1}
        pool = kind.from_url(server.url, max_connections=1, **waits)
        limiter = RateLimiter(redis.Redis(connection_pool=pool), timeout=None)
        with busy(server, limiter):
            with pytest.raises(PoolExhaustedError):
                limiter.peek(KEY)
            assert limiter.with_policy("open").check(KEY, "100/h").degraded == "POOL"
            assert not limiter.with_policy("open").check(KEY, "100/h").allowed
        pool.disconnect()
    with pytest.raises(ValueError, match="max_connections is its own"):
        RateLimiter(redis.Redis(), timeout=None, max_connections=5)


def test_who_waits_while_the_server_is_away_is_answered_as_those_who_ask_it(start: Any, limiters: Blocking) -> None:
    """With all connections taken by calls that wait for a server that hangs, the policy is that for the outage."""
    server = start(Server)
    opened = limiters.from_url(server.url, timeout=0.3, max_connections=1, policy="open")
    opened.check(KEY, "100/h")
    with server.paused():
        assert opened.check(KEY, "100/h").degraded == "TIMEOUT"
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: opened.check(KEY, "100/h"), range(8)))
    assert {answer.degraded for answer in answers} == {"TIMEOUT"}
    assert all(answer.allowed for answer in answers)


def test_a_call_waits_for_its_turn_no_longer_than_the_timeout(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = one_connection(limiters, server)
    with busy(server, limiter):
        began = time.monotonic()
        with pytest.raises(PoolExhaustedError):
            limiter.peek(KEY)
        assert 0.15 < time.monotonic() - began < 30


@pytest.mark.parametrize("wrong", [0, -1, "many", True])
def test_a_cap_that_is_none_is_refused(limiters: Blocking, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_connections"):
        limiters.from_url("redis://localhost", max_connections=wrong)
    with pytest.raises(ConfigurationError, match="max_connections"):
        limiters.from_url(f"redis://localhost?max_connections={wrong}")
    with pytest.raises(ConfigurationError, match="max_connections"):
        limiters.of_client(limiters.redis.Redis(), max_connections=wrong)


def test_a_full_pool_denies_for_limits_whatever_is_swallowed(start: Any) -> None:
    """Flask-Limiter lets pass what raises, if it was told to swallow errors."""
    assert redis_ratelimit.limits
    server = start(Server)
    uri = server.url.replace("unix://", "rl+unix://")
    storage = storage_from_string(uri, timeout=0.2, socket_timeout=PATIENT, max_connections=1)
    strategy, rate = MovingWindowRateLimiter(storage), parse("5/hour")
    assert strategy.hit(rate, "ann")
    with busy(server, storage.limiter):
        assert not strategy.hit(rate, "ann")
        assert not strategy.test(rate, "ann")
    assert strategy.hit(rate, "ann")
