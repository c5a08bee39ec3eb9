"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import redis

from . import commands
from .commands import Key, pairs_of
from .connection import BLOCKING, DEFAULT_TIMEOUT, target_of_client
from .decision import Decision, Decisions
from .errors import ReservationDeniedError
from .handle import BlockingHandle, called, run
from .info import Info, TopKey
from .leases import Lease
from .limiter import Limiter
from .policy import Policy
from .rates import Duration, RateLike
from .reservations import Charge, Reservation, asking, beats, leases
from .url import own_options, target_of_url

if TYPE_CHECKING:
    from typing_extensions import Self


class RateLimiter(Limiter):
    """Rate limits on a Redis or Valkey server, behind Sentinel, or in a Redis Cluster. For any number of threads.

    `client` is a `redis.Redis` (also one of ``Sentinel.master_for``) or a `redis.RedisCluster`. Its address, user, TLS
    and database are taken over. The limiter connects for itself, so that it can give up after `timeout` seconds (for a
    connection, and for each answer), and so that no request is repeated behind its back: one whose answer was lost may
    have been charged, and is never sent again. With ``timeout=None`` the client is used as it is, with its own
    timeouts and retries; such a retry may charge a request more than once.

    At most `max_connections` calls are on their way at a time, each on a connection of its own (in a cluster: at most
    so many to each node), and the others wait for up to `timeout` seconds for their turn. By default that is what the
    URL or the client's pool says, and else any number. A call that has had no turn raises `PoolExhaustedError`, or with
    ``open`` and ``closed`` is denied, with ``POOL`` in `Decision.degraded`: the server is there, only too many ask.

    `policy` says what happens when there is no decision (no connection, no answer in time, or an answer such as
    ``OOM``, ``LOADING``, ``READONLY`` or ``NOAUTH``). ``raise`` raises `UnavailableError`. With ``open``, `check`,
    `gcra`, `mcheck` and `peek` grant, with ``closed`` they deny; `Decision.degraded` says so. The other calls always
    raise. One line is logged (``redis_ratelimit``) when that begins and one when it is over, and each call asks the
    server anew. Mistakes raise whatever the policy is: `ArgumentError`, `WrongTypeError`, `ModuleMissingError` and the
    other `RateLimitError`.

    With `observe` nobody is refused, to see what limits would do before they do it. Everything is decided and charged
    as ever, but `check`, `gcra`, `mcheck` and `peek` grant all that was asked for. What would have been denied, granted
    in part, or told to wait (`max_wait`) has `Decision.would_deny`; so has what would have raised an exception or been
    refused by the policy, with the reason in `Decision.degraded`. It is counted (`would_deny_total`), and logged
    (``redis_ratelimit.observe``) at most every 10 seconds. An `ArgumentError` for what cannot be sent is raised all the
    same.

    `cache_denials` is how many denials are remembered, by default none. The same request (key, rates, cost and options)
    is then denied again without asking, until the time that its caller was told to wait. What others give back or reset
    meanwhile is not seen, only what this limiter does. Remembered are neither denials for ever, nor those with
    `receipt`, `renew` and `max_wait`, nor what `peek` says. The server does not count what it is not asked.

    >>> limiter.check("user:bob", "100/m").remaining
    99
    """

    _handle: BlockingHandle

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        *,
        policy: Policy = "raise",
        timeout: float | None = DEFAULT_TIMEOUT,
        max_connections: int | None = None,
        observe: bool = False,
        cache_denials: int = 0,
    ) -> None:
        handle = BlockingHandle(target_of_client(client, timeout, max_connections, BLOCKING), timeout)
        super().__init__(handle, policy, observe, cache_denials)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        policy: Policy = "raise",
        timeout: float = DEFAULT_TIMEOUT,
        max_connections: int | None = None,
        observe: bool = False,
        cache_denials: int = 0,
        **options: Any,
    ) -> Self:
        """Make a limiter from a URL. Nothing is connected before the first call.

        - ``redis://[user][:password]@host:6379/0``, ``rediss://`` for TLS, ``unix://[user][:password]@/path?db=0``
        - ``redis+sentinel://[user][:password]@host:26379,host:26379/service[/0]``: the primary of the service.
          Options that begin with ``sentinel_`` are for the Sentinels: ``sentinel_username``, ``sentinel_password``
        - ``redis+cluster://[user][:password]@host:6379,host:6379``: a Redis Cluster, of which one node is enough
        - ``rediss+sentinel://``, ``rediss+cluster://``: all connections over TLS; ``sentinel_ssl=no`` takes the
          Sentinels out
        - ``rl://``, ``rls://``, ``rl+unix://``, ``rl+sentinel://``, …: the same, as storages for `limits` are named

        The query and `options` are those of redis-py: ``?ssl_ca_certs=/path``, ``client_name="web"``, ``protocol=2``.
        What is in the query counts more. Raises `OptionError`, a `ConfigurationError`, for a bad URL and for options
        that redis-py does not know or cannot use.
        """
        made = cls.__new__(cls)
        target = target_of_url(url, timeout, max_connections, options, BLOCKING)
        own = {"observe": observe, "cache_denials": cache_denials, **own_options(url)}
        Limiter.__init__(made, BlockingHandle(target, timeout), policy, **own)
        return made

    def check(
        self,
        key: Key,
        *rates: RateLike,
        cost: int = 1,
        at_most: bool = False,
        force: bool = False,
        block: Duration | None = None,
        upto: Duration | None = None,
        keep: int = 0,
        receipt: bool = False,
        renew: int | None = None,
    ) -> Decision:
        """Decide by a sliding window, or by up to 8 of different lengths that all must have room (``RL.CHECK``).

        `cost` units are taken, all or none. `at_most` takes what there is, up to the cost; `force` charges even if
        there is no room; `block` locks the key for so long after a denial, and with `upto` each block in a row twice
        as long as the one before, up to that. `keep` leaves so many units for others.

        With `receipt`, `Decision.receipt` is what `refund` takes to give back these very units; `renew` gives back
        those of an earlier receipt and asks for the cost anew, in one step.

        >>> limiter.check("login:ann", "5/m", "20/h", block="15m").remaining
        4
        >>> limiter.check("upload:ann", (100, "1h"), cost=150, at_most=True).granted
        100
        """
        words = (key, rates, cost, at_most, force, block)
        return run(self._decide(commands.check, *words, upto=upto, keep=keep, receipt=receipt, renew=renew))

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
        upto: Duration | None = None,
        keep: int = 0,
        max_wait: Duration | None = None,
    ) -> Decision:
        """Decide by GCRA, a token bucket: the rate sustained, at most `burst` at once (``RL.GCRA``).

        By default the burst is the limit. With `max_wait`, what would have room within that time is granted now, and
        `Decision.retry_after` is how long to wait before going on: `wait_turn` does so. The rest is as for `check`.

        >>> limiter.gcra("feed:ann", "10/s", burst=20).remaining
        19
        """
        words = (key, rate, burst, cost, at_most, force, block)
        return run(self._decide(commands.gcra, *words, upto=upto, keep=keep, max_wait=max_wait))

    def mcheck(
        self,
        rates: Mapping[Key, RateLike] | Iterable[tuple[Key, RateLike]],
        *,
        cost: int = 1,
        costs: Sequence[int] | None = None,
        force: bool = False,
        receipt: bool = False,
    ) -> Decisions:
        """Decide by one sliding window for each of 1 to 128 keys, all or nothing over all of them (``RL.MCHECK``).

        In a Redis Cluster, all keys have to be of one slot; else it is a `CrossSlotError`.

        `costs` are those of the keys, in their order. 0 is allowed, though not for all: such a key needs a unit free,
        and is charged none. `force` and `receipt` are as for `check`.

        >>> limiter.mcheck({"{ann}:ip": "100/m", "{ann}:account": "1000/h"}).allowed
        True
        """
        costs = tuple(costs) if isinstance(costs, list) else costs
        request = self._decide(commands.mcheck, pairs_of(rates), cost, costs=costs, force=force, receipt=receipt)
        return run(request)

    def peek(self, key: Key, *, cost: int = 1) -> Decision | None:
        """Tell what a request would be answered, and charge nothing (``RL.PEEK``). None when nothing is in use.

        >>> limiter.peek("user:nobody") is None
        True
        """
        return run(self._ask(commands.peek(key, cost)))

    def info(self, key: Key) -> Info | None:
        """Tell all about one limiter (``RL.INFO``). None when nothing is in use."""
        return run(self._ask(commands.info(key)))

    def refund(self, key: Key, units: int = 1, *, receipt: int | None = None) -> Decision | None:
        """Give back the units granted last, or those of a receipt (``RL.REFUND``).

        `Decision.granted` says how many. None when nothing is in use.

        >>> limiter.check("mail:ann", "5/h", cost=3).remaining
        2
        >>> limiter.refund("mail:ann", 2).remaining
        4
        """
        return run(self._ask(commands.refund(key, units, receipt=receipt)))

    def lease(self, key: Key, limit: int, ttl: Duration, *, cost: int = 1, heartbeat: bool | Duration = False) -> Lease:
        """Return a lease, of at most `limit` at a time on this key, which ends by itself after `ttl`.

        Nobody is asked before it is acquired: by ``with``, which raises `LeaseDeniedError` if there is no room, or by
        `Lease.acquire`, which returns the denial. It weighs `cost` units. With `heartbeat`, a thread renews it that
        often (``True``: three times in `ttl`) as long as it is held; `Lease.lost` says if that has failed for too long.

        >>> with limiter.lease("report:ann", 1, "30s"):
        ...     limiter.lease("report:ann", 1, "30s").acquire().allowed
        False
        """
        return Lease(self, key, limit, ttl, cost, heartbeat)

    def reserve(self, *charges: Charge, heartbeat: bool | Duration = False) -> Reservation[Decisions]:
        """Return a reservation of units on 1 to 128 keys, all or nothing, to be settled when the truth is known.

        Nobody is asked before it is acquired: by ``with``, which raises `ReservationDeniedError` if there is no room,
        or by `Reservation.acquire`, which returns the denial. `heartbeat` renews its leases, as for `lease`. In a Redis
        Cluster, all keys have to be of one slot, as for `mcheck`.

        >>> charges = [Charge("{bob}:tokens", "40000/m", cost=1200), Charge("{bob}:inflight", "5/30s", lease=True)]
        >>> with limiter.reserve(*charges) as reservation:
        ...     reservation.settle({"{bob}:tokens": 900})
        >>> limiter.peek("{bob}:tokens").remaining
        39100
        """
        return Reservation(self, asking(self, charges), ReservationDeniedError, beats(leases(charges), heartbeat))

    def wait_turn(
        self, key: Key, rate: RateLike, *, burst: int = 1, cost: int = 1, max_wait: Duration = 60
    ) -> Decision:
        """Wait for a turn, and return when it has come: for calls to somebody who limits them (``RL.GCRA … MAXWAIT``).

        All who ask for this key get a turn each, in the order in which they asked, at this rate; with a `burst`, so
        many at once. If it would take longer than `max_wait`, nothing is charged, and the denial is returned at once.
        Who does not wait to the end has had the turn all the same.

        >>> limiter.wait_turn("api.example.com", "20/s").allowed, limiter.wait_turn("api.example.com", "20/s").allowed
        (True, True)
        """
        request = commands.gcra(key, rate, burst, cost, max_wait=max_wait)
        return run(self._wait_turn(request, called, time.sleep))

    def reset(self, *keys: Key) -> int:
        """Forget limiters, at most 1,024, and the blocks on them (``RL.RESET``). Returns how many there were.

        >>> limiter.check("user:eve", "1/m").remaining, limiter.reset("user:eve"), limiter.info("user:eve")
        (0, 1, None)
        """
        return run(self._ask(commands.reset(keys)))

    def top(self, count: int = 10, *, database: int | None = None) -> list[TopKey]:
        """List the keys denied most lately, most first (``RL.TOP``), of all databases or of one.

        In a Redis Cluster, those of all primaries.
        """
        return run(self._ask(commands.top(count, database)))

    def close(self) -> None:
        """Close the limiter's own connections; a later call opens them again."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
