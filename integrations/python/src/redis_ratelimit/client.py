"""The blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.client import NEVER_DECODE
from redis.exceptions import RedisClusterException, SlotNotCoveredError

from . import commands, connection
from .classify import CLIENT_ERRORS, is_demotion
from .commands import Key, Request
from .connection import BLOCKING, DEFAULT_TIMEOUT
from .decision import Decision, Decisions
from .info import Info, TopKey
from .limiter import Limiter
from .policy import Policy
from .rates import Duration, RateLike

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class RateLimiter(Limiter):
    """Rate limits on a Redis or Valkey server, behind Sentinel, or in a Redis Cluster. For any number of threads.

    `client` is a `redis.Redis` (also one of ``Sentinel.master_for``) or a `redis.RedisCluster`. Its address, user, TLS
    and database are taken over. The limiter connects for itself, so that it can give up after `timeout` seconds (for a
    connection, and for each answer), and so that no request is repeated behind its back: one whose answer was lost may
    have been charged, and is never sent again. With ``timeout=None`` the client is used as it is, with its own
    timeouts and retries; such a retry may charge a request more than once.

    `policy` says what happens when there is no decision (no connection, no answer in time, or an answer such as
    ``OOM``, ``LOADING``, ``READONLY`` or ``NOAUTH``). ``raise`` raises `UnavailableError`. With ``open``, `check`,
    `gcra`, `mcheck` and `peek` grant, with ``closed`` they deny; `Decision.degraded` says so. The other calls always
    raise. One line is logged (``redis_ratelimit``) when that begins and one when it is over, and each call asks the
    server anew. Mistakes raise whatever the policy is: `ArgumentError`, `WrongTypeError`, `ModuleMissingError` and the
    other `RateLimitError`.

    >>> limiter.check("user:bob", "100/m").remaining
    99
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        *,
        policy: Policy = "raise",
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(connection.like(client, timeout, BLOCKING), policy)

    @classmethod
    def from_url(cls, url: str, *, policy: Policy = "raise", timeout: float = DEFAULT_TIMEOUT, **options: Any) -> Self:
        """Make a limiter from a URL. Nothing is connected before the first call.

        - ``redis://[user][:password]@host:6379/0``, ``rediss://`` for TLS, ``unix://[user][:password]@/path?db=0``
        - ``redis+sentinel://[user][:password]@host:26379,host:26379/service[/0]``: the primary of the service.
          Options that begin with ``sentinel_`` are for the Sentinels: ``sentinel_username``, ``sentinel_password``
        - ``redis+cluster://[user][:password]@host:6379,host:6379``: a Redis Cluster, of which one node is enough
        - ``rediss+sentinel://``, ``rediss+cluster://``: all connections over TLS; ``sentinel_ssl=no`` takes the
          Sentinels out

        The query and `options` are those of redis-py: ``?ssl_ca_certs=/path``, ``client_name="web"``, ``protocol=2``. A
        timeout in the query counts more than `timeout`. Raises `ArgumentError` for a bad URL.
        """
        made = cls.__new__(cls)
        Limiter.__init__(made, connection.from_url(url, timeout, options, BLOCKING), policy)
        return made

    def check(
        self,
        key: Key,
        *rates: RateLike,
        cost: int = 1,
        at_most: bool = False,
        force: bool = False,
        block: Duration | None = None,
    ) -> Decision:
        """Decide by a sliding window, or by up to 8 of different lengths that all must have room (``RL.CHECK``).

        `cost` units are taken, all or none. `at_most` takes what there is, up to the cost; `force` charges even where
        there is no room; `block` locks the key for so long after a denial.

        >>> limiter.check("login:ann", "5/m", "20/h", block="15m").remaining
        4
        >>> limiter.check("upload:ann", (100, "1h"), cost=150, at_most=True).granted
        100
        """
        return self._ask(commands.check(key, rates, cost, at_most, force, block))

    def gcra(
        self,
        key: Key,
        rate: RateLike,
        *,
        burst: int | None = None,
        cost: int = 1,
        at_most: bool = False,
        force: bool = False,
        block: Duration | None = None,
    ) -> Decision:
        """Decide by GCRA, a token bucket: the rate sustained, at most `burst` at once (``RL.GCRA``).

        By default the burst is the limit.

        >>> limiter.gcra("feed:ann", "10/s", burst=20).remaining
        19
        """
        return self._ask(commands.gcra(key, rate, burst, cost, at_most, force, block))

    def mcheck(self, rates: Mapping[Key, RateLike] | Iterable[tuple[Key, RateLike]], *, cost: int = 1) -> Decisions:
        """Decide by one sliding window for each of 1 to 128 keys, all or nothing over all of them (``RL.MCHECK``).

        In a Redis Cluster, all keys have to be of one slot; `CrossSlotError` otherwise.

        >>> limiter.mcheck({"{ann}:ip": "100/m", "{ann}:account": "1000/h"}).allowed
        True
        """
        return self._ask(commands.mcheck(rates, cost))

    def peek(self, key: Key, *, cost: int = 1) -> Decision | None:
        """Tell what a request would be answered, and charge nothing (``RL.PEEK``). None when nothing is in use.

        >>> limiter.peek("user:nobody") is None
        True
        """
        return self._ask(commands.peek(key, cost))

    def info(self, key: Key) -> Info | None:
        """Tell all about one limiter (``RL.INFO``). None when nothing is in use."""
        return self._ask(commands.info(key))

    def refund(self, key: Key, units: int = 1) -> Decision | None:
        """Give back the units granted last (``RL.REFUND``).

        `Decision.granted` says how many. None when nothing is in use.

        >>> limiter.check("mail:ann", "5/h", cost=3).remaining
        2
        >>> limiter.refund("mail:ann", 2).remaining
        4
        """
        return self._ask(commands.refund(key, units))

    def reset(self, *keys: Key) -> int:
        """Forget limiters, and the blocks on them (``RL.RESET``). Returns how many there were.

        >>> limiter.check("user:eve", "1/m").remaining, limiter.reset("user:eve"), limiter.info("user:eve")
        (0, 1, None)
        """
        return self._ask(commands.reset(keys))

    def top(self, count: int = 10) -> list[TopKey]:
        """List the keys denied most, most first (``RL.TOP``). In a Redis Cluster, those of all primaries."""
        return self._ask(commands.top(count))

    def close(self) -> None:
        """Close the limiter's own connections; a later call opens them again."""
        client = self._link.take()
        if client is not None and self._link.owned:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Request[T]) -> T:
        try:
            replies = self._send(request)
        except CLIENT_ERRORS as error:
            return self._without_decision(request, error)
        self._outages.succeeded()
        return request.read(replies)

    def _send(self, request: Request[T]) -> list[Any]:
        client = self._link.get()
        try:
            return _send(client, request)
        except SlotNotCoveredError:
            # A cluster client looks for the owner of a slot again only when a node has sent it elsewhere.
            client.nodes_manager.initialize()
        except RedisClusterException:
            # No node answers, and a cluster client may have forgotten where to look: the next call makes another.
            if self._link.owned and self._link.take(client) is not None:
                client.close()
            raise
        except CLIENT_ERRORS as error:
            if not is_demotion(error):
                raise
            # A replica has refused, so nothing was charged: once more, to whoever is the primary now.
            if not isinstance(client, redis.RedisCluster):
                client.connection_pool.disconnect(inuse_connections=False)
        return _send(client, request)


def _send(client: Any, request: Request[T]) -> list[Any]:
    # Keys are bytes, whatever the client decodes.
    options: dict[str, Any] = {NEVER_DECODE: True}
    cluster = isinstance(client, redis.RedisCluster)
    if not cluster:
        return [client.execute_command(*request.words, **options)]
    # Told the node, redis-py follows redirections but repeats nothing.
    nodes = [client.get_node_from_key(request.slot_key())] if request.keys else client.get_primaries()
    return [client.execute_command(*request.words, target_nodes=node, **options) for node in nodes]
