"""Clients of redis-py as a rate limiter needs them: quick to give up, and never repeating a request by themselves.

A request whose answer did not arrive may have been charged. redis-py would send it again, up to ten times in some
releases, and charge it again. Here it is sent at most once: what has no answer is left to the failure policy.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from .errors import ArgumentError, OptionError
from .options import check_tls, check_use, check_values, checked_cap, checked_timeout, parameters, unknown

DEFAULT_TIMEOUT = 0.25
"""Seconds to wait for a connection, and for each answer."""

_ANY_NUMBER = 2**31
"""What a pool of redis-py may hold. How many connections there are is up to `ClientHandle`, which lets calls wait."""


class _UnixConnection(redis.UnixDomainSocketConnection):
    """Keeps its timeout, which that of redis-py before 5.1 forgets: it would wait for a server that hangs for ever."""

    def __init__(self, path: str = "", socket_timeout: float | None = None, **settings: Any) -> None:
        super().__init__(path=path, socket_timeout=socket_timeout, **settings)  # type: ignore[no-untyped-call]
        self.socket_timeout = socket_timeout


@dataclass(frozen=True, slots=True)
class Family:
    """The classes of redis-py of one kind, blocking or asyncio."""

    redis: Any
    cluster: Any
    node: Any
    pool: Any
    connection: Any
    tls_connection: Any
    unix_connection: Any
    sentinel: Any
    sentinel_pool: Any
    retry: Any

    def settings(self, timeout: float) -> dict[str, Any]:
        """Return what makes a client quick, and keeps it from repeating."""
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

    def options(self, connection: str) -> dict[str, inspect.Parameter]:
        """Return the options of one kind of connections, such as ``tls_connection``."""
        # Those for asyncio say of what type each is.
        known = parameters(getattr(ASYNCIO, connection), getattr(self, connection))
        return {**known, "max_connections": parameters(ASYNCIO.pool)["max_connections"]}

    def cluster_options(self) -> dict[str, inspect.Parameter]:
        """Return the options of a cluster client. The blocking one ignores all others."""
        own = parameters(self.cluster)
        if self is ASYNCIO:
            return own
        all_known = self.options("tls_connection") | parameters(ASYNCIO.cluster, self.cluster)
        handed_on = redis.cluster.cleanup_kwargs(**dict.fromkeys(all_known))
        return {name: parameter for name, parameter in all_known.items() if name in own or name in handed_on}


BLOCKING = Family(
    redis=redis.Redis,
    cluster=redis.RedisCluster,
    node=redis.cluster.ClusterNode,
    pool=redis.ConnectionPool,
    connection=redis.Connection,
    tls_connection=redis.SSLConnection,
    unix_connection=(
        redis.UnixDomainSocketConnection
        if redis.UnixDomainSocketConnection(socket_timeout=1).socket_timeout == 1  # type: ignore[abstract]
        else _UnixConnection
    ),
    sentinel=redis.sentinel.Sentinel,
    sentinel_pool=redis.sentinel.SentinelConnectionPool,
    retry=redis.retry.Retry,
)
ASYNCIO = Family(
    redis=redis.asyncio.Redis,
    cluster=redis.asyncio.RedisCluster,
    node=redis.asyncio.cluster.ClusterNode,
    pool=redis.asyncio.ConnectionPool,
    connection=redis.asyncio.Connection,
    tls_connection=redis.asyncio.SSLConnection,
    unix_connection=redis.asyncio.UnixDomainSocketConnection,
    sentinel=redis.asyncio.sentinel.Sentinel,
    sentinel_pool=redis.asyncio.sentinel.SentinelConnectionPool,
    retry=redis.asyncio.retry.Retry,
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a limiter connects to, and how. Clients can be made of it any number of times."""

    family: Family
    make: Callable[[], Any]
    """Makes a client. One of a cluster may connect as soon as it is made."""
    cluster: bool
    """Whether its clients are those of a cluster."""
    max_connections: int | None = None
    """How many connections there may be, as far as the URL or the client has said."""
    owned: bool = True
    """Whether closing the limiter closes the clients."""


def one_server(
    family: Family, connection_class: Any, settings: Mapping[str, Any], given: tuple[str, ...], cap: int | None
) -> Target:
    """Return the target that is a server. Raises `OptionError` for settings that redis-py cannot use."""

    def make(chosen: Mapping[str, Any] = settings) -> Any:
        return family.redis(connection_pool=family.pool(connection_class=connection_class, **chosen))

    _check(family, settings, given, make, issubclass(connection_class, family.tls_connection))
    return Target(family, make, cluster=False, max_connections=cap)


def sentinel_service(
    family: Family,
    hosts: list[tuple[str, int]],
    service: str,
    settings: Mapping[str, Any],
    of_sentinels: Mapping[str, Any],
    given: tuple[str, ...],
    cap: int | None,
) -> Target:
    """Return the target that is the primary of a service. Raises `OptionError` as `one_server`."""

    def make(chosen: Mapping[str, Any] = settings, of_sentinels: Mapping[str, Any] = of_sentinels) -> Any:
        manager = family.sentinel(hosts, sentinel_kwargs=dict(of_sentinels), **chosen)
        return manager.master_for(service, redis_class=family.redis)

    def make_sentinel(chosen: Mapping[str, Any]) -> Any:
        return family.redis(**chosen)

    _check(family, settings, given, make, bool(settings.get("ssl")))
    own = tuple(name.removeprefix("sentinel_") for name in given if name.startswith("sentinel_"))
    _check(family, of_sentinels, own, make_sentinel, bool(of_sentinels.get("ssl")))
    return Target(family, make, cluster=False, max_connections=cap)


