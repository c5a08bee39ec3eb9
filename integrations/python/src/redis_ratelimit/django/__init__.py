"""django-ratelimit that decides in the server, and limiters on the connections of ``CACHES``.

``from redis_ratelimit.django import ratelimit`` is django-ratelimit's decorator with another decision behind it: one
``RL.CHECK``. `is_ratelimited`, `get_usage`, `Ratelimited`, `ALL` and `UNSAFE` are here, too. With
``"redis_ratelimit.django"`` in ``INSTALLED_APPS``, django-ratelimit's own names do the same, and no import changes.

`http_headers` makes the headers of an answer of what was decided, and `connection.limiter` is for code of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .decided import decided, http_headers

if TYPE_CHECKING:
    from .decorators import ALL, UNSAFE, Ratelimited, get_usage, is_ratelimited, ratelimit

__all__ = [
    "ALL",
    "UNSAFE",
    "Ratelimited",
    "decided",
    "get_usage",
    "http_headers",
    "is_ratelimited",
    "ratelimit",
]


def __getattr__(name: str) -> Any:
    # On demand: who has the app for its command, or for REST framework, needs no django-ratelimit.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import decorators

    return getattr(decorators, name)
