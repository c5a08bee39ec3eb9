"""The ASGI middleware, in front of plain ASGI applications, driven by HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from kinds import PATIENCE
from servers import Server, eventually, free_ports
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from redis_ratelimit import ArgumentError, AsyncRateLimiter, ConfigurationError, UnavailableError, asgi, outage
from redis_ratelimit.asgi import Pattern, RateLimitMiddleware, route_path


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answers every request with its path."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"yes")]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
async def limiter(server: Server) -> AsyncIterator[AsyncRateLimiter]:
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as found:
        yield found


def client(app: Any, ip: str = "192.0.2.1") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(ip, 1)), base_url="http://app")


def http_scope(path: str = "/", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": [], "client": ("192.0.2.1", 1), **more}


async def silence() -> Any:
    await asyncio.Event().wait()


async def test_a_limit_is_kept_and_told_by_one_command(server: Server, limiter: AsyncRateLimiter) -> None:
    app = RateLimitMiddleware(hello, {"/api/*": "3/m; 50/h"}, limiter=limiter)
    async with client(app) as http:
        server.admin.config_resetstat()
        first = await http.get("/api/users")
        stats = server.admin.info("commandstats")
        assert {name: stats[name]["calls"] for name in stats if name.startswith("cmdstat_rl.")} == {
            "cmdstat_rl.check": 1
        }
        assert (first.status_code, first.text, first.headers["x-app"]) == (200, "/api/users", "yes")
        assert first.headers["X-RateLimit-Limit"] == "3"
        assert first.headers["X-RateLimit-Remaining"] == "2"
        assert first.headers["RateLimit-Policy"] == '"/api/*";q=3;w=60'
        assert first.headers["RateLimit"] == '"/api/*";r=2;t=60'
        assert "Retry-After" not in first.headers
        assert [(await http.post("/api/other")).status_code for _ in range(3)] == [200, 200, 429]
        denied = await http.get("/api/users")
        assert (denied.status_code, denied.text) == (429, "Too Many Requests\n")
        assert denied.headers["X-RateLimit-Remaining"] == "0"
        assert 50 < int(denied.headers["Retry-After"]) <= 60
        # Others are not concerned, nor are paths that nothing is said about.
        assert "X-RateLimit-Limit" not in (await http.get("/")).headers
    async with client(app, "192.0.2.2") as http:
        assert (await http.get("/api/users")).status_code == 200
    assert sorted(server.admin.keys()) == ["rl:http:/api/*:192.0.2.1", "rl:http:/api/*:192.0.2.2"]


async def test_requests_at_once_get_exactly_the_limit(server: Server, limiter: AsyncRateLimiter) -> None:
    async with client(RateLimitMiddleware(hello, "50/h", limiter=limiter)) as http:
        answers = await asyncio.gather(*(http.get("/") for _ in range(200)))
    assert sorted(answer.status_code for answer in answers) == [200] * 50 + [429] * 150


async def test_the_first_pattern_that_fits_counts(server: Server, limiter: AsyncRateLimiter) -> None:
    limits = {"POST /login": "1/m", "/login": (100, "1m"), "*": ["200/m", "300/h"]}
    app = RateLimitMiddleware(hello, limits, limiter=limiter, exempt=["/health", "OPTIONS *"])
    async with client(app) as http:

        async def limit_of(method: str, path: str) -> str | None:
            return (await http.request(method, path)).headers.get("X-RateLimit-Limit")

        assert await limit_of("POST", "/login") == "1"
        assert await limit_of("GET", "/login") == "100"
        assert await limit_of("GET", "/login/") == "200"
        assert await limit_of("GET", "/health") is None
        assert await limit_of("OPTIONS", "/login") is None
        assert (await http.post("/login")).status_code == 429


# Paths


async def answers_of(app: Any, *paths: str, method: str = "GET", **options: Any) -> list[int]:
    async with client(app) as http:
        return [(await http.request(method, path, **options)).status_code for path in paths]


def routed() -> Starlette:
    """An application of Starlette with the routes /login, /health and /."""

    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    return Starlette(routes=[Route(path, answer) for path in ("/login", "/health", "/")])


@pytest.mark.parametrize("below", ["/v1", "/v1/v2"])
async def test_below_a_mount_patterns_are_what_the_router_matches(
    below: str, server: Server, limiter: AsyncRateLimiter
) -> None:
    limits = {"/login": "1/m", "/": "2/m", "*": "1/m"}
    app: Any = RateLimitMiddleware(routed(), limits, limiter=limiter, exempt=["/health"])
    for part in reversed(below.split("/")[1:]):
        app = Starlette(routes=[Mount(f"/{part}", app)])
    assert await answers_of(app, *[f"{below}/login"] * 3) == [200, 429, 429]
    assert await answers_of(app, *[f"{below}/health"] * 3) == [200] * 3
    assert await answers_of(app, *[f"{below}/"] * 3) == [200, 200, 429]
    assert await answers_of(app, f"{below}/x", f"{below}/x") == [404, 429]
    assert {key.split(":")[2] for key in server.admin.scan_iter()} == {"/login", "/", "*"}


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("how", ["add_middleware", "around", "around another"])
async def test_the_root_path_of_fastapi_is_left_out(how: str, server: Server, limiter: AsyncRateLimiter) -> None:
    app: Any = FastAPI(root_path="/api")
    app.add_api_route("/login", lambda: None)
    limits = {"/login": "2/m"}
    if how == "add_middleware":
        app.add_middleware(RateLimitMiddleware, limits=limits, limiter=limiter)
    else:
        app = RateLimitMiddleware(app if how == "around" else GZipMiddleware(app), limits, limiter=limiter)
    # Behind a proxy that takes the prefix away, and one that does not: the router answers both.
    assert await answers_of(app, "/api/login", "/login", "/api/login", "/login") == [200, 200, 429, 429]


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/login", "", "/login"),
        ("/v1/login", "/v1", "/login"),
        # As older frameworks had it.
        ("/login", "/v1", "/login"),
        ("/v10/login", "/v1", "/v10/login"),
        ("/v1", "/v1", "/"),
        ("/v1/", "/v1", "/"),
        ("/v1/v1/login", "/v1", "/v1/login"),
        ("/a/b/c", "/a/b", "/c"),
        ("//login", "/", "/login"),
    ],
)
def test_the_path_without_the_root_path(path: str, root_path: str, expected: str) -> None:
    assert route_path({"path": path, "root_path": root_path}) == expected
    # The framework's own, except for the mount itself. Starlette before 0.37 takes the beginning of a name for a mount.
    assert get_route_path({"path": path, "root_path": root_path}) in (expected, "0/login") or path == root_path
    assert route_path({"path": expected}) == expected


async def test_a_pattern_that_repeats_the_mount_is_told_once(
    server: Server, limiter: AsyncRateLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    inner = RateLimitMiddleware(routed(), {"/v1/login": "1/m", "/login/*": "1/m"}, limiter=limiter)
    app = Starlette(routes=[Mount("/v1", inner)])
    assert await answers_of(app, "/v1/", "/v1/login", "/v1/login") == [200] * 3
    [warning] = [record for record in caplog.records if record.name == "redis_ratelimit"]
    assert warning.getMessage() == (
        "the limit for '/v1/login' does not count: the application is mounted at '/v1', and patterns are for the paths "
        "below that, such as '/login'"
    )


async def test_middlewares_that_count_together_are_told(
    server: Server, limiter: AsyncRateLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    def mounted(path: str, **options: Any) -> Mount:
        return Mount(path, RateLimitMiddleware(routed(), {"GET /login": "1/m"}, limiter=limiter, **options))

    apart = Starlette(routes=[mounted("/v1"), mounted("/v2", scope="v2"), mounted("/v3", prefix="rl:3")])
    assert await answers_of(apart, "/v1/login", "/v2/login", "/v3/login") == [200] * 3
    assert not caplog.records
    server.admin.flushall()
    together = Starlette(routes=[*apart.routes, mounted("/v4")])
    [warning] = caplog.records
    assert "'GET /login' in scope 'http'" in warning.getMessage()
    assert await answers_of(together, "/v1/login", "/v4/login") == [200, 429]


# Preflights

PREFLIGHT = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}


async def test_preflights_are_not_limited(server: Server, limiter: AsyncRateLimiter) -> None:
    app = RateLimitMiddleware(hello, {"/login": "1/m"}, limiter=limiter)
    paths = ["/login"] * 3
    assert await answers_of(app, *paths, method="OPTIONS", headers=PREFLIGHT) == [200] * 3
    assert server.admin.dbsize() == 0
    # What only looks like one is.
    for number, (method, headers) in enumerate(
        [("OPTIONS", {}), ("OPTIONS", {"Origin": "https://shop.example"}), ("POST", PREFLIGHT)]
    ):
        other = RateLimitMiddleware(hello, {"/login": "1/m"}, limiter=limiter, scope=str(number))
        assert await answers_of(other, *paths, method=method, headers=headers) == [200, 429, 429]
    # Who names the method means it.
    named = RateLimitMiddleware(hello, {"/login": "9/m", "OPTIONS *": "1/m"}, limiter=limiter, scope="named")
    assert await answers_of(named, *paths, method="OPTIONS", headers=PREFLIGHT) == [200, 429, 429]


async def test_inside_of_cors_a_refusal_can_be_read_by_the_page(server: Server, limiter: AsyncRateLimiter) -> None:
    app = routed()
    app.add_middleware(RateLimitMiddleware, limits={"/login": "1/m"}, limiter=limiter)
    app.add_middleware(
        CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["POST"], expose_headers=["Retry-After"]
    )
    async with client(app) as http:
        assert [(await http.options("/login", headers=PREFLIGHT)).status_code for _ in range(3)] == [200] * 3
        origin = {"Origin": "https://shop.example"}
        assert (await http.get("/login", headers=origin)).status_code == 200
        refused = await http.get("/login", headers=origin)
    assert refused.status_code == 429
    assert refused.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert refused.headers["Access-Control-Expose-Headers"] == "Retry-After"


@pytest.mark.parametrize(
    ("pattern", "method", "path", "fits"),
    [
        ("/a", "GET", "/a", True),
        ("/a", "GET", "/a/", False),
        ("/a", "GET", "/A", False),
        ("*", "GET", "/a", True),
        ("/a/*", "GET", "/a/b/c", True),
        ("/a/*", "GET", "/a/", True),
        ("/a/*", "GET", "/a", False),
        ("/*/b", "GET", "/a/b", True),
        ("/*/b", "GET", "/b", False),
        ("/a*a", "GET", "/a", False),
        ("/*.js*", "GET", "/x.js/y", True),
        ("/*a*b*c", "GET", "/xaxbxc", True),
        ("/*a*b*c", "GET", "/xbxaxc", False),
        ("/a.b", "GET", "/axb", False),
        ("/a*", "GET", "/a\n\u202e", True),
        ("GET /a", "HEAD", "/a", True),
        ("PUT,POST /a", "POST", "/a", True),
        ("PUT,POST /a", "GET", "/a", False),
    ],
)
def test_patterns(pattern: str, method: str, path: str, fits: bool) -> None:
    assert Pattern(pattern).fits(method, path) is fits


async def test_clients_are_told_apart_by_address(server: Server, limiter: AsyncRateLimiter) -> None:
    direct = RateLimitMiddleware(hello, "9/m", limiter=limiter, scope="direct")
    behind = RateLimitMiddleware(hello, "9/m", limiter=limiter, scope="behind", trusted_proxies=1, ipv6_prefix=48)
    forwarded = {"X-Forwarded-For": "6.6.6.6, 2001:db8:1:2::3"}
    for app in (direct, behind):
        async with client(app) as http:
            await http.get("/", headers=forwarded)
    assert sorted(server.admin.keys()) == ["rl:behind:*:2001%3Adb8%3A1%3A%3A/48", "rl:direct:*:192.0.2.1"]


async def test_clients_that_nobody_can_tell_apart_are_told_once(
    server: Server, limiter: AsyncRateLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a proxy, on a unix socket."""
    asgi._warn_of_unknown_addresses.cache_clear()
    forwarded = [(b"x-forwarded-for", b"192.0.2.1")]
    direct = RateLimitMiddleware(hello, "9/m", limiter=limiter, scope="direct")
    behind = RateLimitMiddleware(hello, "9/m", limiter=limiter, scope="behind", trusted_proxies=1)
    await behind(http_scope(client=None, headers=forwarded), silence, noted([]))
    assert not caplog.records
    for _ in range(3):
        await direct(http_scope(client=None, headers=forwarded), silence, noted([]))
    [warning] = caplog.records
    assert "all of them count as one client, unless trusted_proxies" in warning.getMessage()
    assert sorted(server.admin.keys()) == ["rl:behind:*:192.0.2.1", "rl:direct:*:unknown"]


