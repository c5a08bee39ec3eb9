"""Limits of several levels, such as address, user and endpoint, that a request has to pass all at once.

>>> limits = MultiLevelLimiter(limiter, [Level("ip", "100/m"), Level("user", "3/m; 50/h")], scope="login")
>>> result = limits.check({"ip": "192.0.2.1", "user": "ann"})
>>> result.allowed, result["ip"].remaining
(True, 99)
>>> result = limits.check({"ip": "192.0.2.1", "user": "ann"}, cost=3)
>>> result.allowed, result.refused, 0 < result.retry_after <= 60
(False, ('user',), True)

**Atomic.** All levels are asked by one ``RL.MCHECK``: granted and charged by all, or by none.

``RL.MCHECK`` takes one window for each key, and each key once. So a level with several rates has several keys: that of
its longest window is the level's own, ``rl:login:user:ann``, and each shorter one has its length at the end,
``rl:login:user:ann:1m``. A limit that changes forgets nothing; neither does a longest window that becomes shorter.

**In a Redis Cluster** the keys of several levels lie on several nodes. There are two ways, and one has to be chosen:

- ``shard="{rl}"`` puts this hash tag into every key: ``rl:{rl}:login:ip:192.0.2.1``. All of them lie on one node, and
  it is still one atomic command. Different limiters may have different tags.
- ``atomic=False`` asks level by level, in the order in which they are declared: one ``RL.CHECK`` for each, with all its
  rates on one key. When one denies or fails, the units that the earlier ones granted are given back by ``RL.REFUND``.
  Meanwhile others may be denied who would have had room. What cannot be given back, because the node does not answer,
  stays charged until it leaves the window. A request whose answer was lost may have been charged or not: it is not
  given back. Of the levels after the one that denied nothing is known, so it may be necessary to wait once more.

What is given back is named by its receipt, so nobody else's units are, whatever has happened to the key meanwhile.

**Estimated first, settled afterwards**: `MultiLevelLimiter.reserve` charges all levels, and corrects them in the end.

The failure policy is that of the limiter. With ``atomic=False``, ``open`` lets the levels pass that do not answer while
the others still decide; ``closed`` and ``raise`` end at the first, and give back what the earlier ones granted.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from . import headers
from .aio import AsyncRateLimiter
from .client import RateLimiter
from .commands import MAX_TOP
from .decision import Decision
from .errors import ArgumentError, ConfigurationError, RateLimitError, ReservationDeniedError
from .handle import awaited, called, run
from .holding import Charged
from .info import Info, TopKey, Window
from .keys import Part
from .keys import key as build_key
from .rates import Duration, Rate, RateLike, checked_windows, rates, units
from .reservations import Asking, AsyncReservation, Reservation, beats

L = TypeVar("L", RateLimiter, AsyncRateLimiter)
Value: TypeAlias = Part | None
"""What a level counts by, such as an address. None: the level does not apply to this request."""

_logger = logging.getLogger("redis_ratelimit")


class Level:
    """One level: its name, its rates, and what it counts by.

    `key` is a function of what `check` is given, a request for example, that returns the value to count by, or None if
    the level does not apply; for an `AsyncMultiLevelLimiter` it may be asynchronous. It may also be such a value
    itself, the same for every request. By default `check` is given a mapping, and the value is the one of the level's
    name: it has to be there, even if it is None.

    Of a `lease` level, units are given back when the reservation ends: ``Level("in flight", "5/30s", lease=True)`` is 5
    at a time, for 30 seconds at most. There is `reserve` for it, and no `check`.

    >>> Level("user", "20/m; 500/h", key=lambda request: request.user).rates
    (Rate(limit=20, window_ms=60000), Rate(limit=500, window_ms=3600000))

    Raises `ArgumentError` for a name that is no printable ASCII (it appears in headers), for no rate, for more than 8
    and for two of the same window, and for a `lease` with more than one.
    """

    __slots__ = ("_key", "lease", "name", "rates")

    def __init__(
        self, name: str, *given: RateLike, key: Callable[[Any], Any] | Value = None, lease: bool = False
    ) -> None:
        if not isinstance(name, str) or not re.fullmatch("[ -~]+", name):
            raise ArgumentError(f"the name of a level must be printable ASCII, not {name!r:.80}")
        self.name = name
        self.rates: tuple[Rate, ...] = checked_windows(rates(given), f"level {name!r}")
        self.lease = lease
        if lease and len(self.rates) > 1:
            raise ArgumentError(f"level {name!r} is a lease, which has one rate: how many at a time, for how long")
        if not callable(key) and key is not None:
            _checked_value(self, key)
        self._key = key

    def value(self, subject: Any) -> Any:
        """Return what the level counts this subject by: a value, None, or something to await for one."""
        if callable(self._key):
            return self._key(subject)
        if self._key is not None:
            return self._key
        try:
            return subject[self.name]
        except (KeyError, TypeError) as error:
            raise ArgumentError(
                f"level {self.name!r} has no key: give one to the level, or its value in a mapping to check()"
            ) from error

    def __repr__(self) -> str:
        return f"Level({self.name!r}, {'; '.join(map(str, self.rates))!r})"


@dataclass(frozen=True, slots=True)
class LevelDecision:
    """What one level decided, or one rate of it."""

    level: str
    """The name of the level."""
    rate: Rate
    """The rate that this is about. With ``atomic=False``, of several the one that is nearest to its limit."""
    key: str
    """The key in Redis."""
    decision: Decision
    """The decision. In a request that was denied, a level that had room has granted 0, with nothing to wait for."""


@dataclass(frozen=True, slots=True)
class MultiLevelDecision:
    """The answer to one request, over all levels that apply to it. True when it may go on."""

    rows: tuple[LevelDecision, ...]
    """What was decided, in the order of the levels and rates.

    With ``atomic=False`` up to the level that denied. Empty if no level applied, or the cost is 0, which grants the
    request.
    """

    @property
    def allowed(self) -> bool:
        """Whether every level granted the request."""
        return _allowed(self.rows)

    @property
    def refused(self) -> tuple[str, ...]:
        """The names of the levels without room, in order. With ``atomic=False``, the first one.

        Empty when granted, and when the failure policy denied: then nobody knows of any, and `degraded` says why.
        """
        if self.allowed:
            return ()
        without_room = (row for row in self.rows if row.decision.retry_after_ms != 0 and not row.decision.degraded)
        return tuple(dict.fromkeys(row.level for row in without_room))

    @property
    def binding(self) -> LevelDecision | None:
        """The row that counts: when denied, the one with the longest wait; when granted, with the fewest remaining."""
        return binding(self.rows)

    @property
    def never(self) -> bool:
        """Whether no wait is long enough, because the request costs more than a limit."""
        return any(row.decision.never for row in self.rows)

    @property
    def retry_after(self) -> float | None:
        """Seconds until the same request would be granted; 0.0 when granted, None for never."""
        row = self.binding
        return row.decision.retry_after if row else 0.0

    @property
    def degraded(self) -> str | None:
        """Why the failure policy answered for a level, see `Decision.degraded`; None if it did for none."""
        return next((row.decision.degraded for row in self.rows if row.decision.degraded), None)

    @property
    def would_deny(self) -> bool:
        """Whether only observe mode has let this pass; `Decision.would_deny` of each row says which had no room."""
        return any(row.decision.would_deny for row in self.rows)

    def headers(self, *, reset: Literal["epoch", "delta"] = "epoch") -> dict[str, str]:
        """Return the headers: ``X-RateLimit-*`` of the row that counts, ``RateLimit`` of all, and ``Retry-After``."""
        return http_headers(self.rows, reset=reset)

    def __getitem__(self, level: str) -> Decision:
        """Return the decision of a level, of several the one that counts. KeyError if it did not apply."""
        row = binding([row for row in self.rows if row.level == level])
        if row is None:
            raise KeyError(level)
        return row.decision

    def __iter__(self) -> Iterator[LevelDecision]:
        return iter(self.rows)

    def __bool__(self) -> bool:
        return self.allowed


def refuse_leases(levels: Iterable[Level]) -> None:
    """Raise `ArgumentError` if a level is a lease, which nobody would give back."""
    for level in levels:
        if level.lease:
            raise ArgumentError(f"level {level.name!r} is a lease, which has to be given back: use reserve()")


def binding(rows: Sequence[LevelDecision]) -> LevelDecision | None:
    """Return the row that counts, see `MultiLevelDecision.binding`; None of none."""
    if not rows:
        return None
    # What the policy made up says nothing about what remains.
    known = [row for row in rows if not row.decision.degraded] or rows
    if _allowed(rows):
        return min(known, key=lambda row: row.decision.remaining)

    def wait(row: LevelDecision) -> tuple[bool, bool, int]:
        never = row.decision.never
        return (not row.decision.allowed, never, row.rate.window_ms if never else row.decision.retry_after_ms)

    return max(rows, key=wait)


def _allowed(rows: Sequence[LevelDecision]) -> bool:
    # All of them or none. One that was asked for no units, by `costs`, has granted none in either case.
    return not rows or any(row.decision.allowed or row.decision.would_deny for row in rows)


def http_headers(rows: Sequence[LevelDecision], *, reset: Literal["epoch", "delta"] = "epoch") -> dict[str, str]:
    """Return what `MultiLevelDecision.headers` does, of any rows."""
    row = binding(rows)
    if row is None:
        return {}
    # A level with several rows has a quota for each.
    several = {each.level for each in rows if sum(other.level == each.level for other in rows) > 1}
    quotas = {
        f"{each.level} {each.rate}" if each.level in several else each.level: (each.rate, each.decision)
        for each in rows
    }
    return {
        **headers.x_ratelimit(row.decision, reset=reset),
        **headers.rate_limit(quotas),
        **headers.retry_after(row.decision, row.rate),
    }


@dataclass(frozen=True, slots=True)
class _Part:
    """A key of a level, and the rates that are asked on it."""

    level: Level
    key: str
    rates: tuple[Rate, ...]


class _MultiLevel(Generic[L]):
    """Both limiters. What asks is written as coroutines, in which the blocking one never waits: `handle.run`."""

    def __init__(
        self,
        limiter: L,
        levels: Iterable[Level],
        *,
        scope: str | None = None,
        shard: str | None = None,
        atomic: bool | None = None,
        prefix: str = "rl",
        observe: bool | None = None,
    ) -> None:
        self.levels = tuple(levels)
        names = [level.name for level in self.levels]
        if not names:
            raise ArgumentError("at least one level is needed")
        if len(set(names)) < len(names):
            raise ArgumentError("the names of the levels must differ")
        if shard is not None and not re.fullmatch(r"\{[^{}]+\}", shard):
            raise ArgumentError(f"shard must be a hash tag such as '{{rl}}', not {shard!r:.80}")
        if shard is not None and atomic is False:
            raise ArgumentError("shard and atomic=False exclude each other: keys of one shard are asked atomically")
        self._limiter: L = limiter if observe is None else limiter.with_observe(observe)
        self._atomic = atomic is not False
        keys = sum(len(level.rates) for level in self.levels)
        if self._atomic and keys > 128:
            raise ArgumentError(f"all levels together may have 128 rates, not {keys}")
        # Whether it matters, as far as is known, that this may be a cluster.
        self._unchosen = shard is None and self._atomic and keys > 1
        self._before = (scope,) if scope is not None else ()
        self._prefix = prefix
        self._tag = shard[1:-1] if shard else None

    def keys(self, level: str, value: Part) -> tuple[str, ...]:
        """Return the keys of one value of a level: one for each rate, with ``atomic=False`` one for all."""
        return tuple(part.key for part in self._parts_of(self._level(level), value))

    def _level(self, name: str) -> Level:
        for level in self.levels:
            if level.name == name:
                return level
        raise ArgumentError(f"no level is named {name!r:.80}: there are {', '.join(one.name for one in self.levels)}")

    def _parts_of(self, level: Level, value: Any) -> list[_Part]:
        if value is None:
            return []
        _checked_value(level, value)
        if not self._atomic:
            return [_Part(level, self._key(level.name, value), level.rates)]
        longest = max(level.rates, key=lambda rate: rate.window_ms)
        return [
            _Part(level, self._key(level.name, value, *([] if rate is longest else [_window(rate)])), (rate,))
            for rate in level.rates
        ]

    def _key(self, *parts: Part) -> str:
        return build_key(*self._before, *parts, prefix=self._prefix, tag=self._tag)

    def _own(self, rows: list[TopKey], count: int) -> list[TopKey]:
        names = {level.name for level in self.levels}
        start = self._key("")
        return [row for row in rows if row.name.startswith(start) and row.name[len(start) :].split(":")[0] in names][
            :count
        ]

    def _choice_is_needed(self) -> None:
        """Raise if the limiter's servers are those of a cluster."""
        if self._limiter._handle.target.cluster:
            raise ConfigurationError(
                "in a Redis Cluster the keys of several levels lie on several shards: choose shard='{rl}' (a hash tag: "
                "one shard, atomic) or atomic=False (one command for each level, refunds when one denies)"
            )
        self._unchosen = False

    _call: Callable[..., Coroutine[Any, Any, Any]]
    """Calls a method of the limiter, and returns what it returns in the end."""
    _awaits: bool
    """Whether a level's value may be something to await."""
    _interruptions: tuple[type[BaseException], ...]
    """What may end a call between two levels, after which the units of the earlier ones are given back."""

    async def _choose(self, subject: Any) -> list[_Part]:
        chosen: list[_Part] = []
        for level in self.levels:
            value = level.value(subject)
            if self._awaits and inspect.isawaitable(value):
                value = await value
            chosen += self._parts_of(level, value)
        # In observe mode nothing is refused: what the cluster does not take is logged.
        if self._unchosen and not self._limiter.observe:
            self._choice_is_needed()
        return chosen

    async def _check(self, subject: Any, cost: int) -> MultiLevelDecision:
        refuse_leases(self.levels)
        chosen = await self._choose(subject)
        if not chosen or cost == 0:
            return MultiLevelDecision(())
        if not self._atomic:
            return await self._one_by_one(chosen, [cost] * len(chosen))
        decisions = await self._call(self._limiter.mcheck, [(part.key, part.rates[0]) for part in chosen], cost=cost)
        return MultiLevelDecision(tuple(_row(part, decisions[part.key]) for part in chosen))

    def _reserving(self, subject: Any, cost: int, costs: Mapping[str, int] | None) -> Asking[MultiLevelDecision]:
        of_level = {level.name: cost for level in self.levels}
        of_level.update({self._level(name).name: amount for name, amount in (costs or {}).items()})
        for level in self.levels:
            if level.lease or of_level[level.name] != 0:
                units(of_level[level.name], f"the cost of level {level.name!r}")

        async def ask(asked: float) -> tuple[MultiLevelDecision, list[Charged]]:
            parts = await self._choose(subject)
            if not parts:
                return MultiLevelDecision(()), []
            of_parts = [of_level[part.level.name] for part in parts]
            if self._atomic:
                pairs = [(part.key, part.rates[0]) for part in parts]
                decisions = await self._call(self._limiter.mcheck, pairs, costs=of_parts, receipt=True)
                result = MultiLevelDecision(tuple(_row(part, decisions[part.key]) for part in parts))
            else:
                if not any(of_parts):
                    raise ArgumentError("at least one of costs must be above 0")
                result = await self._one_by_one(parts, of_parts)
            if not result:
                return result, []
            found = [row.decision for row in result.rows]
            # In observe mode, those after the one that would have denied were not asked.
            found += [found[-1]] * (len(parts) - len(found))
            granted = [not (decision.degraded or decision.would_deny) for decision in found]
            if self._atomic or result.would_deny:
                # All or nothing, though some had room.
                granted = [all(granted)] * len(granted)
            return result, [
                Charged(
                    *(part.level.name, part.key, part.rates, amount, part.level.lease),
                    *(decision.receipt, by_server, asked),
                )
                for part, decision, amount, by_server in zip(parts, found, of_parts, granted, strict=True)
            ]

        return ask

    def _beats(self, heartbeat: bool | Duration) -> float | None:
        return beats([level.rates[0] for level in self.levels if level.lease], heartbeat)

    async def _one_by_one(self, parts: list[_Part], costs: list[int]) -> MultiLevelDecision:
        granted: list[LevelDecision] = []
        try:
            for part, cost in zip(parts, costs, strict=True):
                row = _row(part, await self._ask_one(part, cost))
                without_room = not row.decision.allowed and (cost or row.decision.retry_after_ms)
                if without_room or row.decision.would_deny:
                    break
                granted.append(row)
            else:
                return MultiLevelDecision(tuple(granted))
        except self._interruptions:
            await self._give_back(granted)
            raise
        await self._give_back(granted)
        if row.decision.would_deny:
            before: list[LevelDecision] = [
                replace(each, decision=replace(each.decision, receipt=0)) for each in granted
            ]
            return MultiLevelDecision((*before, row))
        return _denied(granted, row)

    async def _ask_one(self, part: _Part, cost: int) -> Decision:
        if cost:
            decision: Decision = await self._call(self._limiter.check, part.key, *part.rates, cost=cost, receipt=True)
            return decision
        # As RL.MCHECK: a unit has to be free, and none is charged.
        found: Decision | None = await self._call(self._limiter.peek, part.key)
        limit = min(part.rates).limit
        return Decision(0, limit, limit, 0, 0) if found is None else replace(found, granted=0)

    async def _give_back(self, granted: list[LevelDecision]) -> None:
        for row in granted:
            # The failure policy has none.
            if row.decision.receipt:
                try:
                    await self._call(self._limiter.refund, row.key, row.decision.granted, receipt=row.decision.receipt)
                except RateLimitError as error:
                    _logger.debug("a refund of level %r failed: %s", row.level, error)

    async def _info(self, level: str, value: Part) -> dict[Rate, Window | None]:
        parts = self._parts_of(self._level(level), value)
        return _windows(parts, [await self._call(self._limiter.info, part.key) for part in parts])

    async def _reset(self, level: str, value: Part) -> int:
        if self._unchosen:
            self._choice_is_needed()
        forgotten: int = await self._call(self._limiter.reset, *self.keys(level, value))
        return forgotten

    async def _top(self, count: int) -> list[TopKey]:
        return self._own(await self._call(self._limiter.top, MAX_TOP), count)


