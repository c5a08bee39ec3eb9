"""Rate limits in front of an ASGI application, whatever it is written with. Needs no framework.

app = RateLimitMiddleware(app, {"POST /login": "5/m", "/api/*": "100/m; 2000/h"}, limiter="redis://localhost")
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from .aio import AsyncRateLimiter
from .decision import Decision
from .errors import ArgumentError, ConfigurationError
from .keys import UNKNOWN, client_ip
from .keys import key as build_key
from .multilevel import LevelDecision, Value, http_headers
from .options import checked_observe
from .policy import Policy, checked
from .rates import Rate, RateLike, checked_windows, rates

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Rates: TypeAlias = RateLike | Iterable[RateLike]

_DECIDED = "redis_ratelimit.decided"
_PREFLIGHT = frozenset({b"origin", b"access-control-request-method"})

# The middlewares of this process by what their keys begin with.
_middlewares: WeakValueDictionary[tuple[str, str, str], RateLimitMiddleware] = WeakValueDictionary()
_logger = logging.getLogger("redis_ratelimit")


def client_address(scope: Scope, *, trusted_proxies: int = 0, ipv6_prefix: int = 64) -> str:
    """Return the address to limit a client by, from the scope of a connection: see `keys.client_ip`.

    A server that was told about proxies itself (``uvicorn --proxy-headers``) has put the client in place already, and
    needs no `trusted_proxies`.
    """
    peer = scope.get("client")
    forwarded = [
        value.decode("latin-1") for name, value in scope.get("headers", ()) if name.lower() == b"x-forwarded-for"
    ]
    address = client_ip(peer[0] if peer else None, forwarded, trusted_proxies=trusted_proxies, ipv6_prefix=ipv6_prefix)
    if address == UNKNOWN:
        _warn_of_unknown_addresses()
    return address


@functools.cache
def _warn_of_unknown_addresses() -> None:
    _logger.warning(
        "the server does not say where requests come from, as behind a proxy on a unix socket: all of them count as "
        "one client, unless trusted_proxies says how many proxies set X-Forwarded-For"
    )


def route_path(scope: Scope, root_path: str | None = None) -> str:
    """Return the path as the router of the application sees it: below what the application is mounted at.

    `root_path` replaces the one in the scope. The path includes it, as ASGI says. Old servers and frameworks leave it
    out; then the path does not begin with it, and is the one below already.

    >>> route_path({"path": "/v1/login", "root_path": "/v1"}), route_path({"path": "/login", "root_path": "/v1"})
    ('/login', '/login')
    """
    path = str(scope["path"])
    root = scope.get("root_path", "") if root_path is None else root_path
    below = path.removeprefix(root)
    # A path cannot be empty in a pattern, so the mount itself is its root. "/v10" is not below "/v1".
    return path if below and not below.startswith("/") else below or "/"


def is_preflight(scope: Scope) -> bool:
    """Whether this is a browser's question of CORS before the request itself, which it sends by itself."""
    if scope["method"] != "OPTIONS":
        return False
    return _PREFLIGHT.issubset(bytes(name).lower() for name, _ in scope.get("headers", ()))


def decided(scope: Scope) -> list[LevelDecision]:
    """Return what has been decided about a request so far, by this middleware and by dependencies, in order."""
    found: list[LevelDecision] = scope.setdefault(_DECIDED, [])
    return found


def limiter_of(scope: Scope) -> AsyncRateLimiter:
    """Return the limiter that the application's lifespan has put into ``state.rate_limiter``."""
    candidates = [scope.get("state") or {}, getattr(getattr(scope.get("app"), "state", None), "_state", {})]
    for state in candidates:
        found = state.get("rate_limiter")
        if isinstance(found, AsyncRateLimiter):
            return found
    raise ConfigurationError(
        "no AsyncRateLimiter: give one as limiter=, or put it into state.rate_limiter in the application's lifespan "
        "(redis_ratelimit.fastapi.lifespan does)"
    )


def binding_rate(found: tuple[Rate, ...], decision: Decision) -> Rate:
    """Return the rate that a decision over several is about: the longest of those with its limit."""
    of_limit = [rate for rate in found if rate.limit == decision.limit] or found
    return max(of_limit, key=lambda rate: rate.window_ms)


def quota_name(text: str) -> str:
    """Return the text as the name of a quota in headers, which are printable ASCII."""
    return text if text.isascii() and text.isprintable() else re.sub("[^ -~]", "?", text)


