"""Rate limits as dependencies of FastAPI. Needs Starlette only, if they are called instead of declared.

app = FastAPI(lifespan=lifespan("redis://localhost"))

@app.post("/login", dependencies=[Depends(RateLimit("5/minute"))])
async def login() -> str: ...
"""

# No deferred annotations: FastAPI reads them.

import functools
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute

from .aio import AsyncRateLimiter
from .asgi import binding_rate, client_address, decided, limiter_of, quota_name
from .decision import Decision
from .errors import ArgumentError
from .keys import client_ip
from .keys import key as build_key
from .multilevel import (
    AsyncMultiLevelLimiter,
    Level,
    LevelDecision,
    MultiLevelDecision,
    Value,
    http_headers,
    refuse_leases,
)
from .options import checked_observe
from .policy import Policy, checked
from .rates import Duration, Rate, RateLike, checked_burst, checked_windows, milliseconds, rates, units

__all__ = ["RateLimit", "RateLimits", "TooManyRequests", "by_ip", "lifespan"]

Key: TypeAlias = Callable[[HTTPConnection], Value | Awaitable[Value]]
Cost: TypeAlias = int | Callable[[HTTPConnection], int | Awaitable[int]]
"""What a request costs, or a function of the connection, asynchronous or not, that says it. 0: it is not limited."""

_logger = logging.getLogger("redis_ratelimit")
_LIMITS = "redis_ratelimit.limits"
# What a WebSocket is refused with before it is open: the server answers with 403.
_POLICY_VIOLATION = 1008
_CONNECTION = inspect.Parameter("connection", inspect.Parameter.KEYWORD_ONLY, annotation=HTTPConnection)
_RESPONSE = inspect.Parameter("response", inspect.Parameter.KEYWORD_ONLY, annotation=Response)


class TooManyRequests(HTTPException):
    """A request was refused: 429, or 503 if the policy ``closed`` refused it without the server's decision.

    Register an exception handler to answer in another way: `result` tells all.
    """

    def __init__(self, result: Decision | MultiLevelDecision, headers: dict[str, str]) -> None:
        super().__init__(503 if result.degraded else 429, headers=headers)
        self.result = result
        """The `Decision` of a `RateLimit`, the `MultiLevelDecision` of `RateLimits`."""


def lifespan(
    url: str, *, policy: Policy = "raise", **options: Any
) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, AsyncRateLimiter]]]:
    """Return a lifespan that holds the limiter of an application, and closes its connections in the end.

    ``FastAPI(lifespan=lifespan("redis://localhost"))``, or inside one of your own: ``async with lifespan(url)(app):``.
    It is ``app.state.rate_limiter``, and ``request.state.rate_limiter`` in applications mounted below. The arguments
    are those of `AsyncRateLimiter.from_url`. At start a warning is logged for each limit that several routes share only
    because they have one name.
    """

    @asynccontextmanager
    async def span(app: Starlette) -> AsyncIterator[dict[str, AsyncRateLimiter]]:
        for warning in shared_limits(app):
            _logger.warning("%s", warning)
        async with AsyncRateLimiter.from_url(url, policy=policy, **options) as limiter:
            app.state.rate_limiter = limiter
            yield {"rate_limiter": limiter}

    return span


def by_ip(*, trusted_proxies: int = 0, ipv6_prefix: int = 64) -> Callable[[HTTPConnection], str]:
    """Return a key that is the client's address: see `keys.client_ip`."""
    client_ip(None, trusted_proxies=trusted_proxies, ipv6_prefix=ipv6_prefix)

    def address(connection: HTTPConnection) -> str:
        return client_address(connection.scope, trusted_proxies=trusted_proxies, ipv6_prefix=ipv6_prefix)

    return address


class _Dependency:
    """What both dependencies share: a limiter, a policy, a cost, and how a decision becomes an answer."""

    def __init__(
        self, limiter: AsyncRateLimiter | None, policy: Policy | None, cost: Cost, observe: bool | None
    ) -> None:
        self._limiter = limiter
        self._policy = None if policy is None else checked(policy)
        self._observe = None if observe is None else checked_observe(observe)
        # Refuses bad settings now.
        self._cost = cost if callable(cost) or cost == 0 else units(cost, "cost")

    async def _cost_of(self, connection: HTTPConnection) -> int:
        if not callable(self._cost):
            return self._cost
        found = self._cost(connection)
        return await found if inspect.isawaitable(found) else found

    def _adjusted(self, limiter: AsyncRateLimiter) -> AsyncRateLimiter:
        if self._policy is not None:
            limiter = limiter.with_policy(self._policy)
        return limiter if self._observe is None else limiter.with_observe(self._observe)

    @staticmethod
    def _answer(connection: HTTPConnection, response: Response | None, result: Decision | MultiLevelDecision) -> None:
        if not result.allowed:
            if connection.scope["type"] == "websocket":
                raise WebSocketException(_POLICY_VIOLATION, "Too Many Requests")
            raise TooManyRequests(result, http_headers(decided(connection.scope)))
        if response is not None:
            response.headers.update(http_headers(decided(connection.scope)))


