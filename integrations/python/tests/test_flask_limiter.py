"""Flask-Limiter with nothing changed but the URI of its storage, in real applications."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import flask
import limits.strategies
import pytest
from flask.testing import FlaskClient
from flask_limiter import ExemptionScope, Limiter, RateLimitExceeded
from flask_limiter.util import get_remote_address
from servers import RATE_LIMIT_ONLY, Cluster, Server, eventually
from test_limits import NAMES, THEIRS, Commands, rl
from test_outages import demoted, failed_snapshot, killed, loading, password_changed, password_wanted, paused
from werkzeug.test import TestResponse

from redis_ratelimit import RateLimitError, UnavailableError
from redis_ratelimit.limits import state


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine there may be more than a second between a hit and its headers."""
    monkeypatch.setattr(state, "FRESH", 60.0)


# The answer has to come; the machine is busy.
OPTIONS = {"timeout": 20}


def make_app(uri: str, **options: Any) -> tuple[flask.Flask, Limiter]:
    app = flask.Flask("shop")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    options = {"storage_options": OPTIONS, "headers_enabled": True, **options}
    return app, Limiter(get_remote_address, app=app, storage_uri=uri, **options)


def login_app(uri: str, limit: str = "3 per hour", **options: Any) -> FlaskClient:
    """One route with a limit."""
    app, limiter = make_app(uri, **options)

    @app.post("/login")
    @limiter.limit(limit)
    def login() -> str:
        return "welcome"

    return app.test_client()


def codes(client: FlaskClient, path: str, number: int, **options: Any) -> list[int]:
    return [client.open(path, **options).status_code for _ in range(number)]


def numbers(response: TestResponse) -> tuple[int, int, int, int]:
    """The limit, what remains, and the seconds until the reset and the next attempt."""
    reset = int(response.headers["X-RateLimit-Reset"]) - time.time()
    return (
        int(response.headers["X-RateLimit-Limit"]),
        int(response.headers["X-RateLimit-Remaining"]),
        round(reset),
        int(response.headers["Retry-After"]),
    )


@pytest.fixture
def uri(server: Server) -> str:
    return rl(server.url)


# What a request costs, and what it is told


@pytest.mark.parametrize("strategy", [None, *NAMES])
def test_a_request_is_one_command_with_its_headers(strategy: str | None, uri: str, server: Server) -> None:
    client = login_app(uri, strategy=strategy)
    commands = Commands(server)
    for status, remaining in ((200, 2), (200, 1), (200, 0), (429, 0), (429, 0)):
        response = client.post("/login")
        assert commands.taken() == {"RL.GCRA" if strategy == "rl-gcra" else "RL.CHECK": 1}
        assert response.status_code == status
        limit, left, reset, retry_after = numbers(response)
        assert (limit, left) == (3, remaining)
        # If GCRA has denied, a third of the window is enough.
        expected = range(1200, 3630, 1200) if strategy == "rl-gcra" else [3600]
        assert any(-30 <= reset - seconds <= 2 and -30 <= retry_after - seconds <= 1 for seconds in expected)


def test_each_of_several_limits_is_one_command(uri: str, server: Server) -> None:
    app, limiter = make_app(
        uri, default_limits=["5 per hour", "20 per day"], application_limits=["100 per day"], strategy="moving-window"
    )

    @app.get("/")
    def index() -> str:
        return "hello"

    @app.get("/search")
    @limiter.limit("2 per minute")
    @limiter.limit("3 per hour")
    def search() -> str:
        return "found"

    client = app.test_client()
    commands = Commands(server)
    assert numbers(client.get("/"))[:2] == (5, 4)
    assert commands.taken() == {"RL.CHECK": 3}
    # The headers are about the shortest window, or about that which has denied.
    assert [numbers(client.get("/search"))[:2] for _ in range(3)] == [(2, 1), (2, 0), (2, 0)]
    # The denial was the last command of its request: limits are asked in order, the application's first.
    assert commands.taken() == {"RL.CHECK": 8}
    assert codes(client, "/", 5) == [200, 200, 200, 200, 429]