def cluster_of(
    family: Family, hosts: list[tuple[str, int]], settings: Mapping[str, Any], given: tuple[str, ...], cap: int | None
) -> Target:
    """Return the target that is a cluster. Raises `OptionError` as `one_server`."""
    known = family.cluster_options()
    foreign = [name for name in given if name not in known]
    if foreign:
        raise OptionError(unknown(foreign[0]))
    tls = bool(settings.get("ssl"))
    connection = family.tls_connection if tls else family.connection
    of_connections = parameters(connection)

    def make() -> Any:
        return family.cluster(startup_nodes=[family.node(host, port) for host, port in hosts], **settings)

    def make_node(chosen: Mapping[str, Any]) -> Any:
        # A cluster client itself would connect.
        own = {name: value for name, value in chosen.items() if name in of_connections}
        return family.redis(connection_pool=family.pool(connection_class=connection, **own))

    if not tls and any(name.startswith("ssl_") for name in given):
        raise OptionError("options of TLS are for rediss+cluster://")
    _check(family, settings, given, make_node, tls)
    return Target(family, make, cluster=True, max_connections=cap)


def _check(
    family: Family, settings: Mapping[str, Any], given: tuple[str, ...], make: Callable[..., Any], tls: bool
) -> None:
    def connection(chosen: Mapping[str, Any]) -> None:
        pool = make(chosen).connection_pool
        pool.connection_class(**pool.connection_kwargs)

    check_values(settings)
    check_use(connection, settings, given)
    if tls:
        check_tls(settings, given)


def target_of_client(client: Any, timeout: float | None, max_connections: int | None, family: Family) -> Target:
    """Return a target with the same address, user, TLS and database as the client, and as many connections.

    `max_connections` replaces their number. With None as timeout, it is the client itself.
    """
    cap = None if max_connections is None else checked_cap(max_connections)
    if timeout is None:
        if cap is not None:
            raise ArgumentError("with timeout=None the client is used as it is, and max_connections is its own")
        return Target(family, lambda: client, isinstance(client, family.cluster), owned=False)
    settings = family.settings(checked_timeout(timeout))
    if isinstance(client, family.cluster):
        return _target_of_cluster_client(client, settings, cap, family)
    pool = getattr(client, "connection_pool", None)
    if not isinstance(client, family.redis) or not isinstance(pool, family.pool):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        raise ArgumentError(
            f"a {family.redis.__module__}.Redis or RedisCluster is needed, not {kind}; "
            "with timeout=None anything is taken that has their execute_command"
        )
    kept = clone_settings(pool.connection_kwargs)
    cap = cap or _cap(pool.max_connections)
    if not isinstance(pool, family.sentinel_pool):
        connection_class = pool.connection_class
        if connection_class is redis.UnixDomainSocketConnection:
            connection_class = family.unix_connection
        return one_server(family, connection_class, {**kept, **settings}, (), cap)
    manager = pool.sentinel_manager
    addresses = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    # With the settings of the pool, not the manager's: master_for() may have been given others.
    if issubclass(pool.connection_class, family.tls_connection):
        kept["ssl"] = True
    return sentinel_service(
        family,
        [(address["host"], address["port"]) for address in addresses],
        pool.service_name,
        {**kept, **settings, "min_other_sentinels": manager.min_other_sentinels},
        {**manager.sentinel_kwargs, **settings},
        (),
        cap,
    )


def _target_of_cluster_client(client: Any, settings: dict[str, Any], cap: int | None, family: Family) -> Target:
    manager = client.nodes_manager
    theirs = manager.connection_kwargs
    known = family.cluster_options()
    kept = {name: value for name, value in clone_settings(theirs).items() if name in known}
    connection_class = theirs.get("connection_class")
    if isinstance(connection_class, type) and issubclass(connection_class, family.tls_connection):
        kept["ssl"] = True
    kept.pop("connection_class", None)
    kept["address_remap"] = manager.address_remap
    # Not every client tells its own. A limiter asks about slots one by one, and decides on those that are covered.
    kept["require_full_coverage"] = False
    hosts = [(node.host, node.port) for node in manager.startup_nodes.values()]
    return cluster_of(family, hosts, {**kept, **settings}, (), cap or _cap(theirs.get("max_connections")))


def clone_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of connections that another pool may have, too.

    Out stays how often redis-py repeats, and its own living parts (caches, handlers, proxies of the pool), of which
    each pool has some. What says who connects is kept.
    """
    return {
        name: value
        for name, value in settings.items()
        if not name.startswith("retry") and (name == "driver_info" or not _is_part_of_redis_py(value))
    }


def _is_part_of_redis_py(value: Any) -> bool:
    if isinstance(value, (type, CredentialProvider)):
        return False
    # A method belongs to its object, and a proxy says the class of what it stands for.
    owner = getattr(value, "__self__", value)
    return str(owner.__class__.__module__).partition(".")[0] == "redis"


def _cap(max_connections: int | None) -> int | None:
    """Return how many connections a client may have, or None if that is any number."""
    return None if max_connections is None or max_connections >= _ANY_NUMBER else max_connections
