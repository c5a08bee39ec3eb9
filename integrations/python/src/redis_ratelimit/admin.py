"""What operators ask: which keys there are, what the servers have counted, and whether they decide.

All of it concerns every primary: the server, that of a Sentinel service, or those of a Redis Cluster. It needs rights
that an application does not: ``+info +scan +rl.top``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import redis
from redis.client import NEVER_DECODE
from redis.sentinel import SentinelConnectionPool

from . import commands
from .classify import CLIENT_ERRORS, cannot_probe, classify
from .client import RateLimiter
from .commands import as_map
from .errors import ArgumentError, RateLimitError, ReplyError, UnavailableError, WrongTypeError
from .info import Info
from .keys import client_ip, escape
from .keys import key as build_key

_PREFIX_OF_FIELDS = "ratelimit_"


@dataclass(frozen=True, slots=True)
class Primary:
    """A server that decides."""

    name: str
    """Its address."""
    ask: Callable[..., Any]
    """Sends a command, and returns the reply or raises a `RateLimitError`."""
    owns: Callable[[str], bool]
    """Whether a key lies there."""


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except CLIENT_ERRORS as error:
        raise classify(error) from error


def primaries(limiter: RateLimiter) -> list[Primary]:
    """Return all servers that the limiter's keys may lie on. Raises `UnavailableError` if a cluster cannot be found."""
    with _our_errors():
        client = limiter._handle.client()
        if not isinstance(client, redis.RedisCluster):
            return [Primary(_address(client), _asking(client), lambda _: True)]
        return [
            Primary(
                f"{node.host}:{node.port}",
                _asking(client.get_redis_connection(node)),
                lambda key, node=node: client.get_node_from_key(key) == node,  # type: ignore[misc]
            )
            for node in client.get_primaries()
        ]


def _asking(client: redis.Redis) -> Callable[..., Any]:
    def ask(*words: str | bytes | int) -> Any:
        with _our_errors():
            return client.execute_command(*words, **{NEVER_DECODE: True})

    return ask


def _address(client: Any) -> str:
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return str(pool.service_name)
    settings = pool.connection_kwargs
    return str(settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}")


def counters(limiter: RateLimiter) -> dict[str, dict[str, int]]:
    """Return the fields of ``INFO ratelimit``, without their prefix, of each primary by its address."""
    return {primary.name: counters_of(primary) for primary in primaries(limiter)}


def counters_of(primary: Primary) -> dict[str, int]:
    """Return the fields of ``INFO ratelimit`` of one server, without their prefix."""
    found = primary.ask("INFO", "ratelimit")
    fields = {
        name.removeprefix(_PREFIX_OF_FIELDS): value
        for name, value in found.items()
        if name.startswith(_PREFIX_OF_FIELDS) and isinstance(value, int)
    }
    if not fields:
        # Says that the module is missing, if it is.
        primary.ask("RL.PEEK", _probe(primary))
        raise ReplyError(f"{primary.name} has no section ratelimit in INFO")
    return fields


