"""Errors, as JSON."""

from __future__ import annotations

import time

from flask import Flask
from flask.typing import ResponseReturnValue
from flask_limiter import RateLimitExceeded
from limits.errors import StorageError
from werkzeug.exceptions import HTTPException

from .limits import limiter


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, error)
    app.register_error_handler(RateLimitExceeded, too_many_requests)
    app.register_error_handler(StorageError, no_decision)


def error(found: HTTPException) -> ResponseReturnValue:
    return {"error": found.description}, found.code or 500


def too_many_requests(found: RateLimitExceeded) -> ResponseReturnValue:
    """Answer who was limited. Flask-Limiter adds Retry-After and X-RateLimit-*."""
    limit = limiter.current_limit
    seconds = max(1, int(limit.reset_at - time.time())) if limit else None
    return {"error": "too many requests", "limit": found.description, "retry_after": seconds}, 429


def no_decision(_: StorageError) -> ResponseReturnValue:
    """Answer when nobody knows whether a request is within its limits. The log says why."""
    return {"error": "try again in a moment"}, 503, {"Retry-After": "1"}