def _checked_value(level: Level, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Part):
        raise ArgumentError(
            f"the key of level {level.name!r} must be str, bytes, int, UUID, or None if the level does not apply, "
            f"not {type(value).__name__}"
        )


def _window(rate: Rate) -> str:
    """Return the length of the window as people write it, ``1m``."""
    return str(rate).partition("/")[2]


def _row(part: _Part, decision: Decision) -> LevelDecision:
    # Of several rates the reply tells the limit of the one that counts. Of two with that limit, the longer is tighter.
    of_limit = [rate for rate in part.rates if rate.limit == decision.limit] or part.rates
    return LevelDecision(part.level.name, max(of_limit, key=lambda rate: rate.window_ms), part.key, decision)


def _denied(granted: list[LevelDecision], by: LevelDecision) -> MultiLevelDecision:
    """Return the result of a denial: the levels before had room, and have granted nothing in the end."""
    before = [
        LevelDecision(
            row.level,
            row.rate,
            row.key,
            Decision(
                0, row.decision.limit, row.decision.remaining, 0, row.decision.reset_after_ms, row.decision.degraded
            ),
        )
        for row in granted
    ]
    return MultiLevelDecision((*before, by))


def _windows(parts: list[_Part], found: list[Info | None]) -> dict[Rate, Window | None]:
    """Return the window of each rate; None if nothing is in use."""
    return {
        rate: next((window for window in info.windows if window.window_ms == rate.window_ms), None) if info else None
        for part, info in zip(parts, found, strict=True)
        for rate in part.rates
    }


