"""slowapi with nothing changed but the URI of its storage, in real applications."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Response
from servers import RATE_LIMIT_ONLY, Server, eventually
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from test_limits import NAMES, Commands, rl
from test_outages import demoted, killed, loading, password_wanted

from redis_ratelimit.limits import state


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine there may be more than a second between a hit and its headers."""
    monkeypatch.setattr(state, "FRESH", 60.0)


def make_limiter(uri: str, **options: Any) -> Limiter:
    # The answer has to come; the machine is busy. slowapi keeps the dictionary, so each gets its own.
    options = {"headers_enabled": True, "storage_options": {"timeout": 20}, **options}
    return Limiter(key_func=get_remote_address, storage_uri=uri, **options)


def client_of(app: Starlette, limiter: Limiter) -> TestClient:
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
    return TestClient(app, raise_server_exceptions=False)


def login_app(uri: str, limit: str = "3/hour", **options: Any) -> TestClient:
    """One limit on a route that is a coroutine, and on one that is not."""
    limiter = make_limiter(uri, **options)

    @limiter.limit(limit)
    async def login(request: Request) -> PlainTextResponse:
        return PlainTextResponse("welcome")

    @limiter.limit(limit)
    def threaded(request: Request) -> PlainTextResponse:
        return PlainTextResponse("welcome")

    return client_of(Starlette(routes=[Route("/login", login), Route("/threaded", threaded)]), limiter)


def test_a_limit_that_the_module_does_not_have_is_never_open(uri: str) -> None:
    client = login_app(uri, "1/20 year")
    assert codes(client, "/login", 2) == [429] * 2
    assert codes(client, "/threaded", 2) == [429] * 2


def codes(client: TestClient, path: str, number: int) -> list[int]:
    return [client.get(path).status_code for _ in range(number)]


@pytest.fixture
def uri(server: Server) -> str:
    return rl(server.url)


