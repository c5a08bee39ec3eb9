"""A link shortener: whoever has a token makes short links, and everybody follows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from redis_ratelimit import AsyncRateLimiter, RateLimiter

from . import administration, database, errors, health, shortener
from .limits import make_limits
from .settings import Settings


def create_app() -> FastAPI:
    """Make the application. README.md says what it takes from the environment."""
    settings = Settings.from_environment()
    database.create(settings.database)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limiter = AsyncRateLimiter.from_url(settings.redis_url, policy=settings.policy)
        # What operators look at waits in threads, where it is in nobody's way.
        operator = RateLimiter.from_url(settings.redis_url)
        async with limiter:
            with operator:
                app.state.limits = make_limits(limiter, settings)
                app.state.operator = operator
                yield

    app = FastAPI(title="Links", lifespan=lifespan)
    app.state.settings = settings
    errors.add_handlers(app)
    app.include_router(health.router)
    app.include_router(administration.router)
    app.include_router(shortener.router)
    return app
