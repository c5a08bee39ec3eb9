"""What has been decided about a request of Django, for those who answer it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..multilevel import LevelDecision
from ..multilevel import http_headers as headers_of

if TYPE_CHECKING:
    from django.http import HttpRequest

_ATTRIBUTE = "_redis_ratelimit"


@dataclass
class _Noted:
    rows: dict[str, LevelDecision] = field(default_factory=dict)
    """By key. A look and a count are about the same limit, and the later one counts."""
    never: int = 0
    """Seconds of the longest period in which nothing is allowed at all."""


def decided(request: HttpRequest) -> list[LevelDecision]:
    """Return the decisions on a request so far: by decorators, `is_ratelimited` and `get_usage`, in order."""
    return list(_noted(request).rows.values())


def http_headers(request: HttpRequest, *, reset: Literal["epoch", "delta"] = "epoch") -> dict[str, str]:
    """Return ``Retry-After``, ``X-RateLimit-*`` and ``RateLimit`` for the answer to a request.

    For the view that ``RATELIMIT_VIEW`` names, or a handler of status 403:
    ``TemplateResponse(request, "429.html", status=429, headers=http_headers(request))``. Empty if nothing was asked.
    """
    noted = _noted(request)
    headers = headers_of(decided(request), reset=reset)
    if noted.never:
        headers["Retry-After"] = str(max(noted.never, int(headers.get("Retry-After", 0))))
    return headers


def note(request: HttpRequest, row: LevelDecision) -> None:
    """Keep a decision for whoever answers the request."""
    noted = _noted(request)
    noted.rows.pop(row.key, None)
    noted.rows[row.key] = row


def note_never(request: HttpRequest, period: int) -> None:
    """Keep that a limit of 0 in so many seconds allows nothing."""
    noted = _noted(request)
    noted.never = max(noted.never, period)


def _noted(request: Any) -> _Noted:
    # REST framework wraps requests.
    request = getattr(request, "_request", request)
    found = getattr(request, _ATTRIBUTE, None)
    if not isinstance(found, _Noted):
        found = _Noted()
        setattr(request, _ATTRIBUTE, found)
    return found