@pytest.mark.parametrize("strategy", [None, *NAMES])
def test_what_can_never_pass_is_told_to_wait_for_a_window(strategy: str | None, uri: str) -> None:
    app, limiter = make_app(uri, strategy=strategy)

    @app.get("/cost")
    @limiter.limit("10 per minute", cost=11)
    def cost() -> str:
        return "hello"

    @app.get("/deducted")
    @limiter.limit("10 per minute", cost=11, deduct_when=lambda response: True)
    def deducted() -> str:
        return "hello"

    @app.get("/nothing")
    @limiter.limit("0 per minute")
    def nothing() -> str:
        return "hello"

    client = app.test_client()
    # Strategies of limits do not tell a storage what a test has cost. So the headers of "/deducted" are those of a
    # limit of which nothing is in use.
    of_theirs = strategy is None or (strategy in THEIRS and strategy != "moving-window")
    for path in ("/cost", "/nothing") if of_theirs else ("/cost", "/deducted", "/nothing"):
        for _ in range(2):
            response = client.get(path)
            assert response.status_code == 429
            assert 60 <= int(response.headers["Retry-After"]) <= 62


@pytest.mark.parametrize("strategy", [None, *NAMES])
def test_a_cost_of_nothing_always_passes_and_takes_nothing(strategy: str | None, uri: str) -> None:
    app, limiter = make_app(uri, strategy=strategy)

    def cost() -> int:
        return int(flask.request.args["cost"])

    @app.get("/hit")
    @limiter.limit("2 per hour", cost=cost)
    def hit() -> str:
        return "hello"

    @app.get("/deducted")
    @limiter.limit("2 per hour", cost=cost, deduct_when=lambda response: True)
    def deducted() -> str:
        return "hello"

    client = app.test_client()
    for path in ("/hit", "/deducted"):
        assert codes(client, f"{path}?cost=0", 3) == [200] * 3
        assert codes(client, f"{path}?cost=1", 3) == [200, 200, 429]
        assert codes(client, f"{path}?cost=0", 3) == [200] * 3


def test_who_waits_as_told_is_let_in(uri: str) -> None:
    client = login_app(uri, "2 per 3 second")
    for _ in range(2):
        while client.post("/login").status_code == 200:
            pass
        response = client.post("/login")
        if response.status_code == 200:
            continue
        time.sleep(int(response.headers["Retry-After"]))
        assert client.post("/login").status_code == 200


def test_headers_of_a_date(uri: str) -> None:
    client = login_app(uri, retry_after="http-date")
    assert "GMT" in client.post("/login").headers["Retry-After"]


def test_without_headers(uri: str, server: Server) -> None:
    client = login_app(uri, headers_enabled=False)
    commands = Commands(server)
    response = client.post("/login")
    assert "X-RateLimit-Limit" not in response.headers
    assert commands.taken() == {"RL.CHECK": 1}


# Everything that decorators can say


def test_the_uri_from_the_configuration(uri: str, server: Server) -> None:
    app = flask.Flask("shop")
    app.config.update(RATELIMIT_STORAGE_URI=uri, RATELIMIT_DEFAULT="2/hour", RATELIMIT_STORAGE_OPTIONS=OPTIONS)
    limiter = Limiter(get_remote_address)
    limiter.init_app(app)
    app.add_url_rule("/", view_func=lambda: "hello")
    assert codes(app.test_client(), "/", 3) == [200, 200, 429]
    assert server.admin.keys("rl:limits:LIMITER/127.0.0.1/*/2/1/hour")


def test_shared_limits_costs_exemptions_and_conditions(uri: str) -> None:
    app, limiter = make_app(uri, default_limits=["3/hour"])
    shared = limiter.shared_limit("4/hour", scope="mail")

    @app.get("/send")
    @shared
    def send() -> str:
        return "sent"

    @app.get("/forward")
    @shared
    def forward() -> str:
        return "forwarded"

    @app.get("/export")
    @limiter.limit("10/hour", cost=lambda: int(flask.request.args["rows"]))
    def export() -> str:
        return "rows"

    @app.get("/health")
    @limiter.exempt
    def health() -> str:
        return "fine"

    @app.get("/members")
    @limiter.limit("1/hour", exempt_when=lambda: flask.request.args.get("vip") == "yes")
    def members() -> str:
        return "members"

    @app.route("/methods", methods=["GET", "POST"])
    @limiter.limit("1/hour", per_method=True)
    def methods() -> str:
        return "methods"

    @app.get("/user/<name>")
    @limiter.limit("1/hour", key_func=lambda: flask.request.view_args["name"])
    def user(name: str) -> str:
        return name

    client = app.test_client()
    assert codes(client, "/send", 3) + codes(client, "/forward", 2) == [200, 200, 200, 200, 429]
    assert codes(client, "/export?rows=7", 2) == [200, 429]
    assert codes(client, "/export?rows=3", 2) == [200, 429]
    assert codes(client, "/export?rows=11", 1) == [429]
    assert codes(client, "/health", 10) == [200] * 10
    assert codes(client, "/members?vip=yes", 3) == [200] * 3
    assert codes(client, "/members", 2) == [200, 429]
    assert codes(client, "/methods", 2) + codes(client, "/methods", 2, method="POST") == [200, 429, 200, 429]
    assert [codes(client, f"/user/{name}", 2) for name in ("ann", "bob", "a:{b}%25\u00e4")] == [[200, 429]] * 3


