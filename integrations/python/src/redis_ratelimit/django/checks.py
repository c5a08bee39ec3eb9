"""System checks: whether the cache for rate limits is a Redis, and that Redis has the module."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from ..errors import ConfigurationError, RateLimitError
from ..keys import key
from . import connection


def check_cache(**_: Any) -> list[checks.CheckMessage]:
    """Look at ``CACHES[RATELIMIT_USE_CACHE]``, and ask its server once. Nothing with ``RATELIMIT_ENABLE = False``."""
    if not getattr(settings, "RATELIMIT_ENABLE", True):
        return []
    alias = getattr(settings, "RATELIMIT_USE_CACHE", "default")
    try:
        connection.limiter(alias).peek(key("check"))
    except ImproperlyConfigured as error:
        hint = f"Let RATELIMIT_USE_CACHE name a cache whose BACKEND is {connection.BACKENDS}."
        return [checks.Error(str(error), hint=hint, id="redis_ratelimit.E001")]
    except ConfigurationError as error:
        return [checks.Error(f"CACHES[{alias!r}]: {error}", id="redis_ratelimit.E002")]
    except RateLimitError as error:
        # It may not be there yet, for example while an image is built.
        return [checks.Warning(f"CACHES[{alias!r}]: {error}", id="redis_ratelimit.W001")]
    return []
