"""The dependencies, in applications of FastAPI and Starlette, driven by HTTP."""

# No deferred annotations: FastAPI reads them, and they name local variables.

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from servers import Cluster, Server, eventually
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from redis_ratelimit import ArgumentError, AsyncRateLimiter, ConfigurationError, Decision, UnavailableError
from redis_ratelimit.asgi import RateLimitMiddleware
from redis_ratelimit.fastapi import RateLimit, RateLimits, TooManyRequests, by_ip, lifespan, shared_limits
from redis_ratelimit.multilevel import Level, MultiLevelDecision


@pytest.fixture
async def limiter(server: Server) -> AsyncIterator[AsyncRateLimiter]:
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as found:
        yield found


@pytest.fixture
def app(limiter: AsyncRateLimiter) -> FastAPI:
    app = FastAPI()
    app.state.rate_limiter = limiter
    return app


def client(app: Any, ip: str = "192.0.2.1") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(ip, 1)), base_url="http://app")


async def test_a_limit_on_a_route(app: FastAPI, server: Server) -> None:
    @app.get("/search", dependencies=[Depends(RateLimit("3/minute", "50/hour"))])
    async def search(q: str = "") -> dict[str, str]:
        return {"q": q}

    async with client(app) as http:
        server.admin.config_resetstat()
        first = await http.get("/search?q=x")
        stats = server.admin.info("commandstats")
        assert {name for name in stats if name.startswith("cmdstat_rl.")} == {"cmdstat_rl.check"}
        assert stats["cmdstat_rl.check"]["calls"] == 1
        assert (first.status_code, first.json()) == (200, {"q": "x"})
        assert first.headers["X-RateLimit-Limit"] == "3"
        assert first.headers["X-RateLimit-Remaining"] == "2"
        assert [(await http.get("/search")).status_code for _ in range(3)] == [200, 200, 429]
        denied = await http.get("/search")
        assert (denied.status_code, denied.json()) == (429, {"detail": "Too Many Requests"})
        assert 50 < int(denied.headers["Retry-After"]) <= 60
        assert denied.headers["X-RateLimit-Remaining"] == "0"
        assert denied.headers["RateLimit-Policy"].endswith(";q=3;w=60")
    async with client(app, "192.0.2.2") as http:
        assert (await http.get("/search")).status_code == 200
    assert min(server.admin.keys()).endswith("search:192.0.2.1")


async def test_nothing_of_it_can_be_set_by_the_client(app: FastAPI, server: Server) -> None:
    @app.get("/a", dependencies=[Depends(RateLimit("1/m"))])
    async def a() -> None: ...

    @app.get("/b", dependencies=[Depends(RateLimits(Level("ip", "1/m", key=by_ip())))])
    async def b() -> None: ...

    for path in app.openapi()["paths"].values():
        assert "parameters" not in path["get"]
    async with client(app) as http:
        for path in "/a", "/b":
            answers = [await http.get(path, params={"value": n, "connection": n, "key": n}) for n in range(2)]
            assert [answer.status_code for answer in answers] == [200, 429]


async def test_limits_on_application_router_and_route_count_for_themselves(
    limiter: AsyncRateLimiter, server: Server
) -> None:
    app = FastAPI(dependencies=[Depends(RateLimit("100/m", scope="everything", limiter=limiter))])
    router = APIRouter(prefix="/api", dependencies=[Depends(RateLimit("10/m", limiter=limiter))])

    @router.get("/one", dependencies=[Depends(RateLimit("2/m", limiter=limiter))])
    async def one() -> None: ...

    @router.get("/two")
    async def two() -> None: ...

    app.include_router(router)
    async with client(app) as http:
        answer = await http.get("/api/one")
        assert answer.headers["X-RateLimit-Limit"] == "2"
        assert [quota.split(";")[1] for quota in answer.headers["RateLimit-Policy"].split(", ")] == [
            "q=100",
            "q=10",
            "q=2",
        ]
        assert [(await http.get("/api/one")).status_code for _ in range(2)] == [200, 429]
        # Of the application's 100, three are gone; of the router's 10 for this endpoint, none.
        headers = (await http.get("/api/two")).headers
        assert [quota.split(";")[1] for quota in headers["RateLimit"].split(", ")] == ["r=96", "r=9"]
    assert server.admin.exists("rl:everything:192.0.2.1")