class MultiLevelLimiter(_MultiLevel[RateLimiter]):
    """Limits of several levels, checked all or nothing. For any number of threads.

    `limiter` is asked, with its connections and its failure policy. `scope` is the first part of all keys and tells
    these levels from those of other limiters. `shard` and `atomic` choose what to do in a Redis Cluster, see the
    module; `prefix` is that of `keys.key`. `observe` replaces the limiter's, see `RateLimiter`.

    Raises `ArgumentError` for levels that do not go together. In a Redis Cluster, the first call raises
    `ConfigurationError` and charges nothing if neither `shard` nor ``atomic=False`` is given.
    """

    _call = staticmethod(called)
    _awaits = False
    _interruptions = (BaseException,)

    def check(self, subject: Any = None, *, cost: int = 1) -> MultiLevelDecision:
        """Decide, and charge `cost` units on every level if all of them have room. A cost of 0 asks nobody.

        `subject` is what the levels get their values from: see `Level`. Raises as `RateLimiter.mcheck`.
        """
        return run(self._check(subject, cost))

    def reserve(
        self,
        subject: Any = None,
        *,
        cost: int = 1,
        costs: Mapping[str, int] | None = None,
        heartbeat: bool | Duration = False,
    ) -> Reservation[MultiLevelDecision]:
        """Return a reservation on all levels, to be settled when the truth is known: `RateLimiter.reserve` by levels.

        Each level is charged its `costs`, by its name, or else `cost`; 0 is allowed, though not for all. What
        `Reservation.settle` is told is by the names of levels, too, and holds for each rate of a level.

        >>> levels = [Level("requests", "60/m"), Level("tokens", "40000/m"), Level("in flight", "5/30s", lease=True)]
        >>> limits = MultiLevelLimiter(limiter, levels, scope="chat")
        >>> subject = {level.name: "ann" for level in levels}
        >>> with limits.reserve(subject, costs={"tokens": 1200}) as reservation:
        ...     reservation.settle({"tokens": 1534})
        >>> [window.used for window in limits.info("tokens", "ann").values()]
        [1534]
        """
        asking = self._reserving(subject, cost, costs)
        return Reservation(self._limiter, asking, ReservationDeniedError, self._beats(heartbeat))

    def info(self, level: str, value: Part) -> dict[Rate, Window | None]:
        """Return what one value of a level has in use, for each rate (``RL.INFO``); None for nothing.

        >>> limits = MultiLevelLimiter(limiter, [Level("ip", "100/m")], scope="search")
        >>> limits.check({"ip": "192.0.2.1"}).allowed
        True
        >>> [window.used for window in limits.info("ip", "192.0.2.1").values()]
        [1]
        >>> limits.reset("ip", "192.0.2.1")
        1
        """
        return run(self._info(level, value))

    def reset(self, level: str, value: Part) -> int:
        """Forget one value of a level (``RL.RESET``). Returns how many of its keys there were."""
        return run(self._reset(level, value))

    def top(self, count: int = 10) -> list[TopKey]:
        """List the keys of this scope that are denied most (``RL.TOP``), at most `count`."""
        return run(self._top(count))


