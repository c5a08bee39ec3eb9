"""Errors, as JSON."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from redis_ratelimit import RateLimitError

from .limits import RefusedError

logger = logging.getLogger(__name__)


def add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RefusedError, too_many_requests)
    app.add_exception_handler(RateLimitError, no_decision)


async def too_many_requests(_: Request, error: Exception) -> JSONResponse:
    """Tell which level refused, and when to come back."""
    assert isinstance(error, RefusedError)
    result = error.result
    if result.degraded:
        # The policy "closed" has refused, not the server.
        return _later()
    row = result.binding
    return JSONResponse(
        {
            "error": "too many requests",
            "level": row.level if row else None,
            "limit": str(row.rate) if row else None,
            "refused": result.refused,
            "retry_after": None if result.retry_after is None else math.ceil(result.retry_after),
        },
        429,
        result.headers(),
    )


async def no_decision(_: Request, error: Exception) -> JSONResponse:
    """Answer while nobody knows whether a request is within its limits."""
    logger.error("no decision: %s", error)
    return _later()


def _later() -> JSONResponse:
    return JSONResponse({"error": "try again in a moment"}, 503, {"Retry-After": "1"})