async def test_a_limit_is_shared_by_scope(app: FastAPI) -> None:
    for path in ("/a", "/b"):

        @app.get(path, dependencies=[Depends(RateLimit("2/m", scope="both"))])
        async def endpoint() -> None: ...

    async with client(app) as http:
        assert [(await http.get(path)).status_code for path in ("/a", "/b", "/a")] == [200, 200, 429]


async def test_a_key_is_a_function_or_a_dependency(app: FastAPI, server: Server) -> None:
    calls = []

    async def user(x_user: Annotated[str | None, Header()] = None) -> str | None:
        calls.append(x_user)
        return x_user

    async def slowly(connection: Any) -> str:
        await asyncio.sleep(0)
        return str(connection.headers["x-user"])

    @app.get("/dependency", dependencies=[Depends(RateLimit("1/m", key=Depends(user), scope="dependency"))])
    async def dependency(user: Annotated[str | None, Depends(user)]) -> str | None:
        return user

    @app.get("/function", dependencies=[Depends(RateLimit("1/m", key=lambda c: c.headers["x-user"], scope="function"))])
    async def function() -> None: ...

    @app.get("/coroutine", dependencies=[Depends(RateLimit("1/m", key=slowly, scope="coroutine"))])
    async def coroutine() -> None: ...

    async with client(app) as http:
        for path in ("/dependency", "/function", "/coroutine"):
            answers = [await http.get(path, headers={"X-User": name}) for name in ("ann", "bob", "ann")]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert server.admin.exists(f"rl:{path[1:]}:ann", f"rl:{path[1:]}:bob") == 2
        # Asked once for each request, though two need it.
        assert calls == ["ann", "bob", "ann"]
        # None: not limited.
        assert [(await http.get("/dependency")).status_code for _ in range(3)] == [200] * 3


async def test_the_decision_is_the_value_of_the_dependency(app: FastAPI) -> None:
    limit = RateLimit("10/h", burst=20, cost=5)

    @app.get("/")
    async def endpoint(decision: Annotated[Decision, Depends(limit)]) -> list[int]:
        return [decision.limit, decision.remaining]

    async with client(app) as http:
        assert (await http.get("/")).json() == [20, 15]


async def test_the_cost_may_be_a_function_and_nothing(app: FastAPI, server: Server) -> None:
    async def rows(connection: Any) -> int:
        return int(connection.query_params["rows"])

    @app.get("/limit", dependencies=[Depends(RateLimit("2/m", cost=lambda c: int(c.query_params["rows"])))])
    async def limit() -> None: ...

    @app.get("/bucket", dependencies=[Depends(RateLimit("2/m", burst=2, cost=rows))])
    async def bucket() -> None: ...

    @app.get("/levels", dependencies=[Depends(RateLimits(Level("ip", "2/m", key=by_ip()), cost=rows))])
    async def levels() -> None: ...

    @app.get("/free", dependencies=[Depends(RateLimit("1/m", cost=0))])
    async def free() -> None: ...

    async with client(app) as http:

        async def statuses(path: str) -> list[int]:
            return [(await http.get(path)).status_code for _ in range(3)]

        assert await statuses("/free") == [200] * 3
        assert server.admin.dbsize() == 0
        for path in ("/limit", "/bucket", "/levels"):
            assert await statuses(f"{path}?rows=1") == [200, 200, 429]
            assert await statuses(f"{path}?rows=0") == [200] * 3
            # What can never pass is told to wait for a window.
            never = await http.get(f"{path}?rows=3")
            assert (never.status_code, never.headers["Retry-After"]) == (429, "60")
    for cost in (-1, 1.5, True, "1"):
        with pytest.raises(ArgumentError, match="cost must be"):
            RateLimit("1/m", cost=cost)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="cost must be"):
            RateLimits(Level("ip", "1/m"), cost=cost)  # type: ignore[arg-type]