def total(found: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of the fields."""
    sums: dict[str, int] = {}
    for fields in found:
        for name, value in fields.items():
            sums[name] = sums.get(name, 0) + value
    return sums


@dataclass(frozen=True, slots=True)
class Filter:
    """Which keys are meant: all that begin with a prefix and a scope, and have certain values among their parts.

    The scope is the first part after the prefix and the hash tag, if there is one, or several of them with ``:``
    between. Values stand between ``:`` or ``/``, as `keys.key` writes them; addresses also as `keys.client_ip` groups
    them.

    >>> of_ann = Filter("rl", "login", ("ann",))
    >>> [of_ann.fits(key) for key in (b"rl:login:ann", b"rl:{rl}:login:user:ann:1m", b"rl:api:ann", b"rl:login:anne")]
    [True, True, False, False]
    """

    prefix: str = "rl"
    scope: str | None = None
    values: tuple[str | bytes, ...] = ()

    def fits(self, key: bytes) -> bool:
        """Whether a key is meant."""
        text = key.decode("utf-8", "surrogateescape")
        if self.prefix:
            if not text.startswith(f"{self.prefix}:"):
                return False
            text = text[len(self.prefix) + 1 :]
        if re.match(r"\{[^{}]+\}:", text):
            text = text.partition(":")[2]
        if self.scope is not None:
            start = next((one for one in _scopes(self.scope) if f"{text}:".startswith(f"{one}:")), None)
            if start is None:
                return False
            text = text[len(start) :]
        return all(_stands_in(text, value) for value in self.values)

    def pattern(self) -> str:
        """Return what ``SCAN MATCH`` takes for the keys that may be meant."""
        return re.sub(r"([*?\[\]\\^])", r"\\\1", self.prefix) + (":*" if self.prefix else "*")


def _scopes(scope: str) -> list[str]:
    # Some adapters hash no scope, however long it is.
    return [build_key(scope, prefix=""), build_key(*scope.split(":"), prefix=""), escape(scope)]


def _stands_in(text: str, value: str | bytes) -> bool:
    forms = {build_key(value, prefix="")}
    if isinstance(value, str):
        forms.add(build_key(client_ip(value), prefix=""))
    return any(re.search(f"(?:^|[:/]){re.escape(form)}(?=$|[:/])", text) for form in forms if form)


def find(limiter: RateLimiter, which: Filter) -> list[bytes]:
    """Return the keys that are meant, by ``SCAN`` on every primary: it looks at all keys there, in small steps."""
    found: dict[bytes, None] = {}
    for primary in primaries(limiter):
        cursor: int | bytes = 0
        while True:
            cursor, keys = primary.ask("SCAN", cursor, "MATCH", which.pattern(), "COUNT", 1000, "TYPE", "string")
            found |= dict.fromkeys(key for key in keys if which.fits(key))
            if int(cursor) == 0:
                break
    return sorted(found)


def reset(limiter: RateLimiter, keys: Iterable[str | bytes]) -> list[str | bytes]:
    """Forget limiters, and return those that there were. What holds something else is left alone."""
    return [key for key in keys if _reset(limiter, key)]


def look(limiter: RateLimiter, key: str | bytes) -> Info | None:
    """Tell all about a limiter, or None if there is none: nothing in use, or something else."""
    try:
        return limiter.info(key)
    except WrongTypeError:
        return None


def _reset(limiter: RateLimiter, key: str | bytes) -> bool:
    try:
        return limiter.reset(key) > 0
    except WrongTypeError:
        return False


@dataclass(frozen=True, slots=True)
class Health:
    """How a server is."""

    server: str
    """Its address."""
    problem: str | None
    """Why it does not decide, or None. It begins with a code, such as ``WRONGPASS``, ``NOMODULE`` or ``SLOW``."""
    latency_ms: float | None = None
    """Milliseconds that a decision took, over an open connection."""
    counted: bool = False
    """Whether the server has counted the question as a decision and as ``impossible``, see `health`."""
    role: str | None = None
    """``master`` or ``replica``; None if the server does not say, as the following."""
    server_version: str | None = None
    """Such as ``redis 7.0.15``."""
    module_version: str | None = None
    """Such as ``0.1.0``."""

    @property
    def ok(self) -> bool:
        """Whether it decides."""
        return self.problem is None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def health(limiter: RateLimiter, *, prefix: str = "rl", max_latency_ms: float | None = None) -> list[Health]:
    """Ask every primary whether it would decide, and return how they are.

    The question meets everything that can be in the way of a decision (users, memory, replication, snapshots), but it
    is none: it changes nothing, and no counter that alerts watch. It is ``CL.THROTTLE`` with a quantity of 0, on a key
    that begins with `prefix`. If the user may not run it, or the server does not have it (``ratelimit.cl-throttle
    no``), it is a decision of ``RL.CHECK`` that can never be granted. That one counts as ``impossible``, and `counted`
    says so.
    """
    try:
        found = primaries(limiter)
    except RateLimitError as error:
        return [Health("cluster", _problem(error))]
    return [_health(primary, prefix, max_latency_ms) for primary in found]


def _health(primary: Primary, prefix: str, max_latency_ms: float | None) -> Health:
    about = _about(primary)
    counted = False
    try:
        key = _probe(primary, prefix)
        # Without our module, it would be the command of another one.
        ask = _look if about.module_version is not None else _decide
        try:
            ask(primary, key)
        except RateLimitError as error:
            if ask is _decide or not cannot_probe(error):
                raise
            ask = _decide
            ask(primary, key)
        counted = ask is _decide
        began = time.perf_counter()
        ask(primary, key)
        latency = round((time.perf_counter() - began) * 1000, 3)
    except RateLimitError as error:
        return Health(primary.name, _problem(error), None, counted, *about)
    slow = max_latency_ms is not None and latency > max_latency_ms
    problem = f"SLOW: a decision took {latency} ms, more than {max_latency_ms} ms" if slow else None
    return Health(primary.name, problem, latency, counted, *about)


def _look(primary: Primary, key: str) -> None:
    request = commands.probe(key)
    request.read([primary.ask(*request.words)])


def _decide(primary: Primary, key: str) -> None:
    reply = primary.ask("RL.CHECK", key, 1, 1, "COST", 2)
    if not isinstance(reply, list) or len(reply) < 5 or reply[3] != -1:
        raise ReplyError(f"RL.CHECK replied {reply!r:.200}")


class _About(NamedTuple):
    role: str | None = None
    server_version: str | None = None
    module_version: str | None = None


def _about(primary: Primary) -> _About:
    """Return the role, and the versions of the server and of the module."""
    try:
        # Every user may ask this. INFO would leave its mark in the ACL log of those who may not.
        reply = as_map(primary.ask("HELLO"))
        modules = [as_map(module) for module in reply.get("modules", ())]
    except (RateLimitError, TypeError, ValueError):
        return _About()
    number = next((module.get("ver") for module in modules if _text(module.get("name")) == "ratelimit"), None)
    return _About(
        _text(reply.get("role")),
        f"{_text(reply['server'])} {_text(reply['version'])}" if "server" in reply and "version" in reply else None,
        f"{number // 10_000}.{number // 100 % 100}.{number % 100}" if isinstance(number, int) else None,
    )


def _text(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _problem(error: RateLimitError) -> str:
    if isinstance(error, UnavailableError):
        return f"{error.reason}: {error.__cause__ or error}"
    code = {"ModuleMissingError": "NOMODULE", "ConfigurationError": "CONFIGURATION"}.get(type(error).__name__, "ERROR")
    return f"{code}: {error}"


def _probe(primary: Primary, prefix: str = "rl") -> str:
    """Return a key that lies on the server, and that nobody uses."""
    for number in range(100_000):
        key = build_key("ratelimit-health", number, prefix=prefix)
        if primary.owns(key):
            return key
    raise ArgumentError(f"{primary.name} owns no slots")
