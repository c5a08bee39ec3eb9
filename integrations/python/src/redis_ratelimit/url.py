"""What the URL of a limiter says: where to connect to, as whom, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .connection import Family, Target, cluster_of, one_server, sentinel_service
from .errors import OptionError
from .options import OF_LIMITERS, checked_cap, checked_timeout, from_query, of_limiter, parameters

STORAGE_SCHEMES = {
    "rl": "redis",
    "rls": "rediss",
    "rl+unix": "unix",
    "rl+sentinel": "redis+sentinel",
    "rls+sentinel": "rediss+sentinel",
    "rl+cluster": "redis+cluster",
    "rls+cluster": "rediss+cluster",
}
"""How the storages for `limits` call these schemes, by which libraries tell them from their own storages."""

SCHEMES = (*STORAGE_SCHEMES.values(), *STORAGE_SCHEMES)


@dataclass(frozen=True, slots=True)
class _Parts:
    scheme: str
    login: dict[str, str]
    hosts: list[tuple[str, int | None]]
    path: str
    query: list[tuple[str, str]]
    """The options of redis-py."""
    own: dict[str, Any]
    """Those of the limiter itself."""


def own_options(url: str) -> dict[str, Any]:
    """Return what the URL says about the limiter and not about its connections: ``observe``, ``cache_denials``."""
    return _split(url).own


def target_of_url(
    url: str, timeout: float, max_connections: int | None, options: Mapping[str, Any], family: Family
) -> Target:
    """Return what the URL names. Bad URLs and options are an `OptionError` now, unreachable servers no error yet.

    What is in the query counts more than `max_connections` and `options`.
    """
    parts = _split(url)
    settings = {**family.settings(checked_timeout(timeout)), **options}
    options = {**options, "max_connections": max_connections}
    kind, _, form = parts.scheme.partition("+")
    tls = kind == "rediss"
    if form == "sentinel":
        return _sentinel(parts, tls, settings, options, family)
    if form == "cluster":
        return _cluster(parts, tls, settings, options, family)
    return _server(parts, kind, settings, options, family)


def _split(url: str) -> _Parts:
    """Take the URL apart. No exception from within is shown: it may say what the password is."""
    if not isinstance(url, str):
        raise OptionError(f"a Redis URL is a str, not {type(url).__name__}")
    scheme = url.partition("://")[0].lower()
    known = STORAGE_SCHEMES.get(scheme.removeprefix("async+"), scheme)
    if known not in STORAGE_SCHEMES.values() or "://" not in url:
        raise OptionError(f"a Redis URL begins with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    try:
        parts = urlsplit(url)
        login = {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
        found = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",") if host or parts.netloc]
        hosts = [(unquote(host.hostname or ""), host.port) for host in found]
        query = parse_qsl(parts.query, keep_blank_values=True)
        readable = not parts.fragment and all(port != 0 for _, port in hosts)
    except ValueError:
        readable = False
    if not readable:
        raise OptionError(
            "a bad Redis URL: check the port; special characters in user and password have to be percent-encoded"
        )
    login = {name: value for name, value in login.items() if value}
    of_redis = [(name, text) for name, text in query if name not in OF_LIMITERS]
    return _Parts(known, login, hosts, parts.path, of_redis, of_limiter(query))


def _cap(settings: dict[str, Any], options: Mapping[str, Any]) -> int | None:
    """Take out how many connections there may be."""
    given = settings.pop("max_connections", options["max_connections"])
    return None if given is None else checked_cap(given)


def _database(path: str, options: dict[str, Any], what: str = "/0") -> dict[str, int]:
    """Read the database in the path."""
    number = unquote(path).strip("/")
    if not number:
        return {}
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise OptionError(f"the path of a Redis URL ends with the number of a database, such as {what}")
    if options.get("db", int(number)) != int(number):
        raise OptionError("the URL names two databases: in its path, and by the option db")
    return {"db": int(number)}


def _names(options: Mapping[str, Any], query: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options that somebody has given for redis-py."""
    return tuple(name for name in {**options, **query} if name not in ("connection_class", "max_connections"))


def _server(parts: _Parts, kind: str, settings: dict[str, Any], options: Mapping[str, Any], family: Family) -> Target:
    name = {"redis": "connection", "rediss": "tls_connection", "unix": "unix_connection"}[kind]
    connection_class = settings.pop("connection_class", getattr(family, name))
    query = from_query(parts.query, family.options(name))
    cap = _cap(query, options)
    address: dict[str, Any]
    if kind == "unix":
        if any(host or port for host, port in parts.hosts) or not parts.path.strip("/"):
            raise OptionError("the path of a socket begins after three slashes: unix:///run/redis.sock")
        address = {"path": unquote(parts.path)}
    else:
        if len(parts.hosts) > 1:
            raise OptionError(f"several hosts are for {kind}+sentinel:// and {kind}+cluster://")
        named = dict(zip(("host", "port"), parts.hosts[0] if parts.hosts else (), strict=False))
        address = {**_database(parts.path, query), **{name: value for name, value in named.items() if value}}
    given = _names(options, query)
    return one_server(family, connection_class, {**settings, **query, **parts.login, **address}, given, cap)


def _hosts(parts: _Parts, port: int) -> list[tuple[str, int]]:
    if not parts.hosts or not all(host for host, _ in parts.hosts):
        raise OptionError("a Redis URL names one or more hosts: host:port,host:port")
    return [(host, given or port) for host, given in parts.hosts]


def _sentinel(parts: _Parts, tls: bool, settings: dict[str, Any], options: Mapping[str, Any], family: Family) -> Target:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise OptionError(f"a URL of Sentinel names the service: {parts.scheme}://host:26379,host:26379/mymaster")
    name = "tls_connection" if tls else "connection"
    of_manager = {
        name: parameter for name, parameter in parameters(family.sentinel).items() if not name.startswith("sentinel")
    }
    own = [(name, value) for name, value in parts.query if name.startswith("sentinel_")]
    query = from_query([pair for pair in parts.query if pair not in own], {**family.options(name), **of_manager})
    # The Sentinels may speak TLS though the servers do not, and the other way round.
    of_sentinels = from_query(
        [(name.removeprefix("sentinel_"), value) for name, value in own],
        {**family.options("tls_connection"), "ssl": parameters(family.redis)["ssl"]},
    )
    cap = _cap(query, options)
    server = {**settings, **query, **parts.login, **_database(database, query, "/mymaster/0")}
    if tls:
        server["ssl"] = True
    # They share what is not about users: timeouts, TLS.
    shared = {name: value for name, value in server.items() if name.startswith(("socket_", "ssl")) or name == "retry"}
    if not of_sentinels.get("ssl", tls):
        shared = {name: value for name, value in shared.items() if not name.startswith("ssl")}
    given = (*_names(options, query), *(name for name, _ in own))
    return sentinel_service(
        family, _hosts(parts, 26379), unquote(service), server, {**shared, **of_sentinels}, given, cap
    )


def _cluster(parts: _Parts, tls: bool, settings: dict[str, Any], options: Mapping[str, Any], family: Family) -> Target:
    query = from_query(parts.query, family.cluster_options())
    cap = _cap(query, options)
    found = {**settings, **query, **parts.login, **_database(parts.path, query)}
    if int(found.pop("db", 0)):
        raise OptionError("a Redis Cluster has only database 0")
    if tls:
        found["ssl"] = True
    return cluster_of(family, _hosts(parts, 6379), found, _names(options, query), cap)