async def test_a_block_locks_out(app: FastAPI) -> None:
    @app.post("/login", dependencies=[Depends(RateLimit("1/s", block="15m"))])
    async def login() -> None: ...

    async with client(app) as http:
        answers = await asyncio.gather(http.post("/login"), http.post("/login"))
        assert max(int(answer.headers.get("Retry-After", 0)) for answer in answers) == 900


async def test_requests_at_once_get_exactly_the_limit(app: FastAPI) -> None:
    @app.get("/", dependencies=[Depends(RateLimit("50/h"))])
    async def endpoint() -> None: ...

    async with client(app) as http:
        answers = await asyncio.gather(*(http.get("/") for _ in range(200)))
    assert sorted(answer.status_code for answer in answers) == [200] * 50 + [429] * 150


async def test_levels_are_one_command(app: FastAPI, server: Server) -> None:
    async def user(connection: Any) -> str | None:
        return connection.headers.get("x-user")  # type: ignore[no-any-return]

    levels = RateLimits(Level("ip", "5/m", key=by_ip()), Level("user", "2/m", key=user), scope="search")

    @app.get("/")
    async def endpoint(result: Annotated[MultiLevelDecision, Depends(levels)]) -> list[str]:
        return [row.level for row in result.rows]

    async with client(app) as http:
        server.admin.config_resetstat()
        answer = await http.get("/", headers={"X-User": "ann"})
        stats = server.admin.info("commandstats")
        assert {name for name in stats if name.startswith("cmdstat_rl.")} == {"cmdstat_rl.mcheck"}
        assert stats["cmdstat_rl.mcheck"]["calls"] == 1
        assert answer.json() == ["ip", "user"]
        assert answer.headers["RateLimit-Policy"] == '"ip";q=5;w=60, "user";q=2;w=60'
        assert (await http.get("/")).json() == ["ip"]
        answers = [await http.get("/", headers={"X-User": "ann"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert answers[1].headers["RateLimit"].startswith('"ip";r=2;')
    with pytest.raises(ArgumentError, match="exclude"):
        RateLimits(Level("ip", "5/m"), shard="{rl}", atomic=False)
    with pytest.raises(ArgumentError, match="'in flight' is a lease, which has to be given back"):
        RateLimits(Level("in flight", "5/30s", lease=True))


async def test_levels_in_a_cluster(cluster: Cluster) -> None:
    def app(**options: Any) -> Starlette:
        limits = RateLimits(Level("ip", "9/m", key=by_ip()), Level("all", "2/m", key="all"), limiter=limiter, **options)

        async def endpoint(request: Request) -> PlainTextResponse:
            await limits(connection=request)
            return PlainTextResponse("")

        return Starlette(routes=[Route("/", endpoint)])

    async with AsyncRateLimiter.from_url(cluster.url(), timeout=20) as limiter:
        async with client(app()) as http:
            with pytest.raises(ConfigurationError, match=r"shard='\{rl\}'.* or atomic=False"):
                await http.get("/")
        for options in ({"shard": "{rl}"}, {"atomic": False}):
            async with client(app(**options)) as http:
                assert [(await http.get("/")).status_code for _ in range(3)] == [200, 200, 429]


async def test_an_exception_handler_answers(app: FastAPI) -> None:
    @app.exception_handler(TooManyRequests)
    async def slow_down(request: Request, error: TooManyRequests) -> JSONResponse:
        return JSONResponse({"wait": error.result.retry_after}, 420, error.headers)

    @app.get("/", dependencies=[Depends(RateLimit("1/m"))])
    async def endpoint() -> None: ...

    async with client(app) as http:
        await http.get("/")
        denied = await http.get("/")
    assert denied.status_code == 420
    assert 50 < denied.json()["wait"] <= 60
    assert "Retry-After" in denied.headers


async def test_with_the_middleware_every_response_has_headers(app: FastAPI) -> None:
    limit = Depends(RateLimit("9/m"))

    @app.get("/stream", dependencies=[limit])
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    @app.get("/missing", dependencies=[limit])
    async def missing() -> None:
        raise HTTPException(404)

    @app.get("/plain", dependencies=[limit])
    async def plain() -> str:
        return "x"

    @app.get("/denied", dependencies=[Depends(RateLimit("1/m", cost=2))])
    async def denied() -> None: ...

    app.add_middleware(RateLimitMiddleware, limits={"/plain": "5/m"})
    async with client(app) as http:
        for path, status, limits in (
            ("/stream", 200, ["9"]),
            ("/missing", 404, ["9"]),
            ("/plain", 200, ["5"]),
            ("/denied", 429, ["1"]),
        ):
            answer = await http.get(path)
            assert answer.status_code == status
            assert answer.headers.get_list("X-RateLimit-Limit") == limits


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    """Run the application's lifespan as a server does, and return the application as it is called meanwhile."""
    state: dict[str, Any] = {}
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "state": state}, to_app.get, from_app.put))

    async def called(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    await to_app.put({"type": "lifespan.startup"})
    assert await from_app.get() == {"type": "lifespan.startup.complete"}
    yield called
    await to_app.put({"type": "lifespan.shutdown"})
    assert await from_app.get() == {"type": "lifespan.shutdown.complete"}
    await task


async def test_a_websocket_is_refused_before_it_opens(server: Server) -> None:
    app = FastAPI(lifespan=lifespan(server.url, timeout=20))

    @app.websocket("/ws", dependencies=[Depends(RateLimit("1/m", key=by_ip()))])
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    async def connect() -> Any:
        return {"type": "websocket.connect"}

    async with running(app) as called:
        for kinds in (["websocket.accept", "websocket.close"], ["websocket.close"]):
            messages: list[Any] = []

            async def send(message: Any, messages: list[Any] = messages) -> None:
                messages.append(message)

            scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b"", "client": ("192.0.2.1", 1)}
            await called(scope, connect, send)
            assert [message["type"] for message in messages] == kinds
    assert messages[0]["code"] == 1008