class Pattern:
    """Which requests a limit is for: a path in which ``*`` stands for anything, and before it perhaps methods.

    >>> Pattern("GET,PUT /users/*").fits("PUT", "/users/7/name")
    True

    ``GET`` includes ``HEAD``. The path is compared as it is, decoded, with upper and lower case and the slash at the
    end. It is the path in the application, without the one that it is mounted at. Raises `ArgumentError` for text that
    is no pattern.
    """

    __slots__ = ("_methods", "_pieces", "text")

    def __init__(self, text: str) -> None:
        match = re.fullmatch(r"(?:(?P<methods>[A-Z]+(?:,[A-Z]+)*) )?(?P<path>[/*].*)", text, re.DOTALL)
        if match is None:
            raise ArgumentError(f"not a pattern: {text!r:.80}. Write '/login', '/api/*', '*' or 'POST /login'")
        self.text = text
        self._methods = set(match["methods"].split(",")) if match["methods"] else None
        if self._methods and "GET" in self._methods:
            self._methods.add("HEAD")
        self._pieces = match["path"].split("*")

    def fits(self, method: str, path: str) -> bool:
        """Whether a request is meant."""
        return (self._methods is None or method in self._methods) and self._fits_path(path)

    def names(self, method: str) -> bool:
        """Whether the pattern is for certain methods, and this is one of them."""
        return self._methods is not None and method in self._methods

    def _fits_path(self, path: str) -> bool:
        # Not by a regular expression: a long path could make it slow.
        first, *between = self._pieces
        if not between:
            return path == first
        *between, last = between
        position, end = len(first), len(path) - len(last)
        if end < position or not path.startswith(first) or not path.endswith(last):
            return False
        for piece in between:
            found = path.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True