async def test_a_key_of_ones_own(server: Server, limiter: AsyncRateLimiter) -> None:
    async def token(scope: Any) -> bytes | None:
        await asyncio.sleep(0)
        return dict(scope["headers"]).get(b"authorization")

    app = RateLimitMiddleware(hello, "1/m", limiter=limiter, key=token)
    async with client(app) as http:
        assert [(await http.get("/")).status_code for _ in range(3)] == [200, 200, 200]
        answers = [await http.get("/", headers={"Authorization": "x"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
    assert server.admin.keys() == ["rl:http:*:x"]
    plain = RateLimitMiddleware(hello, "1/m", limiter=limiter, key=lambda scope: len(scope["path"]))
    async with client(plain) as http:
        await http.get("/abc")
    assert server.admin.exists("rl:http:*:4")


def noted(messages: list[Any]) -> Any:
    async def send(message: Any) -> None:
        messages.append(message)

    return send


async def test_streams_are_passed_on_as_they_come(server: Server, limiter: AsyncRateLimiter) -> None:
    messages: list[Any] = []
    read = asyncio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-ratelimit-limit", b"mine")]})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        # The first piece has been sent before the second is made.
        assert messages[-1]["body"] == b"1"
        read.set()
        await send({"type": "http.response.body", "body": b"2"})

    await RateLimitMiddleware(stream, "9/m", limiter=limiter)(http_scope(), silence, noted(messages))
    assert read.is_set()
    assert [message["type"] for message in messages] == ["http.response.start"] + ["http.response.body"] * 2
    headers = dict(messages[0]["headers"])
    # What the application sets itself stays.
    assert headers[b"x-ratelimit-limit"] == b"mine"
    assert headers[b"x-ratelimit-remaining"] == b"8"


async def test_exceptions_of_the_application_pass_through(server: Server, limiter: AsyncRateLimiter) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await RateLimitMiddleware(broken, "9/m", limiter=limiter)(http_scope(), silence, noted([]))


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_all_but_http_passes_untouched(kind: str, server: Server, limiter: AsyncRateLimiter) -> None:
    seen: list[Any] = []

    async def app(*words: Any) -> None:
        seen.extend(words)

    scope = {"type": kind, "path": "/"}
    send = noted([])
    await RateLimitMiddleware(app, "1/m", limiter=limiter)(scope, silence, send)
    assert seen[0] is scope == {"type": kind, "path": "/"}
    assert seen[1:] == [silence, send]
    assert server.admin.dbsize() == 0


async def test_an_answer_of_ones_own(server: Server, limiter: AsyncRateLimiter) -> None:
    async def slow_down(scope: Any, decision: Any) -> Any:
        return JSONResponse({"path": scope["path"], "wait": decision.retry_after}, 420)

    for hook in (slow_down, lambda scope, decision: JSONResponse({"path": "/"}, 420)):
        server.admin.flushall()
        async with client(RateLimitMiddleware(hello, "1/m", limiter=limiter, response=hook)) as http:
            await http.get("/")
            denied = await http.get("/")
        assert (denied.status_code, denied.json()["path"]) == (420, "/")
        assert denied.headers["X-RateLimit-Remaining"] == "0"
        assert "Retry-After" in denied.headers


async def test_two_of_them_tell_of_both(server: Server, limiter: AsyncRateLimiter) -> None:
    inner = RateLimitMiddleware(hello, {"/a": "2/m"}, limiter=limiter)
    outer = RateLimitMiddleware(inner, {"*": "9/m"}, limiter=limiter)
    async with client(outer) as http:
        headers = (await http.get("/a")).headers
    assert headers.get_list("X-RateLimit-Limit") == ["2"]
    assert headers.get_list("RateLimit-Policy") == ['"*";q=9;w=60, "/a";q=2;w=60']


async def test_policies_apply_while_the_server_is_down_and_decisions_return(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "SETTLED_AFTER", 0.0)
    server = start(Server)
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        apps = {
            policy: RateLimitMiddleware(hello, "2/h", limiter=limiter, policy=policy)  # type: ignore[arg-type]
            for policy in ("open", "closed", "raise")
        }
        async with client(apps["open"]) as open_, client(apps["closed"]) as closed, client(apps["raise"]) as raising:
            assert (await open_.get("/")).headers["X-RateLimit-Remaining"] == "1"
            server.kill()
            passed = await open_.get("/")
            assert passed.status_code == 200
            assert "X-RateLimit-Remaining" not in passed.headers
            refused = await closed.get("/")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            with pytest.raises(UnavailableError):
                await raising.get("/")
            server.start()
            for http in (open_, closed):
                assert (await http.get("/")).status_code == 200
            assert (await raising.get("/")).status_code == 429


async def test_a_client_that_goes_away_leaves_no_connection(start: Any) -> None:
    server = start(Server)
    async with AsyncRateLimiter.from_url(server.url, timeout=20, max_connections=5, client_name="app") as limiter:
        app = RateLimitMiddleware(hello, "1000/h", limiter=limiter)
        for _ in range(4):
            with server.paused():
                tasks = [asyncio.create_task(app(http_scope(), silence, noted([]))) for _ in range(20)]
                await asyncio.wait(tasks, timeout=0.05)
                while not all(task.done() for task in tasks):
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks, timeout=0.05)
        # All five are free, and none has another's answer.
        messages: list[Any] = []
        await asyncio.gather(*(app(http_scope(f"/{number}"), silence, noted(messages)) for number in range(50)))
        assert sorted(message["body"] for message in messages[1::2]) == sorted(b"/%d" % n for n in range(50))
        await asyncio.to_thread(eventually, lambda: server.run("CLIENT LIST").count("name=app") <= 5)


async def test_a_limiter_made_of_a_url_ends_with_the_application(start: Any) -> None:
    server = start(Server)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await hello(scope, receive, send)
        else:
            await send({"type": "lifespan.shutdown.complete"})

    limited = RateLimitMiddleware(app, "9/m", limiter=f"{server.url}?client_name=mine&{PATIENCE}")
    await limited(http_scope(), silence, noted([]))
    assert "name=mine" in server.run("CLIENT LIST")
    messages: list[Any] = []
    await limited({"type": "lifespan"}, silence, noted(messages))
    assert messages == [{"type": "lifespan.shutdown.complete"}]
    await asyncio.to_thread(eventually, lambda: "name=mine" not in server.run("CLIENT LIST"))


@pytest.mark.parametrize(
    ("limits", "options", "text"),
    [
        ("5", {}, "not a rate"),
        ({"login": "5/m"}, {}, "not a pattern"),
        ({"post /login": "5/m"}, {}, "not a pattern"),
        ({"/a": []}, {}, "1 to 8 rates"),
        ({"/a": "5/m; 6/60s"}, {}, "must differ"),
        ("5/m", {"exempt": ["health"]}, "not a pattern"),
        ("5/m", {"trusted_proxies": -1}, "trusted_proxies"),
        ("5/m", {"policy": "close"}, "policy must be"),
        ("5/m", {"limiter": "localhost"}, "Redis URL"),
    ],
)
def test_settings_that_are_refused(limits: Any, options: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        RateLimitMiddleware(hello, limits, **options)


async def test_without_a_limiter_it_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"rate_limiter"):
        await RateLimitMiddleware(hello, "5/m")(http_scope(), silence, noted([]))


APP = """
import asyncio

from redis_ratelimit.asgi import RateLimitMiddleware


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1 if scope["path"] == "/" else 100):
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        if scope["path"] != "/":
            await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b""})


app = RateLimitMiddleware(app, {"/": "50/h", "*": "1000/h"}, limiter="URL")
"""


@contextlib.contextmanager
def uvicorn(directory: Path, *words: str) -> Iterator[str]:
    """Serve `app` of app.py in a process of its own."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning", *words]
    process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None
            try:
                return bool(httpx.head(f"{base}/ready").status_code)
            except httpx.TransportError as error:
                raise OSError(str(error)) from error

        eventually(answers, what="uvicorn answers")
        yield base
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def patient(server: Server) -> str:
    """The URL of a server on a busy machine."""
    return f"{server.url}?{PATIENCE}"


def test_two_processes_of_a_real_server_share_a_limit(server: Server, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("URL", patient(server)))
    # uvicorn ends a worker that does not answer for 5 s, as on a busy machine, and with it what the worker was asked.
    with uvicorn(tmp_path, "--workers", "2", "--timeout-worker-healthcheck", "60") as base:

        async def hammer() -> list[int]:
            async with httpx.AsyncClient(base_url=base, timeout=60, limits=httpx.Limits(max_connections=16)) as http:
                answers = await asyncio.gather(*(http.get("/") for _ in range(150)))
            return [answer.status_code for answer in answers]

        answers = asyncio.run(hammer())
    assert sorted(answers) == [200] * 50 + [429] * 100


def test_the_root_path_of_a_real_server_is_left_out(server: Server, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("URL", patient(server)).replace("50/h", "2/h"))
    with uvicorn(tmp_path, "--root-path", "/api") as base:
        assert [httpx.get(f"{base}/").status_code for _ in range(3)] == [200, 200, 429]
    assert server.admin.keys("rl:http:/:*")


def test_clients_of_a_real_server_that_hang_up_leave_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("URL", f"{server.url}?{PATIENCE}&client_name=hung"))
    with uvicorn(tmp_path) as base:
        for _ in range(20):
            with httpx.stream("GET", f"{base}/stream") as response:
                assert response.headers["X-RateLimit-Limit"] == "1000"
                next(response.iter_bytes())
        assert httpx.get(f"{base}/").status_code == 200
        assert server.run("CLIENT LIST").count("name=hung") <= 2
    eventually(lambda: "name=hung" not in server.run("CLIENT LIST"))


# Observe mode


@pytest.mark.parametrize("by", ["keyword", "limiter", "URL"])
async def test_in_observe_mode_nothing_is_refused(by: str, server: Server, limiter: AsyncRateLimiter) -> None:
    chosen: Any = f"{server.url}?observe=yes&{PATIENCE}" if by == "URL" else limiter
    if by == "limiter":
        chosen = limiter.with_observe()
    app = RateLimitMiddleware(hello, "2/h", limiter=chosen, observe=True if by == "keyword" else None)
    async with client(app) as http:
        answers = [await http.get("/") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0", "0"]
    assert all("Retry-After" not in answer.headers for answer in answers)
    if by == "URL":
        assert app._owned is not None
        await app._owned.aclose()
    else:
        assert limiter.would_deny_total == 2
        # And the other way round.
        async with client(RateLimitMiddleware(hello, "2/h", limiter=limiter.with_observe(), observe=False)) as http:
            assert (await http.get("/")).status_code == 429


@pytest.mark.parametrize("policy", ["raise", "closed"])
async def test_in_observe_mode_requests_pass_while_the_server_is_away(policy: Any, start: Any) -> None:
    server = start(Server)
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        server.kill()
        async with client(RateLimitMiddleware(hello, "2/h", limiter=limiter, policy=policy, observe=True)) as http:
            answer = await http.get("/")
        assert (answer.status_code, answer.text) == (200, "/")
        assert limiter.would_deny_total == 1


def test_an_observe_mode_that_is_neither_is_refused() -> None:
    with pytest.raises(ArgumentError, match="observe must be True or False"):
        RateLimitMiddleware(hello, "2/h", observe="no")  # type: ignore[arg-type]