async def test_the_lifespan_holds_the_limiter_for_mounted_applications_too(start: Any) -> None:
    server = start(Server)
    app = FastAPI(lifespan=lifespan(server.url, timeout=20, client_name="life"))
    below = FastAPI()

    @below.get("/", dependencies=[Depends(RateLimit("1/m"))])
    async def endpoint() -> None: ...

    app.mount("/below", below)
    async with running(app) as called:
        async with client(called) as http:
            assert [(await http.get("/below/")).status_code for _ in range(2)] == [200, 429]
        assert "name=life" in server.run("CLIENT LIST")
    await asyncio.to_thread(eventually, lambda: "name=life" not in server.run("CLIENT LIST"))


async def test_limits_that_are_shared_by_name_are_told_at_the_start(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def make(scope: str | None = None, **names: str) -> FastAPI:
        limit = Depends(RateLimit("1/m", scope=scope))

        def router() -> APIRouter:
            made = APIRouter()

            @made.get("/login", dependencies=[limit] if names.get("where") == "route" else [])
            @made.post("/login", dependencies=[limit] if names.get("where") == "route" else [])
            async def login() -> None: ...

            return made

        app, below, one = FastAPI(lifespan=lifespan(server.url, timeout=20)), FastAPI(), router()
        if names.get("where") == "route":
            app.include_router(one, prefix="/v1")
            app.include_router(one, prefix="/v2")
            below.include_router(router())
            app.mount("/v3", below)
        else:
            for version in ("v1", "v2"):
                apart = Depends(RateLimit("1/m", scope=version))
                app.include_router(one, prefix=f"/{version}", dependencies=[apart])
        return app

    async with running(make(where="route")) as called:
        [warning] = caplog.records
        assert "router.<locals>.login at /v1/login, /v2/login, /v3/login count together" in warning.getMessage()
        async with client(called) as http:
            answers = [(await http.get(f"/{version}/login")).status_code for version in ("v1", "v2", "v3")]
            assert answers == [200, 429, 429]
    caplog.clear()
    server.admin.flushall()
    # What the warning says, and the way out that the README shows.
    async with running(make(where="route", scope="login")):
        assert not caplog.records
    async with running(make()) as called, client(called) as http:
        answers = [(await http.get(f"/{version}/login")).status_code for version in ("v1", "v1", "v2", "v2")]
        assert answers == [200, 429, 200, 429]
        assert not caplog.records


def test_levels_without_a_scope_are_told() -> None:
    def one(*scopes: str | None) -> list[str]:
        app = FastAPI()
        for number, scope in enumerate(scopes):
            limits = RateLimits(Level("ip", "1/m", key=by_ip()), scope=scope)
            app.add_api_route(f"/{number}", lambda: None, dependencies=[Depends(limits)])
            app.add_api_route(f"/{number}/same", lambda: None, dependencies=[Depends(limits)])
        return shared_limits(app)

    assert one(None) == one("a", "b") == one(None, "b") == []
    [warning] = one(None, None, "c")
    assert warning.startswith("2 RateLimits have a level 'ip' and no scope")


async def test_policies_apply_while_the_server_is_down(start: Any) -> None:
    server = start(Server)
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        app = FastAPI()
        app.state.rate_limiter = limiter
        for policy in ("open", "closed", "raise"):

            @app.get(f"/{policy}", dependencies=[Depends(RateLimit("9/m", policy=policy, scope="x"))])
            async def endpoint() -> None: ...

            levels = RateLimits(Level("ip", "9/m", key=by_ip()), policy=policy)  # type: ignore[arg-type]

            @app.get(f"/levels/{policy}", dependencies=[Depends(levels)])
            async def other() -> None: ...

        @app.exception_handler(UnavailableError)
        async def unavailable(request: Request, error: UnavailableError) -> JSONResponse:
            return JSONResponse({"reason": error.reason}, 507)

        async with client(app) as http:
            assert (await http.get("/raise")).status_code == 200
            server.kill()
            for below in ("", "/levels"):
                assert (await http.get(f"{below}/open")).status_code == 200
                closed = await http.get(f"{below}/closed")
                assert (closed.status_code, closed.headers["Retry-After"]) == (503, "1")
                raised = await http.get(f"{below}/raise")
                assert (raised.status_code, raised.json()) == (507, {"reason": "CONNECTION"})
            server.start()
            for path in ("/open", "/closed", "/raise", "/levels/closed"):
                assert (await http.get(path)).status_code == 200


async def test_in_starlette_it_is_called(limiter: AsyncRateLimiter, server: Server) -> None:
    limit = RateLimit("1/m", limiter=limiter)

    async def endpoint(request: Request) -> PlainTextResponse:
        response = PlainTextResponse("ok")
        await limit(connection=request, response=response)
        return response

    async with client(Starlette(routes=[Route("/", endpoint)])) as http:
        first, second = await http.get("/"), await http.get("/")
    assert (first.status_code, first.headers["X-RateLimit-Remaining"]) == (200, "0")
    assert (second.status_code, second.text) == (429, "Too Many Requests")
    assert "Retry-After" in second.headers


def test_starlette_alone_suffices() -> None:
    code = "import sys; sys.modules['fastapi'] = None; import redis_ratelimit.fastapi"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_without_a_limiter_it_says_so() -> None:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(RateLimit("1/m"))])
    async def endpoint() -> None: ...

    async with client(app) as http:
        with pytest.raises(ConfigurationError, match="rate_limiter"):
            await http.get("/")