class RateLimitMiddleware:
    """Limits requests before they reach the application, and adds the headers to every response.

    `limits` maps patterns to rates, see `Pattern`; the first that fits a request counts, and is one ``RL.CHECK``. One
    or more rates alone are for all paths. What fits `exempt`, or nothing, is not limited. Neither is a CORS preflight,
    which browsers send by themselves, unless the pattern names its method: ``OPTIONS *``.

    Patterns are for the paths that the application's router sees. Below ``Mount("/v1", ...)``, with ``uvicorn
    --root-path /v1`` and with ``FastAPI(root_path="/v1")``, a request for ``/v1/login`` is one for ``/login``.

    Requests are counted by client address: `trusted_proxies` and `ipv6_prefix` are those of `keys.client_ip`. `key` is
    a function of the scope, asynchronous or not, that returns another value to count by, or None for a request that is
    not limited. Keys are ``rl:http:<pattern>:<value>``: `scope` is their second part, `prefix` their first. So two
    middlewares with an equal pattern count together, unless one gets another `scope`; a warning is logged.

    `limiter` is an `AsyncRateLimiter`; or a URL, of which one is made that is closed when the application shuts down;
    or None for the one in ``state.rate_limiter``. `policy` replaces its policy. ``open`` lets requests pass, ``closed``
    answers with 503, and ``raise`` raises `UnavailableError`, which the server answers with 500. `observe` replaces the
    limiter's: with True, nothing is refused, see `RateLimiter`.

    `response` makes the answer to a refused request: a function of the scope and the `Decision`, asynchronous or not,
    that returns an ASGI application, such as a ``Response`` of Starlette. By default it is 429 (503 when the policy
    refused), as plain text.

    Only HTTP is limited. Lifespan and WebSocket connections pass through untouched: an opened WebSocket is no request
    that could be answered with 429. `redis_ratelimit.fastapi.RateLimit` limits the opening of one. Responses are passed
    on as they are sent, message by message; only their start gets headers, except those that the application has set
    itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Mapping[str, Rates] | Rates,
        *,
        limiter: AsyncRateLimiter | str | None = None,
        exempt: Iterable[str] = (),
        key: Callable[[Scope], Value | Awaitable[Value]] | None = None,
        trusted_proxies: int = 0,
        ipv6_prefix: int = 64,
        policy: Policy | None = None,
        observe: bool | None = None,
        response: Callable[[Scope, Decision], ASGIApp | Awaitable[ASGIApp]] | None = None,
        scope: str = "http",
        prefix: str = "rl",
    ) -> None:
        self.app = app
        by_pattern = limits if isinstance(limits, Mapping) else {"*": limits}
        self._limits = [(Pattern(text), _rates(given)) for text, given in by_pattern.items()]
        self._root_path = _root_path_of(app)
        self._warned: set[Pattern] = set()
        self._exempt = [Pattern(text) for text in ([exempt] if isinstance(exempt, str) else exempt)]
        # Refuses bad settings now.
        client_ip(None, trusted_proxies=trusted_proxies, ipv6_prefix=ipv6_prefix)
        self._policy = None if policy is None else checked(policy)
        self._observe = None if observe is None else checked_observe(observe)
        self._owned = AsyncRateLimiter.from_url(limiter) if isinstance(limiter, str) else None
        self._limiter = self._owned if isinstance(limiter, str) else limiter
        self._trusted_proxies = trusted_proxies
        self._ipv6_prefix = ipv6_prefix
        self._key = key
        self._response = response
        self._scope = scope
        self._prefix = prefix
        self._warn_of_shared_limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a connection, as ASGI has it."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan" and self._owned is not None:
            await self.app(scope, receive, self._closing(self._owned, send))
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = _adding_headers(decided(scope), send)
        decision = await self._decide(scope)
        if decision is None or decision.allowed:
            await self.app(scope, receive, send)
            return
        if self._response is None:
            await _refuse(decision, send)
            return
        answer = self._response(scope, decision)
        app = await answer if inspect.isawaitable(answer) else answer
        await app(scope, receive, send)

    async def _decide(self, scope: Scope) -> Decision | None:
        fitting = self._fitting(scope)
        if fitting is None:
            return None
        pattern, found = fitting
        value: Any
        if self._key is None:
            value = client_address(scope, trusted_proxies=self._trusted_proxies, ipv6_prefix=self._ipv6_prefix)
        else:
            value = self._key(scope)
            if inspect.isawaitable(value):
                value = await value
            if value is None:
                return None
        limiter = self._limiter or limiter_of(scope)
        if self._policy is not None:
            limiter = limiter.with_policy(self._policy)
        if self._observe is not None:
            limiter = limiter.with_observe(self._observe)
        key = build_key(self._scope, pattern.text, value, prefix=self._prefix)
        decision = await limiter.check(key, *found)
        decided(scope).append(LevelDecision(quota_name(pattern.text), binding_rate(found, decision), key, decision))
        return decision

    def _fitting(self, scope: Scope) -> tuple[Pattern, tuple[Rate, ...]] | None:
        """Return the limit of a request, if there is one."""
        method, path = scope["method"], route_path(scope, self._root_path)
        if any(pattern.fits(method, path) for pattern in self._exempt):
            return None
        preflight = is_preflight(scope)
        for pattern, found in self._limits:
            if pattern.fits(method, path) and (not preflight or pattern.names(method)):
                return pattern, found
        self._warn_of_whole_paths(method, scope["path"], path)
        return None

    def _warn_of_shared_limits(self) -> None:
        for pattern, _ in self._limits:
            name = (self._prefix, self._scope, pattern.text)
            if _middlewares.setdefault(name, self) is not self:
                _logger.warning(
                    "two RateLimitMiddlewares have a limit for %r in scope %r: they count together, "
                    "unless one gets another scope=",
                    pattern.text,
                    self._scope,
                )

    def _warn_of_whole_paths(self, method: str, whole: str, path: str) -> None:
        """Say it once if a pattern would fit the path with the one that the application is mounted at before it."""
        if whole == path:
            return
        for pattern, _ in self._limits:
            if pattern.fits(method, whole) and pattern not in self._warned:
                self._warned.add(pattern)
                mount = whole.removesuffix(path)
                _logger.warning(
                    "the limit for %r does not count: the application is mounted at %r, and patterns are for the "
                    "paths below that, such as %r",
                    pattern.text,
                    mount,
                    path,
                )

    def _closing(self, limiter: AsyncRateLimiter, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await limiter.aclose()
            await send(message)

        return sending


def _root_path_of(app: Any) -> str | None:
    """Return the root path that an application of FastAPI puts in place of the server's, if it has one."""
    # Through other middlewares. Not for ever, whatever they are.
    for _ in range(100):
        found = getattr(app, "root_path", None)
        if isinstance(found, str) and found:
            return found
        app = getattr(app, "app", None)
    return None


def _rates(given: Rates) -> tuple[Rate, ...]:
    # A pair such as (5, "1m") is one rate.
    one = isinstance(given, (str, Rate)) or (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], int))
    found = rates([given] if one else given)  # type: ignore[list-item, arg-type]
    return checked_windows(found, "a pattern")


def _adding_headers(rows: list[LevelDecision], send: Send) -> Send:
    """Return `send` with what is decided by the time that the response starts, as headers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {bytes(name).lower() for name, _ in given}
            ours = ((name.lower().encode(), value.encode()) for name, value in http_headers(rows).items())
            message = {**message, "headers": [*given, *(pair for pair in ours if pair[0] not in names)]}
        await send(message)

    return sending


async def _refuse(decision: Decision, send: Send) -> None:
    status, text = (503, b"Service Unavailable\n") if decision.degraded else (429, b"Too Many Requests\n")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
