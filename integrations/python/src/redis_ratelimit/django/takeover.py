"""How django-ratelimit comes to decide here: its `get_usage` gets other code.

Models and helpers may have imported `get_usage`, `is_ratelimited` and `ratelimit` by name before any app is ready, and
all of them end in this one function. So it stays the same object, whoever holds it, and is told what to do instead.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

import django_ratelimit
from django.core.exceptions import ImproperlyConfigured
from django_ratelimit import core
from django_ratelimit.checks import SUPPORTED_CACHE_BACKENDS

KNOWN = (4, 1)
"""The release of django-ratelimit whose insides are known."""
DJANGO = "django.core.cache.backends.redis.RedisCache"


def take_over() -> None:
    """Make `django_ratelimit.core.get_usage` ours. Once is enough, twice does no harm.

    Raises `ImproperlyConfigured` for a release of django-ratelimit that is not known, or one that something else has
    changed: limits that are counted in two places are no limits.
    """
    from .usage import get_usage as ours

    theirs = core.get_usage
    if tuple(django_ratelimit.VERSION[:2]) != KNOWN:
        raise ImproperlyConfigured(
            f"redis_ratelimit.django knows django-ratelimit {'.'.join(map(str, KNOWN))}, "
            f"not {django_ratelimit.__version__}: install 'django-ratelimit~={'.'.join(map(str, KNOWN))}.0'"
        )
    original = isinstance(theirs, FunctionType) and theirs.__module__ == core.__name__ and not theirs.__closure__
    if not original or list(inspect.signature(theirs).parameters) != list(inspect.signature(ours).parameters):
        raise ImproperlyConfigured(
            "django_ratelimit.core.get_usage has been replaced already; "
            "redis_ratelimit.django cannot be used together with what did that"
        )
    theirs.__code__ = _get_usage.__code__
    # Where limits were counted, Django's own Redis cache would not do. Now nothing is counted there.
    if DJANGO not in SUPPORTED_CACHE_BACKENDS:
        SUPPORTED_CACHE_BACKENDS.append(DJANGO)


def _get_usage(request: Any, group: Any, fn: Any, key: Any, rate: Any, method: Any, increment: Any) -> Any:
    # Runs with the names and the defaults of django_ratelimit.core.
    from redis_ratelimit.django.usage import get_usage

    return get_usage(request, group, fn, key, rate, method, increment)
