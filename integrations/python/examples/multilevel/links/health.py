"""Whether Redis decides, for monitoring."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from redis_ratelimit import admin

router = APIRouter()


@router.get("/health/redis/")
def redis_health(request: Request) -> JSONResponse:
    """Ask whether it would decide, which counts nowhere: 200 or 503, and the code of what is wrong."""
    found = admin.health(request.app.state.operator)
    ok = all(server.ok for server in found)
    return JSONResponse(
        {
            "status": "ok" if ok else "down",
            # Addresses and texts are not for everybody.
            "problems": [server.problem.partition(":")[0] for server in found if server.problem],
            "latency_ms": max((server.latency_ms for server in found if server.latency_ms is not None), default=None),
        },
        200 if ok else 503,
    )


@router.get("/health/")
async def health() -> dict[str, str]:
    """Tell that the application answers."""
    return {"status": "ok"}