class RateLimit(_Dependency):
    """A limit, as a dependency of a route, a router or an application: ``Depends(RateLimit("5/minute"))``.

    It takes one or more rates, and asks one ``RL.CHECK`` for each request; with `burst`, one rate, and ``RL.GCRA``.
    `cost` and `block` are those of `RateLimiter.check`; the cost may be a function of the connection, asynchronous or
    not, and a request whose cost is 0 is not limited. A refused request is answered by `TooManyRequests`, a WebSocket
    by closing it before it opens (1008, which servers answer with 403).

    `key` says whom to count: by default the client's address (`by_ip`). It is a function of the connection,
    asynchronous or not, that returns a value, or None if the request is not limited. Or it is itself a dependency of
    FastAPI, whose result is the value: ``RateLimit("100/m", key=Depends(current_user_id))``.

    `scope` says what is counted together. By default that is the endpoint, by its qualified name, and several limits on
    one endpoint count for themselves; so a limit on a router is one for each of its endpoints. With a scope of its own,
    such as ``"api"``, everything with this scope is one. Functions made in a loop have the same name, and a router that
    is included twice has its endpoints twice: give them scopes. `lifespan` logs a warning.
    Keys are ``rl:<scope>:<value>``; `prefix` replaces their first part.

    `limiter` is by default the one in ``state.rate_limiter``, see `lifespan`. `policy` replaces its policy: ``raise``
    raises `UnavailableError`, for which the application may have an exception handler. `observe` replaces the
    limiter's: with True, nothing is refused.

    The dependency's value is the `Decision`; None for a request that is not limited. Headers are added to what FastAPI
    makes of the endpoint's return value, and to refusals. Add the `RateLimitMiddleware` to have them on responses that
    endpoints make themselves, and on errors: ``app.add_middleware(RateLimitMiddleware, limits={})``.

    In Starlette, call it: ``await limit(connection=request)``. The response is an argument, too.
    """

    def __init__(
        self,
        *given: RateLike,
        key: Key | Any = None,
        scope: str | None = None,
        cost: Cost = 1,
        burst: int | None = None,
        block: Duration | None = None,
        limiter: AsyncRateLimiter | None = None,
        policy: Policy | None = None,
        observe: bool | None = None,
        prefix: str = "rl",
    ) -> None:
        super().__init__(limiter, policy, cost, observe)
        self.rates: tuple[Rate, ...] = checked_windows(rates(given), "a RateLimit")
        # What the server would refuse, at each request, is refused now.
        if burst is not None:
            if len(self.rates) != 1:
                raise ArgumentError("a RateLimit with burst needs just one rate")
            checked_burst(self.rates[0], burst)
        if block is not None:
            milliseconds(block, "block")
        self._key = key
        self._scope = scope
        self._burst = burst
        self._block = block
        self._prefix = prefix
        parameters = [_CONNECTION, _RESPONSE]
        if key is None:
            self._key = by_ip()
        elif not callable(key):
            if not callable(getattr(key, "dependency", None)):
                raise ArgumentError("key must be a function of the connection, or Depends(...)")
            parameters.append(inspect.Parameter("value", inspect.Parameter.KEYWORD_ONLY, default=key))
        # What FastAPI asks for. A value that is no dependency must not become a parameter of the query.
        self.__signature__ = inspect.Signature(parameters)

    async def __call__(
        self, *, connection: HTTPConnection, response: Response | None = None, value: Value = None
    ) -> Decision | None:
        """Decide about a request, and raise if it is refused."""
        number = connection.scope[_LIMITS] = connection.scope.get(_LIMITS, 0) + 1
        if callable(self._key):
            found = self._key(connection)
            value = await found if inspect.isawaitable(found) else found
        cost = await self._cost_of(connection)
        if value is None or cost == 0:
            return None
        parts = [self._scope] if self._scope is not None else [_endpoint(connection), *([number] if number > 1 else [])]
        key = build_key(*parts, value, prefix=self._prefix)
        limiter = self._adjusted(self._limiter or limiter_of(connection.scope))
        if self._burst is None:
            decision = await limiter.check(key, *self.rates, cost=cost, block=self._block)
        else:
            decision = await limiter.gcra(key, self.rates[0], burst=self._burst, cost=cost, block=self._block)
        decided(connection.scope).append(
            LevelDecision(quota_name(":".join(map(str, parts))), binding_rate(self.rates, decision), key, decision)
        )
        self._answer(connection, response, decision)
        return decision


