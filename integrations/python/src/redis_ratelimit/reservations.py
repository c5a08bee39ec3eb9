"""Reservations: an estimate is charged on several keys at once, and settled when the truth is known.

>>> with limiter.reserve(
...     Charge("{ann}:requests", "60/m"),
...     Charge("{ann}:tokens", "40000/m", cost=1200),
...     Charge("{ann}:inflight", "5/30s", lease=True),
... ) as reservation:
...     reservation.settle({"{ann}:tokens": 1534})
>>> [limiter.info(key).windows[0].used for key in ("{ann}:requests", "{ann}:tokens")], limiter.peek("{ann}:inflight")
([1, 1534], None)

**Charged by one command** (``RL.MCHECK … COSTS … RECEIPT``), on all keys or on none. **Settled by one command for each
key that changes**: ``RL.REFUND … RECEIPT`` for less than the estimate, ``RL.CHECK … FORCE`` for more. They are sent at
once, but are no transaction. What is never settled stays charged until it leaves its window.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

from . import commands
from .commands import Key
from .decision import Decision, Decisions
from .errors import ArgumentError, DeniedError
from .handle import run
from .holding import AsyncioHolding, BlockingHolding, Charged, D, Holding, beat_interval
from .limiter import Limiter
from .rates import Duration, Rate, RateLike, one_rate, units


@dataclass(frozen=True, slots=True)
class Charge:
    """What a reservation charges on one key.

    Of `lease`, all units are given back when the reservation ends, however it ends: for what is in flight. The rate is
    then how many at a time, and for how long at most: ``5/30s``.
    """

    key: Key
    """The key."""
    rate: RateLike
    """Its limit, of one window."""
    cost: int = 1
    """The units to charge. 0, which is for what is not known before: the key needs a unit free, and is charged none."""
    lease: bool = False
    """Whether it is given back in the end, and renewed until then."""


Asking: TypeAlias = Callable[[float], Coroutine[Any, Any, tuple[D, list[Charged]]]]
"""Asks the server, and returns what it has charged, see `Holding._ask`."""


class _Reservation(Holding[D]):
    """Both kinds of reservations."""

    def __init__(
        self, limiter: Limiter, asking: Asking[D], denied: Callable[[D], DeniedError], interval: float | None
    ) -> None:
        super().__init__(limiter, interval)
        self._asking = asking
        self._denies = denied

    @property
    def decisions(self) -> D | None:
        """The answer of the last `acquire`, a `Decisions` or `MultiLevelDecision`; None before."""
        return self._decision

    async def _ask(self, asked: float) -> tuple[D, list[Charged]]:
        return await self._asking(asked)

    def _denied(self, decision: D) -> DeniedError:
        return self._denies(decision)


class Reservation(_Reservation[D], BlockingHolding[D]):
    """Units on several keys, made by `RateLimiter.reserve` or `MultiLevelLimiter.reserve`. Threads may share it.

    ``with`` acquires it, or raises `ReservationDeniedError`. An exception in it gives everything back, as `cancel`
    does; else what was not settled stays charged as it was reserved, and leases are given back. `acquire`, `settle` and
    `cancel` do the same by hand. What ends it first counts: everything after that does nothing, so nothing is given
    back or charged twice.

    Ending it never raises because of the server: what could not be settled stays charged until it leaves its window.
    That is logged. A process that is forked from the holder's does not hold it: there, ending it does nothing.
    """

    def settle(self, actual: Mapping[Key, int] | None = None) -> None:
        """End it, with what was really used of each key, or level, of those that are named.

        Less than reserved is given back, more is charged, even if there is no room. Of keys that are not named, leases
        are given back, and others stay as they are. Raises `ArgumentError`, and settles nothing, for names that were
        not reserved and for what is no number of units.
        """
        run(self._end(self._checked(actual or {})))

    def cancel(self) -> None:
        """End it, and give everything back."""
        run(self._end(None))

    def renew(self) -> dict[Key, Decision]:
        """Hold the leases in it for another window from now. As `Lease.renew`, one after the other."""
        return run(self._renew_held())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run(self._end({} if kind is None else None))


class AsyncReservation(_Reservation[D], AsyncioHolding[D]):
    """`Reservation` for asyncio: ``async with``, and the same calls, to be awaited in one event loop.

    It is ended also when its task is cancelled, as an `AsyncLease` is. A `settle` that is cancelled settles all the
    same.
    """

    async def settle(self, actual: Mapping[Key, int] | None = None) -> None:
        """As `Reservation.settle`."""
        await self._to_the_end(self._end(self._checked(actual or {})))

    async def cancel(self) -> None:
        """As `Reservation.cancel`."""
        await self._to_the_end(self._end(None))

    async def renew(self) -> dict[Key, Decision]:
        """As `Reservation.renew`."""
        return await self._to_the_end(self._renew_held())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._to_the_end(self._end({} if kind is None else None))


def asking(limiter: Limiter, charges: Iterable[Charge]) -> Asking[Decisions]:
    """Return what asks for charges. Raises `ArgumentError` for what cannot be asked."""
    found = tuple(charges)
    rates = [one_rate(one.rate) for one in found]
    for one in found:
        if one.lease:
            units(one.cost, "the cost of a lease")
    request = commands.mcheck(
        [(one.key, rate) for one, rate in zip(found, rates, strict=True)],
        costs=[one.cost for one in found],
        receipt=True,
    )

    async def ask(asked: float) -> tuple[Decisions, list[Charged]]:
        decisions = await limiter._ask(request)
        granted = not (decisions.degraded or decisions.would_deny)
        return decisions, [
            Charged(one.key, one.key, (rate,), one.cost, one.lease, decisions[one.key].receipt, granted, asked)
            for one, rate in zip(found, rates, strict=True)
        ]

    return ask


def leases(charges: Iterable[Charge]) -> list[Rate]:
    """Return the rates of the leases among them."""
    return [one_rate(one.rate) for one in charges if one.lease]


def beats(rates: Iterable[Rate], heartbeat: bool | Duration) -> float | None:
    """Return `beat_interval` for the shortest of these leases. Raises `ArgumentError` if there are none."""
    windows = [rate.window_ms for rate in rates]
    if heartbeat is False:
        return None
    if not windows:
        raise ArgumentError("heartbeat renews leases, and there are none")
    return beat_interval(heartbeat, min(windows))
