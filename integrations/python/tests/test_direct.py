"""Requests go by the connections of redis-py, unless somebody listens to its `execute_command`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import redis.asyncio
from kinds import Blocking
from redis.backoff import NoBackoff
from redis.retry import Retry
from servers import Sentinels, Server, eventually

from redis_ratelimit import WrongTypeError, direct

KEY = "rl:direct"


@pytest.fixture
def kind(limiters: Blocking) -> Any:
    return redis.asyncio.Redis if limiters.asynchronous else redis.Redis


with_connections = pytest.mark.skipif(
    direct.direct_way(direct.BlockingDirect, redis.Redis(retry=Retry(NoBackoff(), 0))) is None,
    reason="this redis-py has no connections to go by",
)


def way(limiter: Any) -> Any:
    """Return what leads to the server directly; None if nothing does. It has asked something before."""
    handle = limiter._handle
    [place] = [handle._only] if hasattr(handle, "_only") else [place for place, _ in handle._places.values()]
    return place.direct


def goes_directly(limiter: Any) -> bool:
    """Whether it does now."""
    found = way(limiter)
    return found is not None and found.is_open()


def connections(server: Server) -> set[str]:
    """Return the numbers of all connections but that of the test itself."""
    own = server.admin.client_id()
    return {client["id"] for client in server.admin.client_list() if int(client["id"]) != own}


class Tracer:
    """What a library for tracing puts in the place of a method, as a descriptor."""

    def __init__(self, traced: Callable[..., Any], seen: list[Any]) -> None:
        self._traced, self._seen = traced, seen

    def __get__(self, client: Any, _kind: type) -> Any:
        if client is None:
            return self
        return lambda *words, **options: self._seen.append(words[0]) or self._traced(client, *words, **options)


def as_function(traced: Callable[..., Any], seen: list[Any]) -> Callable[..., Any]:
    """Return the same as a function that looks like the one it calls."""

    @functools.wraps(traced)
    def tracing(client: Any, *words: Any, **options: Any) -> Any:
        seen.append(words[0])
        return traced(client, *words, **options)

    return tracing


@with_connections
def test_requests_go_by_connections_if_nobody_listens(limiters: Blocking, server: Server) -> None:
    limiter = limiters.from_url(server.url)
    assert limiter.check(KEY, "1/h").allowed
    assert goes_directly(limiter)


@pytest.mark.parametrize("put", [Tracer, as_function])
def test_a_tracer_sees_requests_from_the_moment_on_when_it_comes(
    put: Any, kind: Any, limiters: Blocking, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = limiters.from_url(server.url)
    limiter.check(KEY, "2/h")
    seen: list[Any] = []
    monkeypatch.setattr(kind, "execute_command", put(kind.execute_command, seen))
    assert [limiter.check(KEY, "2/h").allowed for _ in range(2)] == [True, False]
    assert limiter.peek(KEY).remaining == 0
    assert seen == ["RL.CHECK", "RL.CHECK", "RL.PEEK"]


def test_metrics_of_redis_py_count_requests(
    limiters: Blocking, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if direct.get_observability_instance is None:
        pytest.skip("this redis-py has no metrics")
    from redis import observability

    limiter = limiters.from_url(server.url)
    limiter.check(KEY, "1/h")
    seen: list[Any] = []

    def collect(**about: Any) -> None:
        seen.append(about["command_name"])

    async def collect_later(**about: Any) -> None:
        seen.append(about["command_name"])

    monkeypatch.setattr("redis.client.record_operation_duration", collect)
    monkeypatch.setattr("redis.asyncio.client.record_operation_duration", collect_later)
    manager = SimpleNamespace(config=SimpleNamespace(enabled_telemetry=False))
    monkeypatch.setattr(observability.get_observability_instance(), "_provider_manager", manager)
    assert not limiter.check(KEY, "1/h").allowed
    assert seen == ["RL.CHECK"]


def test_repeats_that_an_application_wants_are_those_of_redis_py(limiters: Blocking, server: Server) -> None:
    retry = limiters.redis.retry.Retry(NoBackoff(), 3)
    limiter = limiters.from_url(server.url, retry=retry)
    assert limiter.check(KEY, "1/h").allowed
    assert not goes_directly(limiter)


def test_an_answer_that_came_too_late_is_not_that_of_the_next_request(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, timeout=0.2, policy="open")
    limiter.check(KEY, "9/h")
    with server.paused():
        assert limiter.check("rl:slow", "5/h").degraded == "TIMEOUT"
    answers = [limiter.check(KEY, "9/h") for _ in range(20)]
    assert {answer.limit for answer in answers} == {9}


@with_connections
def test_a_connection_stays_between_requests_whatever_they_are_answered(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url)
    server.admin.set("rl:text", "of somebody else")
    limiter.check(KEY, "1/h")
    before = connections(server)
    for _ in range(3):
        assert not limiter.check(KEY, "1/h").allowed
        with pytest.raises(WrongTypeError):
            limiter.check("rl:text", "1/h")
    assert connections(server) == before
    assert len(before) == 1
    limiter.check(KEY, "1/h")
    assert len(way(limiter)._idle) == 1


@with_connections
def test_what_arrives_unasked_is_not_taken_for_an_answer(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url)
    limiter.check(KEY, "9/h")
    [connection] = way(limiter)._idle
    if not hasattr(connection, "can_read"):
        pytest.skip("this redis-py does not look for it in asyncio")
    limiters.run(connection.send_command("PING"))
    eventually(lambda: limiters.run(connection.can_read()))
    assert [limiter.check(KEY, "9/h").remaining for _ in range(3)] == [7, 6, 5]


@with_connections
def test_behind_sentinel_the_pool_keeps_the_connections(start: Any, limiters: Blocking) -> None:
    """It closes those to a primary of before."""
    group = start(Sentinels, sentinels=1)
    limiter = limiters.from_url(group.url())
    assert limiter.check(KEY, "1/h").allowed
    assert goes_directly(limiter)
    assert way(limiter)._idle == []