class RateLimits(_Dependency):
    """Limits of several levels, checked all or nothing in one ``RL.MCHECK``, as a dependency.

    ``Depends(RateLimits(Level("ip", "100/m", key=by_ip()), Level("user", "20/m", key=user_of), scope="search"))``: the
    keys of the levels are functions of the connection, asynchronous or not. `scope`, `shard`, `atomic` and `prefix` are
    those of `multilevel.AsyncMultiLevelLimiter`, and all else is as for `RateLimit`. The dependency's value is the
    `MultiLevelDecision`.
    """

    def __init__(
        self,
        *levels: Level,
        scope: str | None = None,
        cost: Cost = 1,
        shard: str | None = None,
        atomic: bool | None = None,
        limiter: AsyncRateLimiter | None = None,
        policy: Policy | None = None,
        observe: bool | None = None,
        prefix: str = "rl",
    ) -> None:
        super().__init__(limiter, policy, cost, observe)

        def levels_on(limiter: Any) -> AsyncMultiLevelLimiter:
            return AsyncMultiLevelLimiter(limiter, levels, scope=scope, shard=shard, atomic=atomic, prefix=prefix)

        self._scope = scope
        # Refuses now what does not go together, and what has to be given back.
        refuse_leases(levels)
        self.levels: tuple[Level, ...] = levels_on(None).levels
        self._levels_on = levels_on
        self._made: tuple[AsyncRateLimiter, AsyncMultiLevelLimiter] | None = None
        self.__signature__ = inspect.Signature([_CONNECTION, _RESPONSE])

    async def __call__(self, *, connection: HTTPConnection, response: Response | None = None) -> MultiLevelDecision:
        """Decide about a request, and raise if it is refused."""
        limiter = self._limiter or limiter_of(connection.scope)
        if self._made is None or self._made[0] is not limiter:
            self._made = (limiter, self._levels_on(self._adjusted(limiter)))
        result = await self._made[1].check(connection, cost=await self._cost_of(connection))
        decided(connection.scope).extend(result.rows)
        self._answer(connection, response, result)
        return result


def _endpoint(connection: HTTPConnection) -> str:
    """Return the qualified name of what answers the request."""
    name = _qualified_name(connection.scope.get("endpoint"))
    if name is None:
        raise ArgumentError("a RateLimit that is not called for an endpoint needs a scope")
    return name


def _qualified_name(endpoint: Any) -> str | None:
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    name = getattr(endpoint, "__qualname__", None)
    return None if name is None else f"{endpoint.__module__}.{name}"


def shared_limits(app: Any) -> list[str]:
    """Say which limits without a scope several routes share, because their names are equal.

    As when a router is included twice, when functions are made in a loop, or with two `RateLimits` that have a level of
    one name.
    """
    paths: dict[str, set[str]] = {}
    levels: dict[str, set[RateLimits]] = {}
    for path, endpoint, calls in _limited_routes(app, ""):
        for call in calls:
            if isinstance(call, RateLimit) and call._scope is None:
                paths.setdefault(_qualified_name(endpoint) or "", set()).add(path)
            elif isinstance(call, RateLimits) and call._scope is None:
                for level in call.levels:
                    levels.setdefault(level.name, set()).add(call)
    return [
        f"the limits of {name} at {', '.join(sorted(found))} count together, since they have one name: "
        "give each a RateLimit with a scope of its own, or one scope to all"
        for name, found in paths.items()
        if len(found) > 1
    ] + [
        f"{len(found)} RateLimits have a level {name!r} and no scope, so they count together: give them scopes"
        for name, found in levels.items()
        if len(found) > 1
    ]


def _limited_routes(app: Any, prefix: str) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield the path, the endpoint and the dependencies of each route of FastAPI, also in mounted applications."""
    routes = getattr(app, "routes", None) or ()
    try:
        # In newer releases, included routers are routes.
        from fastapi.routing import iter_route_contexts
    except ImportError:
        pass
    else:
        routes = iter_route_contexts(routes)
    for route in routes:
        path = prefix + (getattr(route, "path", None) or "")
        dependant = getattr(route, "dependant", None)
        if dependant is not None:
            yield path, route.endpoint, _calls(dependant)
        below = getattr(route, "original_route", route)
        if isinstance(below, BaseRoute) and getattr(below, "routes", None):
            yield from _limited_routes(below, path)


def _calls(dependant: Any) -> list[Any]:
    return [call for each in dependant.dependencies for call in (each.call, *_calls(each))]
