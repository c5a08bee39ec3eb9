"""Whole requests to small applications, from the server's call of the application to its answer."""

from __future__ import annotations

import io
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import django
import flask
import flask_limiter
import flask_limiter.util
import slowapi
import slowapi.errors
import slowapi.util
from django.conf import settings
from fastapi import Depends, FastAPI, Request, Response
from werkzeug.test import EnvironBuilder

import redis_ratelimit.limits  # noqa: F401 (registers its storages)
from redis_ratelimit import AsyncRateLimiter
from redis_ratelimit.fastapi import RateLimit

from .rows import CLIENTS, DENIED, MANY, Call, Row, in_turn

RATE = f"{MANY}/day"
SITES = ("unlimited", "today", "ours")


def rows(port: int) -> Iterator[Row]:
    address = f"127.0.0.1:{port}"
    yield from _flask(address)
    yield from _django(address)
    yield from _fastapi(address)


def _flask(address: str) -> Iterator[Row]:
    for strategy in ("fixed-window", "moving-window"):
        granted, denied = [], []
        for site in SITES:
            application = flask.Flask(site)
            limiter = flask_limiter.Limiter(
                flask_limiter.util.get_remote_address,
                app=None if site == "unlimited" else application,
                storage_uri=f"{'rl' if site == 'ours' else 'redis'}://{address}",
                storage_options={"timeout": 20} if site == "ours" else {},
                strategy=strategy,
                headers_enabled=True,
                key_prefix=strategy,
            )
            for path, rate in (("/", RATE), ("/one", "1/day")):
                view = _named(path)
                application.add_url_rule(path, path, view if site == "unlimited" else limiter.limit(rate)(view))
            granted.append(_wsgi_clients(application, "/"))
            denied.append(_wsgi(application, "/one"))
        yield _row("views", f"Flask, Flask-Limiter, {strategy}, headers: granted", 200, granted)
        yield _row("views", f"Flask, Flask-Limiter, {strategy}, headers: denied", 429, denied)


def _named(name: str) -> Callable[[], str]:
    """Return a view of its own. Flask-Limiter knows them by their names."""

    def view() -> str:
        return "welcome"

    view.__qualname__ = view.__name__ = name
    return view


def _django(address: str) -> Iterator[Row]:
    settings.configure(
        SECRET_KEY="benchmarks",
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["rest_framework"],
        # As django-ratelimit needs it.
        CACHES={
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": f"redis://{address}/0",
                "OPTIONS": {"SOCKET_TIMEOUT": 20},
            }
        },
        # A denied request is answered with 403, and that is a warning.
        LOGGING_CONFIG=None,
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
    )
    django.setup()
    logging.getLogger("django.request").setLevel(logging.CRITICAL)
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.urls import path
    from django_ratelimit.decorators import ratelimit as their_ratelimit
    from rest_framework import throttling
    from rest_framework.decorators import api_view, throttle_classes
    from rest_framework.response import Response as ApiResponse

    from redis_ratelimit import drf
    from redis_ratelimit.django import ratelimit as our_ratelimit

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("welcome")

    def api(throttles: Sequence[type], rate: str) -> Callable[..., Any]:
        @api_view(["GET"])
        @throttle_classes([type("Throttle", (base,), {"rate": rate, "scope": rate}) for base in throttles])
        def view(request: Any) -> ApiResponse:
            return ApiResponse("welcome")

        return view

    for site, decorator, throttles in (
        ("unlimited", None, []),
        ("today", their_ratelimit, [throttling.AnonRateThrottle]),
        ("ours", our_ratelimit, [drf.AnonRateThrottle]),
    ):
        for name, limit in (("many", f"{MANY}/300d"), ("one", "1/300d")):
            limited = decorator(key="ip", rate=limit, group=name)(view) if decorator else view
            urlpatterns.append(path(f"{site}/{name}", limited))
        for name, limit in (("many", RATE), ("one", "1/day")):
            urlpatterns.append(path(f"{site}/api/{name}", api(throttles, limit)))

    application = WSGIHandler()
    for path_, name, refused in (
        ("", "Django, django-ratelimit", 403),
        ("/api", "REST framework, `AnonRateThrottle`", 429),
    ):
        granted = [_wsgi_clients(application, f"/{site}{path_}/many") for site in SITES]
        denied = [_wsgi(application, f"/{site}{path_}/one") for site in SITES]
        yield _row("views", f"{name}: granted", 200, granted)
        yield _row("views", f"{name}: denied", refused, denied)


urlpatterns: list[Any] = []
"""Of Django."""


def _fastapi(address: str) -> Iterator[Row]:
    application = FastAPI()
    theirs = slowapi.Limiter(
        slowapi.util.get_remote_address, storage_uri=f"redis://{address}", headers_enabled=True, key_style="endpoint"
    )
    application.state.limiter = theirs
    application.add_exception_handler(slowapi.errors.RateLimitExceeded, slowapi._rate_limit_exceeded_handler)
    application.state.rate_limiter = AsyncRateLimiter.from_url(f"redis://{address}", timeout=20)

    @application.get("/unlimited/many")
    @application.get("/unlimited/one")
    async def unlimited(request: Request, response: Response) -> str:
        return "welcome"

    @application.get("/today/many")
    @theirs.limit(RATE)
    async def today(request: Request, response: Response) -> str:
        return "welcome"

    @application.get("/today/one")
    @theirs.limit("1/day")
    async def today_one(request: Request, response: Response) -> str:
        return "welcome"

    @application.get("/ours/many", dependencies=[Depends(RateLimit(RATE, scope="many"))])
    async def ours(request: Request, response: Response) -> str:
        return "welcome"

    @application.get("/ours/one", dependencies=[Depends(RateLimit("1/day", scope="one"))])
    async def ours_one(request: Request, response: Response) -> str:
        return "welcome"

    name = "FastAPI, slowapi / `RateLimit`"
    granted = [in_turn(_asgi(application, f"/{site}/many"), CLIENTS) for site in SITES]
    denied = [in_turn(_asgi(application, f"/{site}/one"), [DENIED]) for site in SITES]
    yield _row("views", f"{name}: granted", 200, granted)
    yield _row("views", f"{name}: denied", 429, denied)


def _row(table: str, name: str, answer: int, sites: list[Call]) -> Row:
    unlimited, today, ours = sites
    return Row(table, name, answer, today, ours, unlimited)


def _wsgi(application: Callable[..., Any], path: str, client: str = DENIED) -> Call:
    environ = EnvironBuilder(path, environ_overrides={"REMOTE_ADDR": client, "SERVER_NAME": "localhost"}).get_environ()

    def call() -> int:
        status: list[str] = []
        own = {**environ, "wsgi.input": io.BytesIO()}
        answer = application(own, lambda line, headers, error=None: status.append(line))
        b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return int(status[0][:3])

    return call


def _wsgi_clients(application: Callable[..., Any], path: str) -> Call:
    return in_turn(lambda call: call(), [_wsgi(application, path, client) for client in CLIENTS])


def _asgi(application: FastAPI, path: str) -> Callable[[str], Awaitable[int]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def call(client: str) -> int:
        status: list[int] = []

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": (client, 1),
            "server": ("localhost", 80),
        }
        await application(scope, receive, send)
        return status[0]

    return call
