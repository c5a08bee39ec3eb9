"""Short links."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, HttpUrl, StringConstraints

from .database import opened
from .limits import limited
from .users import User

router = APIRouter(dependencies=[Depends(limited)])

Code = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,32}$")]


class NewLink(BaseModel):
    url: HttpUrl


@router.post("/links", status_code=201)
def make_link(link: NewLink, user: User, request: Request) -> dict[str, Any]:
    code = secrets.token_urlsafe(6)
    with opened(request.app.state.settings.database) as connection:
        connection.execute("INSERT INTO links (code, url, user) VALUES (?, ?, ?)", (code, str(link.url), user))
    return {"code": code, "url": str(link.url)}


@router.get("/links")
def my_links(user: User, request: Request) -> list[dict[str, Any]]:
    with opened(request.app.state.settings.database) as connection:
        rows = connection.execute(
            "SELECT code, url, made_at FROM links WHERE user = ? ORDER BY made_at DESC, rowid DESC LIMIT 100", (user,)
        )
        return [dict(row) for row in rows]


@router.get("/{code}")
def follow(code: Code, request: Request) -> RedirectResponse:
    with opened(request.app.state.settings.database) as connection:
        row = connection.execute("SELECT url FROM links WHERE code = ?", (code,)).fetchone()
    if row is None:
        raise HTTPException(404, "there is no such link")
    return RedirectResponse(row["url"])
