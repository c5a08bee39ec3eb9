"""A gateway before an API like OpenAI's, with limits on requests, tokens and requests in flight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from redis_ratelimit import AsyncRateLimiter

from . import chat, errors
from .callers import Callers
from .exchange import Exchanges
from .limits import Limits
from .settings import Settings


def create_app() -> FastAPI:
    """Make the application. README.md says what it takes from the environment."""
    settings = Settings.from_environment()
    callers = Callers.from_file(settings.keys)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        upstream = httpx.AsyncClient(
            base_url=settings.upstream_url,
            headers={"Authorization": f"Bearer {settings.upstream_key}"},
            timeout=httpx.Timeout(settings.upstream_timeout, connect=5),
            # Limits of requests in flight are those of Redis.
            limits=httpx.Limits(max_connections=None),
        )
        async with AsyncRateLimiter.from_url(settings.redis_url, policy=settings.policy) as limiter, upstream:
            exchanges = Exchanges(upstream)
            app.state.limits = Limits(limiter, settings)
            app.state.exchanges = exchanges
            yield
            await exchanges.finish()

    app = FastAPI(title="LLM gateway", lifespan=lifespan)
    app.state.callers = callers
    app.state.settings = settings
    errors.add_handlers(app)
    app.include_router(chat.router)
    return app
