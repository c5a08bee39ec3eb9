"""How django-ratelimit's own names come to decide here: module attributes that hold its `get_usage` hold ours instead.

Its decorators and `is_ratelimited` look `get_usage` up when they are called. So ours limits the views, too, that were
decorated before the app is ready.
"""

from __future__ import annotations

import inspect
import logging
import sys
from types import FunctionType, ModuleType
from typing import Any

import django_ratelimit
from django.core.exceptions import ImproperlyConfigured
from django_ratelimit import checks, core

from .decorators import get_usage

KNOWN = (4, 1)
"""The release of django-ratelimit whose insides are known."""
DJANGO = "django.core.cache.backends.redis.RedisCache"

_logger = logging.getLogger("redis_ratelimit")


def take_over() -> None:
    """Replace `django_ratelimit.core.get_usage` in all modules that have it. Twice does no harm.

    A reference that is no attribute of a module, such as the default of an argument, is not found.

    Raises `ImproperlyConfigured` for a release of django-ratelimit that is not known, or one that something else has
    changed: limits that are counted in two places are no limits.
    """
    theirs: Any = core.get_usage
    if tuple(django_ratelimit.VERSION[:2]) != KNOWN:
        raise ImproperlyConfigured(
            f"redis_ratelimit.django knows django-ratelimit {'.'.join(map(str, KNOWN))}, "
            f"not {django_ratelimit.__version__}: install 'django-ratelimit~={'.'.join(map(str, KNOWN))}.0'"
        )
    if theirs is get_usage:
        return
    original = isinstance(theirs, FunctionType) and theirs.__module__ == core.__name__ and not theirs.__closure__
    if not original or list(inspect.signature(theirs).parameters) != list(inspect.signature(get_usage).parameters):
        raise ImproperlyConfigured(
            "django_ratelimit.core.get_usage has been replaced already; "
            "redis_ratelimit.django cannot be used together with what did that"
        )
    replaced = []
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            for name in [name for name, value in vars(module).items() if value is theirs]:
                setattr(module, name, get_usage)
                replaced.append(f"{module.__name__}.{name}")
    # Nothing is counted in the cache, so Django's own will do.
    checks.SUPPORTED_CACHE_BACKENDS = [*checks.SUPPORTED_CACHE_BACKENDS, DJANGO]
    replaced.append(f"{checks.__name__}.SUPPORTED_CACHE_BACKENDS")
    _logger.info("redis_ratelimit.django has replaced %s", ", ".join(sorted(replaced)))
