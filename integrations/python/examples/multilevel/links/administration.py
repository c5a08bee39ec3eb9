"""For operators: users, and what the limits do. All of it needs ADMIN_TOKEN."""

from __future__ import annotations

import secrets
import sqlite3
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel, StringConstraints

from redis_ratelimit import client_ip
from redis_ratelimit.multilevel import AsyncMultiLevelLimiter

from . import users


def operator(request: Request) -> None:
    token = users.token_of(request) or ""
    if not secrets.compare_digest(token.encode(), request.app.state.settings.admin_token.encode()):
        raise HTTPException(401, "the token of an operator is needed", {"WWW-Authenticate": "Bearer"})


router = APIRouter(prefix="/admin", dependencies=[Depends(operator)])


class NewUser(BaseModel):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Target(BaseModel):
    """One value of one level."""

    level: Literal["ip", "user", "endpoint"]
    value: Annotated[str, StringConstraints(min_length=1, max_length=300)]

    def as_counted(self) -> str:
        return client_ip(self.value) if self.level == "ip" and "/" not in self.value else self.value


def limits_of(request: Request) -> AsyncMultiLevelLimiter:
    found: AsyncMultiLevelLimiter = request.app.state.limits
    return found


Limits = Annotated[AsyncMultiLevelLimiter, Depends(limits_of)]


@router.post("/users", status_code=201)
def add_user(new: NewUser, request: Request) -> dict[str, str]:
    """Add a user. The token is shown once."""
    try:
        return {"name": new.name, "token": users.add(request.app.state.settings.database, new.name)}
    except sqlite3.IntegrityError:
        raise HTTPException(409, "there is a user of this name") from None


@router.get("/limits/stats")
async def stats(limits: Limits, count: Annotated[int, Query(ge=1, le=1000)] = 10) -> dict[str, Any]:
    """Tell which limits refuse most. The user in REDIS_URL needs +rl.top."""
    return {"refused_most": [{"key": row.name, "refused": row.denials} for row in await limits.top(count)]}


@router.get("/limits")
async def look(limits: Limits, target: Annotated[Target, Query()]) -> dict[str, Any]:
    """Tell what one value of a level has in use."""
    found = await limits.info(target.level, target.as_counted())
    return {
        "level": target.level,
        "value": target.as_counted(),
        "rates": [
            {
                "rate": str(rate),
                "used": window.used if window else 0,
                "remaining": window.remaining if window else rate.limit,
                "retry_after": window.retry_after_ms / 1000 if window else 0,
            }
            for rate, window in found.items()
        ],
    }


@router.post("/limits/reset")
async def reset(limits: Limits, target: Target) -> dict[str, int]:
    """Forget what one value of a level has used."""
    return {"forgotten": await limits.reset(target.level, target.as_counted())}
