"""Clients of redis-py as a rate limiter needs them: quick to give up, and never repeating a request by themselves.

A request whose answer did not arrive may have been charged. redis-py would send it again, up to ten times in some
releases, and charge it again. Here it is sent at most once: what has no answer is left to the failure policy.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url

from .errors import ArgumentError

DEFAULT_TIMEOUT = 0.25
"""Seconds to wait for a connection, and for each answer."""

SCHEMES = "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster://"

# Where redis-py has a limit of its own, calls beyond it fail instead of waiting.
_ANY_NUMBER = 2**31
# What redis-py keeps among the settings of a connection that belongs to the pool or to one connection.
_NOT_SETTINGS = frozenset(
    {
        "cache",
        "cache_config",
        "connection_pool",
        "event_dispatcher",
        "himport_registry",
        "maint_notifications_config",
        "maint_notifications_pool_handler",
        "orig_host_address",
        "orig_socket_connect_timeout",
        "orig_socket_timeout",
        "oss_cluster_maint_notifications_handler",
        "parser_class",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
    }
)
# What is taken from a cluster client: the settings that all its nodes share.
_CLUSTER_SETTINGS = frozenset(
    {
        "client_name",
        "credential_provider",
        "driver_info",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "lib_name",
        "lib_version",
        "password",
        "protocol",
        "socket_keepalive",
        "socket_keepalive_options",
        "ssl",
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_exclude_verify_flags",
        "ssl_include_verify_flags",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
        "username",
    }
)


@dataclass(frozen=True, slots=True)
class Family:
    """The classes of redis-py of one kind, blocking or asyncio."""

    redis: Any
    cluster: Any
    node: Any
    pool: Any
    tls_connection: Any
    sentinel: Any
    sentinel_pool: Any
    retry: Any

    def settings(self, timeout: float) -> dict[str, Any]:
        """Return what makes a client quick, keeps it from repeating, and from failing when many ask at a time."""
        settings = {
            "max_connections": _ANY_NUMBER,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": self.retry(NoBackoff(), 0),
        }
        if "maint_notifications_config" in inspect.signature(self.redis.__init__).parameters:
            # With notices of maintenance, redis-py does not look whether an idle connection was closed meanwhile.
            from redis.maint_notifications import MaintNotificationsConfig

            settings["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
        return settings


BLOCKING = Family(
    redis=redis.Redis,
    cluster=redis.RedisCluster,
    node=redis.cluster.ClusterNode,
    pool=redis.ConnectionPool,
    tls_connection=redis.SSLConnection,
    sentinel=redis.sentinel.Sentinel,
    sentinel_pool=redis.sentinel.SentinelConnectionPool,
    retry=redis.retry.Retry,
)
ASYNCIO = Family(
    redis=redis.asyncio.Redis,
    cluster=redis.asyncio.RedisCluster,
    node=redis.asyncio.cluster.ClusterNode,
    pool=redis.asyncio.ConnectionPool,
    tls_connection=redis.asyncio.SSLConnection,
    sentinel=redis.asyncio.sentinel.Sentinel,
    sentinel_pool=redis.asyncio.sentinel.SentinelConnectionPool,
    retry=redis.asyncio.retry.Retry,
)


class Link:
    """A client that is made when it is first needed: a cluster client connects as soon as it is made."""

    def __init__(self, make: Callable[[], Any], *, owned: bool) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._client: Any = None
        self.owned = owned
        """Whether closing the limiter closes the client."""

    def get(self) -> Any:
        """Return the client."""
        client = self._client
        if client is None:
            with self._lock:
                if self._client is None:
                    self._client = self._make()
                client = self._client
        return client

    def take(self, wanted: Any = None) -> Any:
        """Return the client if there is one (and it is the one wanted), and forget it. The next `get` makes another."""
        with self._lock:
            client = self._client
            if wanted is not None and client is not wanted:
                return None
            self._client = None
        return client


def checked_timeout(timeout: float) -> float:
    """Return the timeout, or raise `ArgumentError` if nothing could be answered in it."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 3600:
        raise ArgumentError(f"timeout must be a number of seconds above 0, at most 3600, not {timeout!r:.80}")
    return timeout


def from_url(url: str, timeout: float, options: Mapping[str, Any], family: Family) -> Link:
    """Return a link to what the URL names. Bad URLs are an `ArgumentError` now, unreachable servers no error yet."""
    settings = {**family.settings(checked_timeout(timeout)), **options}
    try:
        parts = urlsplit(url)
        scheme, _, form = parts.scheme.partition("+")
        if form == "" and scheme in ("redis", "rediss", "unix"):
            return _one(family.redis.from_url(url, **settings))
        if form == "sentinel" and scheme in ("redis", "rediss"):
            return _one(_sentinel_from_url(scheme, parts, settings, family))
        if form == "cluster" and scheme in ("redis", "rediss"):
            return _cluster_from_url(scheme, parts, settings, family)
    except ArgumentError:
        raise
    except (ValueError, TypeError) as error:
        # What a port is not may be a part of a password: only what is known to name an option is repeated.
        if isinstance(error, TypeError) or str(error).startswith("Invalid value for"):
            raise ArgumentError(f"a bad Redis URL, or a bad option: {error}") from error
        raise ArgumentError(
            "a bad Redis URL: check the port; special characters in user and password have to be percent-encoded"
        ) from None
    raise ArgumentError(f"a Redis URL begins with one of {SCHEMES}")