@pytest.mark.parametrize("path", ["/login", "/threaded"])
@pytest.mark.parametrize("strategy", [None, *NAMES])
def test_a_request_is_one_command_with_its_headers(strategy: str | None, path: str, uri: str, server: Server) -> None:
    client = login_app(uri, strategy=strategy)
    commands = Commands(server)
    for status, remaining in ((200, "2"), (200, "1"), (200, "0"), (429, "0"), (429, "0")):
        response = client.get(path)
        assert commands.taken() == {"RL.GCRA" if strategy == "rl-gcra" else "RL.CHECK": 1}
        assert response.status_code == status
        assert (response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"]) == ("3", remaining)
        seconds = [int(response.headers["Retry-After"]), float(response.headers["X-RateLimit-Reset"]) - time.time()]
        expected = range(1200, 3630, 1200) if strategy == "rl-gcra" else [3600]
        for told in seconds:
            assert any(-30 <= told - wanted <= 2 for wanted in expected)


@pytest.mark.parametrize("middleware", [SlowAPIMiddleware, SlowAPIASGIMiddleware])
def test_limits_of_the_middleware_are_one_command_each(middleware: Any, uri: str, server: Server) -> None:
    limiter = make_limiter(uri, default_limits=["3/hour"], application_limits=["100/day"])

    async def index(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    def threaded(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    @limiter.exempt
    async def health(request: Request) -> PlainTextResponse:
        return PlainTextResponse("fine")

    app = Starlette(routes=[Route("/", index), Route("/threaded", threaded), Route("/health", health)])
    app.add_middleware(middleware)
    client = client_of(app, limiter)
    commands = Commands(server)
    for path in ("/", "/threaded"):
        for status, remaining in ((200, "2"), (200, "1"), (200, "0"), (429, "0")):
            response = client.get(path)
            assert commands.taken() == {"RL.CHECK": 2}
            assert (response.status_code, response.headers["X-RateLimit-Remaining"]) == (status, remaining)
    assert codes(client, "/health", 5) == [200] * 5
    assert commands.taken() == {}


def test_decorators(uri: str) -> None:
    limiter = make_limiter(uri, headers_enabled=False)
    shared = limiter.shared_limit("3/hour", scope="mail")

    @shared
    async def send(request: Request) -> PlainTextResponse:
        return PlainTextResponse("sent")

    @shared
    def forward(request: Request) -> PlainTextResponse:
        return PlainTextResponse("forwarded")

    @limiter.limit("10/hour", cost=lambda request: int(request.query_params["rows"]))
    async def export(request: Request) -> PlainTextResponse:
        return PlainTextResponse("rows")

    @limiter.limit("2/minute")
    @limiter.limit("3/hour")
    async def search(request: Request) -> PlainTextResponse:
        return PlainTextResponse("found")

    exempt = True

    # slowapi before 0.1.10 does not give it the request.
    @limiter.limit("1/hour", exempt_when=lambda: exempt)
    async def members(request: Request) -> PlainTextResponse:
        return PlainTextResponse("members")

    @limiter.limit(lambda: "1/hour")
    async def dynamic(request: Request) -> PlainTextResponse:
        return PlainTextResponse("dynamic")

    @limiter.limit("1/hour", key_func=lambda request: request.query_params["user"])
    async def account(request: Request) -> PlainTextResponse:
        return PlainTextResponse("account")

    routes = {name: value for name, value in locals().items() if inspect.isfunction(value) and name != "shared"}
    client = client_of(Starlette(routes=[Route(f"/{name}", route) for name, route in routes.items()]), limiter)
    assert codes(client, "/send", 2) + codes(client, "/forward", 2) == [200, 200, 200, 429]
    assert codes(client, "/export?rows=7", 2) + codes(client, "/export?rows=3", 2) == [200, 429, 200, 429]
    assert codes(client, "/search", 3) == [200, 200, 429]
    assert codes(client, "/members", 3) == [200, 200, 200]
    exempt = False
    assert codes(client, "/members", 2) == [200, 429]
    assert codes(client, "/dynamic", 2) == [200, 429]
    assert [codes(client, f"/account?user={user}", 2) for user in ("ann", "bob", "%7Ba%7D:/")] == [[200, 429]] * 3
    limiter.reset()
    assert codes(client, "/dynamic", 2) == [200, 429]


def test_what_can_never_pass_and_what_costs_nothing(uri: str) -> None:
    limiter = make_limiter(uri)

    @limiter.limit("2/hour", cost=lambda request: int(request.query_params["cost"]))
    async def export(request: Request) -> PlainTextResponse:
        return PlainTextResponse("rows")

    client = client_of(Starlette(routes=[Route("/", export)]), limiter)
    never = client.get("/?cost=3")
    assert never.status_code == 429
    assert 3600 <= int(never.headers["Retry-After"]) <= 3602
    assert codes(client, "/?cost=1", 3) == [200, 200, 429]
    assert codes(client, "/?cost=0", 3) == [200] * 3


def test_fastapi(uri: str, server: Server) -> None:
    limiter = make_limiter(uri)
    app = FastAPI()

    @app.get("/items/{item}")
    @limiter.limit("2/hour")
    async def read(request: Request, response: Response, item: str) -> dict[str, str]:
        return {"item": item}

    client = client_of(app, limiter)
    commands = Commands(server)
    answers = [client.get("/items/one") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert commands.taken() == {"RL.CHECK": 3}
    assert answers[2].json() == {"error": "Rate limit exceeded: 2 per 1 hour"}


def test_keys_and_prefixes(uri: str, server: Server) -> None:
    login_app(uri, key_prefix="shop").get("/login")
    [key] = server.admin.scan_iter()
    # The test client has a name, which slowapi before 0.1.10 does not use.
    assert key in {f"rl:limits:LIMITER/shop/{host}//login/3/1/hour" for host in ("testclient", "127.0.0.1")}


def test_with_the_rights_to_limit_and_no_others(start: Callable[..., Any]) -> None:
    server = start(Server, password="admin", user=RATE_LIMIT_ONLY)
    assert codes(login_app(rl(server.user_url)), "/login", 4) == [200, 200, 200, 429]


FAILURES = [killed, loading, demoted, password_wanted]


@pytest.mark.parametrize("fails", FAILURES)
def test_an_error_is_an_error(fails: Any, start: Callable[..., Any]) -> None:
    # With swallow_errors, too: slowapi then looks for a limit that it has not noted.
    server = start(Server)
    client = login_app(rl(server.url))
    assert client.get("/login").status_code == 200
    with fails(server):
        assert client.get("/login").status_code == 500
    assert eventually(lambda: client.get("/login").status_code == 200)


@pytest.mark.parametrize("fails", FAILURES)
def test_the_fallback_to_memory_and_back(fails: Any, start: Callable[..., Any]) -> None:
    server = start(Server)
    client = login_app(rl(server.url), in_memory_fallback=["1/hour"])
    assert codes(client, "/login", 2) == [200, 200]
    with fails(server):
        assert codes(client, "/login", 3) == [200, 429, 429]
    assert eventually(lambda: client.get("/login").headers.get("X-RateLimit-Limit") == "3", seconds=60)


@pytest.mark.parametrize("path", ["/login", "/threaded"])
@pytest.mark.parametrize("strategy", [None, *NAMES])
def test_in_observe_mode_nothing_is_refused(strategy: str | None, path: str, uri: str, start: Any) -> None:
    options = {"strategy": strategy} if strategy else {}
    assert codes(login_app(f"{uri}?observe=yes", "2/hour", **options), path, 4) == [200] * 4
    server = start(Server)
    client = login_app(rl(server.url), storage_options={"timeout": 20, "observe": True}, **options)
    server.kill()
    assert codes(client, path, 4) == [200] * 4
