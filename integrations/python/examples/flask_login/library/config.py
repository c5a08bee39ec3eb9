"""The settings, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import redis_ratelimit.limits  # noqa: F401


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the settings of Flask, of Flask-Limiter (RATELIMIT_*) and our own. README.md says what they mean."""
    redis_url = environment.get("REDIS_URL", "redis://localhost:6379/0")
    public_url = environment.get("PUBLIC_URL", "http://localhost:8000").rstrip("/")
    return {
        "SECRET_KEY": environment["SECRET_KEY"],
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": public_url.startswith("https://"),
        "MAX_CONTENT_LENGTH": 64 * 1024,
        "DATABASE": environment.get("DATABASE", "library.sqlite3"),
        "LOG_LEVEL": environment.get("LOG_LEVEL", "INFO").upper(),
        "PUBLIC_URL": public_url,
        "SMTP_HOST": environment.get("SMTP_HOST"),
        "MAIL_FROM": environment.get("MAIL_FROM", "library@localhost"),
        "TRUSTED_PROXIES": int(environment.get("TRUSTED_PROXIES", "0")),
        "RATELIMIT_STORAGE_URI": environment.get("RATELIMIT_STORAGE_URI", redis_url.replace("redis", "rl", 1)),
        # All errors of the storage are a limits.errors.StorageError, whatever the storage is.
        "RATELIMIT_STORAGE_OPTIONS": {"wrap_exceptions": True},
        "RATELIMIT_SWALLOW_ERRORS": _yes(environment.get("RATELIMIT_SWALLOW_ERRORS")),
        "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": _yes(environment.get("RATELIMIT_IN_MEMORY_FALLBACK_ENABLED")),
    }


def _yes(value: str | None) -> bool:
    return (value or "").lower() in ("1", "on", "true", "yes")
