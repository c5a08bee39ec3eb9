"""Limiters on the connections that ``CACHES`` describes: their addresses, users, TLS, Sentinels and databases.

Only the connection is the cache's. Its key prefix, version and serializer are not used.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

import redis
from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.connection import ConnectionProxy

from ..client import RateLimiter
from ..connection import DEFAULT_TIMEOUT
from ..errors import ArgumentError, ConfigurationError
from .settings import setting

BACKENDS = "django_redis.cache.RedisCache or django.core.cache.backends.redis.RedisCache"

_lock = threading.Lock()
_of_aliases: dict[str, RateLimiter] = {}
_of_caches: WeakKeyDictionary[BaseCache, RateLimiter] = WeakKeyDictionary()


def limiter(cache: str | BaseCache | ConnectionProxy[Any] = DEFAULT_CACHE_ALIAS) -> RateLimiter:
    """Return the limiter of a cache: an alias in ``CACHES``, ``caches[alias]``, or ``django.core.cache.cache``.

    There is one for the whole process, with connections of its own to where the cache writes: the primary of a
    Sentinel service, the first of several ``LOCATION``s. It waits as long as the cache's ``socket_timeout`` says, and
    0.25 s if that says nothing. Nothing is connected before the first call. Its policy is ``raise``; see
    `RateLimiter.with_policy`. ``RATELIMIT_CACHE_DENIALS`` in the settings is how many denials each remembers.

    Raises `ImproperlyConfigured` when the cache is no single Redis.
    """
    if isinstance(cache, ConnectionProxy):
        cache = str(cache._alias)
    found = _of_aliases.get(cache) if isinstance(cache, str) else _of_caches.get(cache)
    if found is not None:
        return found
    with _lock:
        if isinstance(cache, str):
            if cache not in _of_aliases:
                _of_aliases[cache] = _make(caches[cache], f"CACHES[{cache!r}]")
            return _of_aliases[cache]
        if cache not in _of_caches:
            _of_caches[cache] = _make(cache, "the cache")
        return _of_caches[cache]


def observing(limiter: RateLimiter, name: str, given: bool | None = None) -> RateLimiter:
    """Return the limiter in observe mode or not: as `given`, or else as the setting says.

    Raises `ImproperlyConfigured` if that is neither True nor False: a text from the environment would be taken for yes.
    """
    observe = setting(name, False) if given is None else given
    try:
        return limiter.with_observe(observe)
    except ArgumentError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


class _Explained:
    """Turns what the server is not, such as one with the module, into Django's `ImproperlyConfigured`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ConfigurationError):
            raise ImproperlyConfigured(str(error)) from error


explained = _Explained()
"""To be entered around what asks the server. It holds nothing."""


def _make(cache: BaseCache, name: str) -> RateLimiter:
    try:
        client = _client(cache, name)
        cache_denials = getattr(settings, "RATELIMIT_CACHE_DENIALS", 0)
        return RateLimiter(client, timeout=_timeout(client), cache_denials=cache_denials)
    except (ArgumentError, ValueError) as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def _client(cache: BaseCache, name: str) -> Any:
    """Return the client of redis-py that the cache writes with."""
    if isinstance(cache, RedisCache):
        return cache._cache.get_client(write=True)
    try:
        from django_redis.cache import RedisCache as DjangoRedis
        from django_redis.client import ShardClient
    except ImportError:
        pass
    else:
        if isinstance(cache, DjangoRedis):
            if isinstance(cache.client, ShardClient):
                raise ImproperlyConfigured(
                    f"{name} spreads keys over several servers; the keys of rate limits need one"
                )
            return _django_redis(cache.client)
    kind = f"{type(cache).__module__}.{type(cache).__qualname__}"
    raise ImproperlyConfigured(
        f"rate limits need a Redis with the redis-ratelimit module: {name} is {kind}, not {BACKENDS}"
    )


def _django_redis(client: Any) -> Any:
    # Its own pools are shared by all caches with one URL, though their users may differ: so this is another one.
    factory = client.connection_factory
    url = client._server[client.get_next_client_index(write=True)]
    return redis.Redis(connection_pool=factory.get_connection_pool(factory.make_connection_params(url)))


def _timeout(client: Any) -> float:
    pool = getattr(client, "connection_pool", None)
    given = getattr(pool, "connection_kwargs", {}).get("socket_timeout")
    return DEFAULT_TIMEOUT if given is None else float(given)


def _forget(*, setting: str, **_: object) -> None:
    """Make limiters anew when tests change ``CACHES``, or how much they remember."""
    if setting in ("CACHES", "RATELIMIT_CACHE_DENIALS"):
        with _lock:
            for made in (*_of_aliases.values(), *_of_caches.values()):
                made.close()
            _of_aliases.clear()
            _of_caches.clear()


setting_changed.connect(_forget)