@pytest.mark.parametrize(
    ("words", "options", "text"),
    [
        ((), {}, "1 to 8 rates"),
        (("5/m; 6/h",), {"burst": 5}, "just one rate"),
        (("5/m; 6/60s",), {}, "windows of a RateLimit must differ"),
        (("99999999999/day",), {}, "limit must be an integer from 1 to 4294967295"),
        (("1/20 years",), {}, "window_ms must be from 1 to"),
        (("5/m",), {"burst": 0}, "burst must be"),
        (("5/m",), {"burst": 99_999_999_999}, "burst must be"),
        (("1/10 years",), {"burst": 11}, "refill within 100 years"),
        (("4000000000/s",), {"burst": 1}, "one unit for each nanosecond"),
        (("5/m",), {"block": "20 years"}, "block must be from 1 ms to 10 years"),
        (("5",), {}, "not a rate"),
        (("5/m",), {"key": "ip"}, "function of the connection"),
        (("5/m",), {"policy": "close"}, "policy must be"),
    ],
)
def test_limits_that_are_refused(words: Any, options: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        RateLimit(*words, **options)


# Observe mode


@pytest.mark.parametrize("by", ["limit", "limiter"])
async def test_in_observe_mode_nothing_is_refused(by: str, server: Server) -> None:
    app = FastAPI()
    options = {"observe": True} if by == "limit" else {}

    @app.get("/one")
    async def one(decision: Annotated[Decision, Depends(RateLimit("1/h", **options))]) -> bool:
        return decision.would_deny

    @app.get("/burst")
    async def burst(decision: Annotated[Decision, Depends(RateLimit("1/h", burst=1, **options))]) -> bool:
        return decision.would_deny

    levels = RateLimits(Level("ip", "1/h", key=by_ip()), Level("all", "9/h", key="all"), **options)

    @app.get("/several")
    async def several(decision: Annotated[MultiLevelDecision, Depends(levels)]) -> bool:
        return decision.would_deny

    url = f"{server.url}?observe={'yes' if by == 'limiter' else 'no'}"
    async with lifespan(url, timeout=20)(app), client(app) as http:
        for path in ("/one", "/burst", "/several"):
            answers = [await http.get(path) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200] * 3
            assert [answer.json() for answer in answers] == [False, True, True]
            assert answers[2].headers["X-RateLimit-Remaining"] == "0"
            assert "Retry-After" not in answers[2].headers
        assert app.state.rate_limiter.would_deny_total == 6


async def test_one_limit_may_observe_or_not(server: Server) -> None:
    app = FastAPI()

    @app.get("/yes", dependencies=[Depends(RateLimit("1/h", observe=True, scope="both"))])
    async def yes() -> None: ...

    @app.get("/no", dependencies=[Depends(RateLimit("1/h", observe=False, scope="both"))])
    async def no() -> None: ...

    async with lifespan(server.url, timeout=20, observe=True)(app), client(app) as http:
        assert [(await http.get(path)).status_code for path in ("/yes", "/yes", "/no")] == [200, 200, 429]
    with pytest.raises(ArgumentError, match="observe"):
        RateLimit("1/h", observe="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["raise", "closed"])
async def test_in_observe_mode_requests_pass_while_the_server_is_away(policy: Any, start: Any) -> None:
    server = start(Server)
    app = FastAPI()

    @app.get("/", dependencies=[Depends(RateLimit("1/h", policy=policy))])
    async def index() -> None: ...

    async with lifespan(server.url, timeout=20, observe=True)(app), client(app) as http:
        server.kill()
        assert [(await http.get("/")).status_code for _ in range(2)] == [200, 200]
