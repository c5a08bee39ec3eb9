"""Who asks: each API key is one of a user, and each user is in a team."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import HTTPConnection

from .errors import ApiError


@dataclass(frozen=True)
class Caller:
    """An API key: its name, which is no secret, and whose it is."""

    key: str
    user: str
    team: str


class Callers:
    """All API keys. Found by their hash, so that the time that takes tells nothing about a key."""

    def __init__(self, callers: dict[bytes, Caller]) -> None:
        self._callers = callers

    @classmethod
    def from_file(cls, path: str) -> Callers:
        rows = json.loads(Path(path).read_text())
        return cls({_hashed(row["key"]): Caller(row["name"], row["user"], row["team"]) for row in rows})

    def of(self, connection: HTTPConnection) -> Caller:
        """Return who asks, or raise."""
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        caller = self._callers.get(_hashed(key.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise ApiError(401, "a valid API key is needed", "invalid_request_error", "invalid_api_key")
        return caller


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
