"""Errors as OpenAI writes them, which its clients understand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from redis_ratelimit import RateLimitError

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """What a client is told."""

    def __init__(
        self, status: int, message: str, kind: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body(message, kind, code)
        self.headers = dict(headers or {})


def body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def no_decision() -> ApiError:
    """Return what is told while nobody knows whether a request is within its limits."""
    return ApiError(
        503, "the limits cannot be checked now: try again in a moment", "server_error", None, {"retry-after": "1"}
    )


def add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(RateLimitError, _no_decision)


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


async def _no_decision(request: Request, error: Exception) -> JSONResponse:
    logger.error("no decision: %s", error)
    return await _told(request, no_decision())
