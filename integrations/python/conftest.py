"""Fixtures for all tests: servers, and limiters of both kinds that are called alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from kinds import Asyncio, Blocking, Waiting
from servers import Certificates, Cluster, Server, has_tls

from redis_ratelimit.multilevel import AsyncMultiLevelLimiter, MultiLevelLimiter

# No test depends on the machine being fast.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """A server for the whole session. Use `server`, which is empty."""
    with Server() as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """An empty server, shared by tests that leave its configuration as it is."""
    shared_server.admin.flushall()
    return shared_server


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Start servers for one test alone: `start(Server, "maxmemory 1mb", password="x")`, `start(Cluster, nodes=3)`."""
    with ExitStack() as stack:

        def start(kind: Callable[..., Any], *lines: str, **options: Any) -> Any:
            return stack.enter_context(kind(*lines, **options))

        yield start


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    """An authority and a certificate; skips if the server was built without TLS."""
    if not has_tls():
        pytest.skip("the server was built without TLS")
    found = Certificates()
    yield found
    found.close()


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """A cluster of three primaries for the whole session. Use `cluster`, which is empty."""
    with Cluster(nodes=3) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """An empty cluster of three primaries, shared by tests that leave its slots as they are."""
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture(params=[Blocking, Asyncio], ids=["blocking", "asyncio"])
def limiters(request: pytest.FixtureRequest) -> Iterator[Blocking]:
    """Both kinds of limiters: `limiters.from_url(url)`, `limiters.of_client(client)`."""
    found = request.param()
    yield found
    found.close()


@pytest.fixture
def multilevel(limiters: Blocking) -> Callable[..., Any]:
    """Make a limiter of levels, of either kind: `multilevel(limiter, levels, ...)`."""

    def make(limiter: Any, *words: Any, **options: Any) -> Any:
        if not limiters.asynchronous:
            return MultiLevelLimiter(limiter, *words, **options)
        return Waiting(AsyncMultiLevelLimiter(limiter._limiter, *words, **options), limiters.loop)

    return make
