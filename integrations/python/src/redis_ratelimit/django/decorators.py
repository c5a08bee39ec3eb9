"""The names that django-ratelimit offers, bound to our `get_usage`. Import them from `redis_ratelimit.django`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.module_loading import import_string
from django_ratelimit import ALL, UNSAFE
from django_ratelimit.exceptions import Ratelimited

from .usage import get_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

__all__ = ["ALL", "UNSAFE", "Ratelimited", "get_usage", "is_ratelimited", "ratelimit"]


def is_ratelimited(
    request: HttpRequest,
    group: str | None = None,
    fn: Callable[..., Any] | None = None,
    key: Any = None,
    rate: Any = None,
    method: Any = ALL,
    increment: bool = False,
) -> bool:
    """Return whether the request is denied. With `increment` it is counted, if it is not."""
    usage = get_usage(request, group, fn, key, rate, method, increment)
    return usage is not None and usage["should_limit"]


def ratelimit(
    group: str | None = None, key: Any = None, rate: Any = None, method: Any = ALL, block: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Limit a view. A denied request raises `Ratelimited`, or with `block=False` has ``request.limited`` set."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def limited(request: Any, *words: Any, **named: Any) -> Any:
            denied = is_ratelimited(request, group, view, key, rate, method, increment=True)
            # Another decorator may have denied it before.
            request.limited = denied or getattr(request, "limited", False)
            if denied and block:
                error = getattr(settings, "RATELIMIT_EXCEPTION_CLASS", Ratelimited)
                raise (import_string(error) if isinstance(error, str) else error)()
            return view(request, *words, **named)

        return limited

    return decorate


# As django-ratelimit has them.
for _function in (get_usage, is_ratelimited, ratelimit):
    vars(_function).update(ALL=ALL, UNSAFE=UNSAFE)
