"""The limits, declared once: each request has to pass all levels, or is charged on none."""

from __future__ import annotations

from fastapi import Request, Response
from starlette.requests import HTTPConnection

from redis_ratelimit import AsyncRateLimiter
from redis_ratelimit.fastapi import by_ip
from redis_ratelimit.multilevel import AsyncMultiLevelLimiter, Level, MultiLevelDecision

from .settings import Settings
from .users import user_of


def make_limits(limiter: AsyncRateLimiter, settings: Settings) -> AsyncMultiLevelLimiter:
    levels = [
        Level("ip", settings.per_ip, key=by_ip(trusted_proxies=settings.trusted_proxies)),
        # None, so no level at all, for those who have no token.
        Level("user", settings.per_user, key=user_of),
        # All callers together.
        Level("endpoint", settings.per_endpoint, key=endpoint_of),
    ]
    return AsyncMultiLevelLimiter(limiter, levels, scope="links", shard=settings.shard)


def endpoint_of(connection: HTTPConnection) -> str:
    return f"{connection.scope['method']} {connection.scope['route'].path}"


class RefusedError(Exception):
    """A level refused."""

    def __init__(self, result: MultiLevelDecision) -> None:
        super().__init__(f"refused by {result.refused}")
        self.result = result


async def limited(request: Request, response: Response) -> None:
    """Let a request pass, or raise. A dependency."""
    limits: AsyncMultiLevelLimiter = request.app.state.limits
    result = await limits.check(request)
    if not result.allowed:
        raise RefusedError(result)
    response.headers.update(result.headers())