def test_what_is_deducted_when_the_response_is_known(uri: str, server: Server) -> None:
    app, limiter = make_app(uri)

    @app.post("/login")
    @limiter.limit("2/hour", deduct_when=lambda response: response.status_code == 401)
    def login() -> tuple[str, int]:
        return "", 200 if flask.request.args["password"] == "right" else 401

    client = app.test_client()
    assert codes(client, "/login?password=right", 5, method="POST") == [200] * 5
    assert codes(client, "/login?password=wrong", 3, method="POST") == [401, 401, 429]
    assert codes(client, "/login?password=right", 1, method="POST") == [429]
    limiter.reset()
    commands = Commands(server)
    response = client.post("/login?password=wrong")
    # The headers tell about the deduction, which is the last that has happened.
    assert numbers(response)[:2] == (2, 1)
    assert commands.taken() == {"RL.PEEK": 1, "RL.CHECK": 1}
    assert numbers(client.post("/login?password=right"))[:2] == (2, 1)
    assert commands.taken() == {"RL.PEEK": 1}


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("strategy", NAMES)
def test_another_worker_is_heard_before_a_condition_is_checked(strategy: str, headers: bool, uri: str) -> None:
    def worker() -> FlaskClient:
        app, limiter = make_app(uri, strategy=strategy, headers_enabled=headers)
        limit = limiter.limit("2/hour", deduct_when=lambda response: True)
        app.add_url_rule("/", view_func=limit(lambda: "hello"), endpoint="index")
        return app.test_client()

    first, second = worker(), worker()
    assert first.get("/").status_code == 200
    assert second.get("/").status_code == 200
    assert first.get("/").status_code == 429


def test_limits_on_limits(uri: str) -> None:
    app, limiter = make_app(uri, meta_limits=["2/hour"])

    @app.get("/")
    @limiter.limit("1/day")
    def index() -> str:
        return "hello"

    @app.get("/other")
    @limiter.limit("9/day")
    def other() -> str:
        return "hello"

    @app.get("/free")
    @limiter.limit("9/day")
    @limiter.exempt(flags=ExemptionScope.META)
    def free() -> str:
        return "hello"

    client = app.test_client()
    assert codes(client, "/", 3) == [200, 429, 429]
    # Who was denied twice is denied everything.
    response = client.get("/other")
    assert response.status_code == 429
    assert numbers(response)[:2] == (2, 0)
    assert client.get("/free").status_code == 200


def test_a_response_of_ones_own_to_a_breach(uri: str, server: Server) -> None:
    def breached(limit: Any) -> flask.Response:
        seconds = limit.reset_at - int(time.time())
        return flask.make_response({"again_in": seconds, "left": limit.remaining}, 429)

    client = login_app(uri, "1/hour", on_breach=breached)
    assert client.post("/login").status_code == 200
    commands = Commands(server)
    response = client.post("/login")
    assert response.get_json() == {"again_in": pytest.approx(3600, abs=30), "left": 0}
    assert commands.taken() == {"RL.CHECK": 1}


def test_a_limit_on_a_part_of_a_view(uri: str) -> None:
    app, limiter = make_app(uri)

    @app.get("/")
    def index() -> str:
        with limiter.limit("2/hour"):
            return "hello"

    client = app.test_client()
    assert codes(client, "/", 3) == [200, 200, 429]


def test_an_error_handler_sees_the_breach(uri: str) -> None:
    app, limiter = make_app(uri)
    app.add_url_rule("/", view_func=limiter.limit("1/hour")(lambda: "hello"), endpoint="index")

    @app.errorhandler(RateLimitExceeded)
    def slow_down(error: RateLimitExceeded) -> tuple[str, int]:
        return f"slow down: {error.description}", 429

    client = app.test_client()
    client.get("/")
    assert client.get("/").get_data(as_text=True) == "slow down: 1 per 1 hour"


def test_resets(uri: str, server: Server) -> None:
    app, limiter = make_app(uri)
    app.add_url_rule("/", view_func=limiter.limit("1/hour")(lambda: "hello"), endpoint="index")
    client = app.test_client()
    assert codes(client, "/", 2) == [200, 429]
    limiter.reset()
    assert codes(client, "/", 2) == [200, 429]
    limiter.limiter.clear(limits.parse("1/hour"), "127.0.0.1", "index")
    assert codes(client, "/", 2) == [200, 429]
    limiter.storage.clear(limits.parse("1/hour").key_for("127.0.0.1", "index"))
    assert codes(client, "/", 2) == [200, 429]


