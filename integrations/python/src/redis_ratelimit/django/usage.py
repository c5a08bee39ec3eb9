"""What `django_ratelimit.core.get_usage` does, decided by the server in one command.

What a rate, a method and the keys ``get:``, ``post:`` and ``header:`` mean is said by django-ratelimit's own code. The
count is not in the cache: see `get_usage`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, TypedDict

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django_ratelimit import ALL, core

from .. import keys
from ..asgi import quota_name
from ..client import RateLimiter
from ..multilevel import LevelDecision
from ..policy import CLOSED_RETRY_AFTER_MS
from ..rates import Rate
from ..unusable import usable
from . import connection
from .address import client_network, user_or_network
from .decided import note, note_never
from .settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable


class Usage(TypedDict):
    """How much of a limit is used."""

    count: int
    """Requests counted, this one included if it was to be counted. When limited, the limit and one more: denied
    requests are not counted."""
    limit: int
    should_limit: bool
    """Whether the count is above the limit."""
    time_left: int
    """Seconds, rounded up: when limited, until a request will pass; else until the count is 0 again."""


REFUSED = Usage(count=0, limit=0, should_limit=True, time_left=math.ceil(CLOSED_RETRY_AFTER_MS / 1000))
"""When there is no decision, and ``RATELIMIT_FAIL_OPEN`` is not set: what django-ratelimit says then, except that
``time_left`` is a time to wait, and not -1."""


def get_usage(
    request: HttpRequest,
    group: str | None = None,
    fn: Callable[..., Any] | None = None,
    key: Any = None,
    rate: Any = None,
    method: Any = ALL,
    increment: bool = False,
) -> Usage | None:
    """Count the request (`increment`), or only look, and say how much is used. None when nothing limits it.

    The window slides: at most `limit` requests pass in any period, not in those that begin at some fixed time. A
    request that is denied is not counted, so somebody who goes on knocking is let in as soon as there is room. To look
    means to ask whether a request would be denied now.

    With ``RATELIMIT_OBSERVE = True`` nothing is ever limited: what would be is counted and logged, see `RateLimiter`.

    Raises `ImproperlyConfigured` for what cannot be: no group, no key, no rate, no Redis, a Redis without the module.
    """
    if group is None and fn is None:
        raise ImproperlyConfigured("a rate limit needs a group, or a function to name it after")
    if not getattr(settings, "RATELIMIT_ENABLE", True) or not core._method_match(request, method):
        return None
    if group is None:
        group = _name(fn)
    limit_and_period = _rate(rate, group, request)
    if limit_and_period is None:
        return None
    limit, period = limit_and_period
    if period <= 0:
        raise ImproperlyConfigured("the period of a rate limit must be greater than 0")
    value = _value(key, group, request)
    checked = usable(limit, period, f"group {group!r} of django-ratelimit") if limit > 0 else None
    if checked is None:
        if setting("RATELIMIT_OBSERVE", False):
            _limiter()._observer.note(f"group {group!r}", f"a limit of {limit} in {period} s refuses every request")
            return Usage(count=0, limit=limit, should_limit=False, time_left=0)
        note_never(request, period)
        return Usage(count=max(limit, 0) + 1, limit=limit, should_limit=True, time_left=period)
    name = _key(group, value, checked, method)
    limiter = _limiter()
    with connection.explained:
        decision = limiter.check(name, checked) if increment else limiter.peek(name)
    if decision is not None:
        note(request, LevelDecision(quota_name(group), checked, name, decision))
    if decision is None:
        return Usage(count=0, limit=limit, should_limit=False, time_left=0)
    if decision.degraded:
        return None if decision.allowed else REFUSED.copy()
    if decision.allowed:
        left = math.ceil(decision.reset_after)
        return Usage(count=limit - decision.remaining, limit=limit, should_limit=False, time_left=left)
    return Usage(count=limit + 1, limit=limit, should_limit=True, time_left=math.ceil(decision.retry_after_ms / 1000))


def _limiter() -> RateLimiter:
    alias = setting("RATELIMIT_USE_CACHE", "default")
    fail_open = setting("RATELIMIT_FAIL_OPEN", False)
    limiter = connection.limiter(alias).with_policy("open" if fail_open else "closed")
    return connection.observing(limiter, "RATELIMIT_OBSERVE")


def _name(fn: Any) -> str:
    """Return the name of a view, ``shop.views.login``.

    Class-based views are named after their class, and the method that is limited, which may be inherited:
    ``shop.views.Login.View.dispatch``. What `as_view` returns is the class: all of them have the same name.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    view_class = getattr(fn, "view_class", None)
    if view_class is not None:
        return _class_name(view_class)
    owner = getattr(fn, "__self__", None)
    if owner is None:
        return f"{fn.__module__}.{fn.__qualname__}"
    return f"{_class_name(owner if isinstance(owner, type) else type(owner))}.{fn.__qualname__}"


def _class_name(found: type) -> str:
    # REST framework makes a class of each function, and gives it the function's name, but no qualified one.
    name = found.__qualname__ if found.__qualname__.endswith(found.__name__) else found.__name__
    return f"{found.__module__}.{name}"


def _rate(rate: Any, group: str, request: HttpRequest) -> tuple[int, int] | None:
    if isinstance(rate, str) and "." in rate:
        rate = import_string(rate)
    if callable(rate):
        rate = rate(group, request)
    if rate is None:
        return None
    try:
        limit, period = _split(rate) if isinstance(rate, str) else core._split_rate(rate)
    except (AttributeError, TypeError, ValueError):
        raise ImproperlyConfigured(
            f"not a rate of django-ratelimit: {rate!r:.80}. Write '5/m', '100/15m', '3/10s'"
        ) from None
    return limit, period


@functools.lru_cache(maxsize=1024)
def _split(rate: str) -> tuple[int, int]:
    limit, period = core._split_rate(rate)
    return limit, period


_SIMPLE_KEYS: dict[str, Callable[[HttpRequest], str]] = {
    "ip": client_network,
    "user": lambda request: str(request.user.pk),
    "user_or_ip": user_or_network,
}


def _value(key: Any, group: str, request: HttpRequest) -> Any:
    """Return what the key says of the request."""
    if not key:
        raise ImproperlyConfigured("a rate limit needs a key")
    if callable(key):
        return key(group, request)
    if key in _SIMPLE_KEYS:
        return _SIMPLE_KEYS[key](request)
    accessor, colon, name = key.partition(":")
    if colon and accessor in core._ACCESSOR_KEYS:
        return core._ACCESSOR_KEYS[accessor](request, name)
    if "." in key and not colon:
        return import_string(key)(group, request)
    raise ImproperlyConfigured(f"unknown key of a rate limit: {key!r:.80}")


def _key(group: str, value: Any, rate: Rate, method: Any) -> str:
    """Return ``rl:group:value:rate``, and the methods if they are not all: each combination counts for itself."""
    algorithm = setting("RATELIMIT_HASH_ALGORITHM")
    if algorithm is not None:
        # Who asks for one wants no addresses or names in keys.
        algorithm = import_string(algorithm) if isinstance(algorithm, str) else algorithm
        value = algorithm(
            value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        ).hexdigest()
    parts = [value, str(rate)]
    if method not in (ALL, list(ALL)):
        methods = [method] if isinstance(method, str) else method
        parts.append(",".join(sorted({name.upper() for name in methods})))
    prefix = setting("RATELIMIT_CACHE_PREFIX", "rl:")
    # The group is the application's own: long as it may be, it stays readable.
    return keys.key(*parts, prefix=f"{prefix}{keys.escape(group)}")
