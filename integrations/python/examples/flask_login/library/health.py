"""Whether the service works, for load balancers and monitoring."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from .database import connection
from .limits import limiter

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
@limiter.exempt
def health() -> ResponseReturnValue:
    connection().execute("SELECT 1 FROM books")
    # It can do without, in the way that RATELIMIT_SWALLOW_ERRORS and others say.
    return {"status": "ok", "rate_limits": "ok" if limiter.storage.check() else "down"}