class AsyncMultiLevelLimiter(_MultiLevel[AsyncRateLimiter]):
    """`MultiLevelLimiter` for asyncio: the same calls, to be awaited.

    A call that is cancelled gives back what levels have granted so far (``atomic=False``); that goes on after the
    cancellation, in a task of its own.
    """

    _call = staticmethod(awaited)
    _awaits = True
    _interruptions = (Exception, asyncio.CancelledError)

    async def check(self, subject: Any = None, *, cost: int = 1) -> MultiLevelDecision:
        """As `MultiLevelLimiter.check`."""
        return await self._check(subject, cost)

    def reserve(
        self,
        subject: Any = None,
        *,
        cost: int = 1,
        costs: Mapping[str, int] | None = None,
        heartbeat: bool | Duration = False,
    ) -> AsyncReservation[MultiLevelDecision]:
        """As `MultiLevelLimiter.reserve`, for ``async with``."""
        asking = self._reserving(subject, cost, costs)
        return AsyncReservation(self._limiter, asking, ReservationDeniedError, self._beats(heartbeat))

    async def info(self, level: str, value: Part) -> dict[Rate, Window | None]:
        """As `MultiLevelLimiter.info`."""
        return await self._info(level, value)

    async def reset(self, level: str, value: Part) -> int:
        """As `MultiLevelLimiter.reset`."""
        return await self._reset(level, value)

    async def top(self, count: int = 10) -> list[TopKey]:
        """As `MultiLevelLimiter.top`."""
        return await self._top(count)

    async def _give_back(self, granted: list[LevelDecision]) -> None:
        if any(row.decision.receipt for row in granted):
            # Whoever is cancelled leaves it to the task, which the event loop alone would not keep.
            task = asyncio.ensure_future(super()._give_back(granted))
            _refunding.add(task)
            task.add_done_callback(_refunding.discard)
            await asyncio.shield(task)


_refunding: set[asyncio.Future[None]] = set()