def _one(client: Any) -> Link:
    pool = client.connection_pool
    # An option that redis-py does not know would be an error at the first call only.
    pool.connection_class(**pool.connection_kwargs)
    return Link(lambda: client, owned=True)


def _single(scheme: str, parts: SplitResult, path: str, query: list[tuple[str, str]]) -> dict[str, Any]:
    """Let redis-py read what a URL with one host would say: user, password, database, options with their types."""
    user = parts.netloc.rpartition("@")[0]
    url = f"{scheme}://{user}{'@' if user else ''}host{path}?{urlencode(query)}"
    found: dict[str, Any] = dict(parse_url(url))
    found.pop("host", None)
    found.pop("port", None)
    if found.pop("connection_class", None) is not None:
        found["ssl"] = True
    return found


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    """Read ``host:port,[2001:db8::1]:port,host``."""
    found = []
    for host in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{host}")
        if not one.hostname:
            raise ArgumentError("a Redis URL names one or more hosts: host:port,host:port")
        found.append((unquote(one.hostname), one.port or port))
    return found


def _sentinel_from_url(scheme: str, parts: SplitResult, settings: dict[str, Any], family: Family) -> Any:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ArgumentError(f"a URL of Sentinel names the service: {scheme}+sentinel://host:26379,host:26379/mymaster")
    query = parse_qsl(parts.query, keep_blank_values=True)
    own = [(name.removeprefix("sentinel_"), value) for name, value in query if name.startswith("sentinel_")]
    theirs = [(name, value) for name, value in query if not name.startswith("sentinel_")]
    server = {**settings, **_single(scheme, parts, f"/{database}", theirs)}
    # The Sentinels share what is not about users: timeouts, TLS.
    sentinel = {name: value for name, value in server.items() if name.startswith(("socket_", "ssl"))}
    sentinel |= {"retry": settings["retry"]}
    own_settings = _single("redis", SplitResult("", "host", "", "", ""), "", own)
    if str(own_settings.pop("ssl", "yes")).lower() in ("no", "false", "0"):
        sentinel = {name: value for name, value in sentinel.items() if not name.startswith("ssl")}
    manager = family.sentinel(_hosts(parts, 26379), sentinel_kwargs={**sentinel, **own_settings}, **server)
    return manager.master_for(unquote(service), redis_class=family.redis)


def _cluster_from_url(scheme: str, parts: SplitResult, settings: dict[str, Any], family: Family) -> Link:
    hosts = _hosts(parts, 6379)
    found = {**settings, **_single(scheme, parts, parts.path, parse_qsl(parts.query, keep_blank_values=True))}
    if found.pop("db", 0):
        raise ArgumentError("a Redis Cluster has only database 0")
    return _cluster(hosts, found, family)


def _cluster(hosts: list[tuple[str, int]], settings: dict[str, Any], family: Family) -> Link:
    def make() -> Any:
        nodes = [family.node(host, port) for host, port in hosts]
        return family.cluster(startup_nodes=nodes, **settings)

    return Link(make, owned=True)


def like(client: Any, timeout: float | None, family: Family) -> Link:
    """Return a link with the same address, user, TLS and database as the client, and connections of its own.

    With None as timeout, the link is the client itself.
    """
    if timeout is None:
        return Link(lambda: client, owned=False)
    settings = family.settings(checked_timeout(timeout))
    if isinstance(client, family.cluster):
        return _like_cluster(client, settings, family)
    pool = getattr(client, "connection_pool", None)
    if not isinstance(client, family.redis) or not isinstance(pool, family.pool):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        raise ArgumentError(
            f"a {family.redis.__module__}.Redis or RedisCluster is needed, not {kind}; "
            "with timeout=None anything is taken that has their execute_command"
        )
    if isinstance(pool, family.sentinel_pool):
        return _like_sentinel(pool, settings, family)
    kept = {name: value for name, value in pool.connection_kwargs.items() if name not in _NOT_SETTINGS}
    made = family.redis(connection_pool=family.pool(connection_class=pool.connection_class, **{**kept, **settings}))
    return Link(lambda: made, owned=True)


def _like_sentinel(pool: Any, settings: dict[str, Any], family: Family) -> Link:
    manager = pool.sentinel_manager
    addresses = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    kept = {name: value for name, value in pool.connection_kwargs.items() if name not in _NOT_SETTINGS}
    if issubclass(pool.connection_class, family.tls_connection):
        kept["ssl"] = True
    copied = family.sentinel(
        [(address["host"], address["port"]) for address in addresses],
        min_other_sentinels=manager.min_other_sentinels,
        sentinel_kwargs={**manager.sentinel_kwargs, **settings},
    )
    # With the settings of the pool, not the manager's: master_for() may have been given others.
    made = copied.master_for(pool.service_name, redis_class=family.redis, **{**kept, **settings})
    return Link(lambda: made, owned=True)


def _like_cluster(client: Any, settings: dict[str, Any], family: Family) -> Link:
    manager = client.nodes_manager
    theirs = manager.connection_kwargs
    kept = {name: value for name, value in theirs.items() if name in _CLUSTER_SETTINGS}
    connection_class = theirs.get("connection_class")
    if isinstance(connection_class, type) and issubclass(connection_class, family.tls_connection):
        kept["ssl"] = True
    for name in ("address_remap", "require_full_coverage"):
        value = getattr(manager, name, None)
        if value is None:
            value = getattr(manager, f"_{name}", None)
        if value is not None:
            kept[name] = value
    hosts = [(node.host, node.port) for node in manager.startup_nodes.values()]
    return _cluster(hosts, {**kept, **settings}, family)