def test_keys_and_prefixes(uri: str, server: Server) -> None:
    login_app(uri).post("/login")
    login_app(uri, key_prefix="shop").post("/login")
    login_app(uri, storage_options={**OPTIONS, "key_prefix": "rl:other"}).post("/login")
    assert set(server.admin.scan_iter()) == {
        "rl:limits:LIMITER/127.0.0.1/login/3/1/hour",
        "rl:limits:LIMITER/shop/127.0.0.1/login/3/1/hour",
        "rl:other:LIMITER/127.0.0.1/login/3/1/hour",
    }


def test_with_the_rights_to_limit_and_no_others(start: Callable[..., Any]) -> None:
    server = start(Server, password="admin", user=RATE_LIMIT_ONLY)
    client = login_app(rl(server.user_url), in_memory_fallback_enabled=True)
    assert codes(client, "/login", 4, method="POST") == [200, 200, 200, 429]
    assert server.admin.dbsize() == 1


def test_in_a_cluster(cluster: Cluster) -> None:
    client = login_app(rl(cluster.url()), "2/hour", key_prefix="shop")
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"):
        remote = {"environ_base": {"REMOTE_ADDR": address}, "method": "POST"}
        assert codes(client, "/login", 3, **remote) == [200, 200, 429]


# When there is no decision

FAILURES = [killed, loading, demoted, failed_snapshot, password_wanted]


@pytest.fixture(params=FAILURES, ids=lambda failure: failure.__name__)
def failing(request: pytest.FixtureRequest, start: Callable[..., Any]) -> tuple[Server, Any]:
    return start(Server), request.param


def test_an_error_is_an_error_unless_something_else_was_asked_for(failing: Any) -> None:
    server, fails = failing
    client = login_app(rl(server.url))
    assert client.post("/login").status_code == 200
    with fails(server):
        assert client.post("/login").status_code == 500
    assert eventually(lambda: client.post("/login").status_code == 200)


def test_errors_are_swallowed(failing: Any) -> None:
    server, fails = failing
    client = login_app(rl(server.url), swallow_errors=True)
    with fails(server):
        assert codes(client, "/login", 5, method="POST") == [200] * 5
    # Nothing was charged meanwhile.
    assert codes(client, "/login", 4, method="POST") == [200, 200, 200, 429]


@pytest.mark.parametrize("limit", ["99999999999/day", "1/20 year"])
@pytest.mark.parametrize("options", [{}, {"swallow_errors": True}, {"in_memory_fallback": ["1000/hour"]}], ids=str)
def test_a_limit_that_the_module_does_not_have_is_never_open(limit: str, options: dict[str, Any], uri: str) -> None:
    client = login_app(uri, limit, **options)
    assert codes(client, "/login", 3, method="POST") == [429] * 3
    response = client.post("/login")
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert int(response.headers["Retry-After"]) > 3600
    app, limiter = make_app(uri, **options)
    app.add_url_rule("/", view_func=limiter.limit(limit, deduct_when=lambda _: True)(lambda: "hello"), endpoint="index")
    assert codes(app.test_client(), "/", 2) == [429] * 2


@pytest.mark.parametrize("strategy", ["fixed-window", "rl-gcra"])
def test_the_fallback_to_memory_and_back(failing: Any, strategy: str) -> None:
    server, fails = failing
    client = login_app(rl(server.url), in_memory_fallback=["1/hour"], strategy=strategy)
    assert codes(client, "/login", 2, method="POST") == [200, 200]
    with fails(server):
        # Its own limit, in the memory of this process.
        assert codes(client, "/login", 3, method="POST") == [200, 429, 429]
    # Flask-Limiter looks after 1, 2, 4, … seconds whether the storage is there again. What was used before may be gone:
    # with the server, but for no other reason.
    response = eventually(lambda: back(client), seconds=60)
    assert int(response.headers["X-RateLimit-Limit"]) == 3


def back(client: FlaskClient) -> TestResponse | None:
    response = client.post("/login")
    return response if response.headers.get("X-RateLimit-Limit") == "3" else None


def without_module(start: Callable[..., Any]) -> Server:
    return start(Server, load_module=False)


def without_password(start: Callable[..., Any]) -> Server:
    server = start(Server)
    server.admin.config_set("requirepass", "secret")
    return server


