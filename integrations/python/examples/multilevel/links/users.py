"""Who asks: users have tokens, of which the database has the hashes."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from .database import opened


def token_of(connection: HTTPConnection) -> str | None:
    """Return the token that was sent, valid or not."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def user_of(connection: HTTPConnection) -> str | None:
    """Return the name of the user, or None. The database is asked once for each request."""
    if not hasattr(connection.state, "user"):
        token = token_of(connection)
        settings = connection.app.state.settings
        connection.state.user = await run_in_threadpool(_find, settings.database, token) if token else None
    found: str | None = connection.state.user
    return found


async def _required(request: Request) -> str:
    name = await user_of(request)
    if name is None:
        raise HTTPException(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})
    return name


User = Annotated[str, Depends(_required)]


def add(database: str, name: str) -> str:
    """Add a user, and return the token. Raises `sqlite3.IntegrityError` if there is one of this name."""
    token = secrets.token_urlsafe(24)
    with opened(database) as connection:
        connection.execute("INSERT INTO users (name, token) VALUES (?, ?)", (name, _hashed(token)))
    return token


def _find(database: str, token: str) -> str | None:
    with opened(database) as connection:
        row = connection.execute("SELECT name FROM users WHERE token = ?", (_hashed(token),)).fetchone()
    return row["name"] if row else None


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