def without_rights(start: Callable[..., Any]) -> Server:
    server = start(Server)
    server.run("ACL SETUSER default -rl.check -rl.peek -cl.throttle")
    return server


@pytest.mark.parametrize(
    ("server_without", "reason"),
    [(without_module, "lacks the redis-ratelimit module"), (without_password, "NOAUTH"), (without_rights, "NOPERM")],
)
@pytest.mark.parametrize("of_memory", [{"in_memory_fallback_enabled": True}, {"swallow_errors": True}])
def test_what_is_wrong_is_logged_once_though_nobody_sees_an_error(
    start: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    server_without: Callable[..., Server],
    reason: str,
    of_memory: dict[str, bool],
) -> None:
    server = server_without(start)
    app, limiter = make_app(rl(server.url), **of_memory)
    app.add_url_rule("/", view_func=limiter.limit("100000/hour")(lambda: "hello"), endpoint="index")
    client = app.test_client()
    # With a fallback, Flask-Limiter looks after a second whether the storage is there again.
    looks: list[bool] = []
    check = limiter.storage.check
    monkeypatch.setattr(limiter.storage, "check", lambda: looks.append(check()) or looks[-1])

    def asked_again() -> bool:
        assert codes(client, "/", 3) == [200] * 3
        return "swallow_errors" in of_memory or bool(looks)

    eventually(asked_again)
    assert codes(client, "/", 3) == [200] * 3
    assert not any(looks)
    ours = [record.getMessage() for record in caplog.records if record.name == "redis_ratelimit"]
    assert len(ours) == 1, ours
    assert reason in ours[0]


def test_the_fallback_with_the_same_limits(start: Callable[..., Any]) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    client = login_app(rl(server.user_url), in_memory_fallback_enabled=True)
    with password_changed(server):
        assert codes(client, "/login", 4, method="POST") == [200, 200, 200, 429]
    assert server.admin.dbsize() == 0
    assert eventually(lambda: client.post("/login").status_code == 200 and server.admin.keys("*/login/*"), seconds=60)


def test_a_server_that_does_not_answer_keeps_nobody_waiting(start: Callable[..., Any]) -> None:
    server = start(Server)
    client = login_app(rl(server.url), swallow_errors=True, storage_options={})
    client.post("/login")
    with paused(server):
        began = time.monotonic()
        assert client.post("/login").status_code == 200
        assert time.monotonic() - began < 10


def test_errors_that_an_application_handles(start: Callable[..., Any]) -> None:
    server = start(Server)
    app, limiter = make_app(rl(server.url))
    app.add_url_rule("/", view_func=limiter.limit("1/hour")(lambda: "hello"), endpoint="index")

    @app.errorhandler(RateLimitError)
    def later(error: RateLimitError) -> tuple[str, int]:
        return error.reason if isinstance(error, UnavailableError) else "", 503

    with killed(server):
        response = app.test_client().get("/")
        assert (response.status_code, response.get_data(as_text=True)) == (503, "CONNECTION")


# Observe mode


@pytest.mark.parametrize("strategy", [None, *NAMES])
@pytest.mark.parametrize("how", ["option", "URI"])
def test_in_observe_mode_nothing_is_refused(strategy: str | None, how: str, uri: str, server: Server) -> None:
    options = {**OPTIONS, "observe": True} if how == "option" else OPTIONS
    app, limiter = make_app(
        uri if how == "option" else f"{uri}?observe=yes", strategy=strategy, storage_options=options
    )

    @app.get("/")
    @limiter.limit("2 per hour")
    def index() -> str:
        return "welcome"

    @app.get("/deducted")
    @limiter.limit("1 per hour", deduct_when=lambda response: True)
    def deducted() -> str:
        return "welcome"

    client = app.test_client()
    commands = Commands(server)
    responses = [client.get("/") for _ in range(4)]
    assert [response.status_code for response in responses] == [200] * 4
    # The headers are of the same command as the hit.
    assert [numbers(response)[:2] for response in responses] == [(2, 1), (2, 0), (2, 0), (2, 0)]
    assert commands.taken() == {"RL.GCRA" if strategy == "rl-gcra" else "RL.CHECK": 4}
    assert codes(client, "/deducted", 3, method="GET") == [200] * 3
    assert limiter.storage.limiter.would_deny_total >= 4  # type: ignore[union-attr]


def test_in_observe_mode_requests_pass_while_the_server_is_away(start: Callable[..., Any]) -> None:
    server = start(Server)
    client = login_app(rl(server.url), storage_options={**OPTIONS, "observe": True})
    server.kill()
    assert codes(client, "/login", 5, method="POST") == [200] * 5
