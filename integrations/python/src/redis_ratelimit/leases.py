"""Leases: so many at a time, each at most so long, whatever becomes of the holder.

A lease is a unit of a sliding window that is given back before it leaves the window (``RL.REFUND … RECEIPT``). One
whose holder has died is free again after its time (`ttl`). So there is nothing that has to be cleaned up.

>>> with limiter.lease("inflight:ann", 5, "30s") as lease:
...     lease.decision.remaining
4
>>> limiter.peek("inflight:ann") is None
True
"""

from __future__ import annotations

from types import TracebackType

from . import commands
from .commands import Key
from .decision import Decision
from .errors import DeniedError, LeaseDeniedError
from .handle import run
from .holding import AsyncioHolding, BlockingHolding, Charged, Holding, beat_interval
from .limiter import Limiter
from .rates import Duration, Rate, units


class _Lease(Holding[Decision]):
    """Both kinds of leases."""

    def __init__(
        self, limiter: Limiter, key: Key, limit: int, ttl: Duration, cost: int, heartbeat: bool | Duration
    ) -> None:
        self._rate = Rate.of(limit, ttl)
        super().__init__(limiter, beat_interval(heartbeat, self._rate.window_ms))
        self._key = key
        self._cost = units(cost, "cost")

    @property
    def decision(self) -> Decision | None:
        """The answer of the last `acquire`; None before."""
        return self._decision

    async def _ask(self, asked: float) -> tuple[Decision, list[Charged]]:
        rates = (self._rate,)
        decision = await self._limiter._ask(commands.check(self._key, rates, self._cost, receipt=True))
        receipt = decision.receipt
        return decision, [Charged(self._key, self._key, rates, self._cost, True, receipt, receipt != 0, asked)]

    def _denied(self, decision: Decision) -> DeniedError:
        return LeaseDeniedError(decision)

    async def _renew_one(self) -> Decision:
        return (await self._renew_held())[self._key]


class Lease(_Lease, BlockingHolding[Decision]):
    """One of at most `limit` leases on a key, made by `RateLimiter.lease`. Threads may share it.

    ``with`` acquires it, or raises `LeaseDeniedError`, and releases it in the end. `acquire` and `release` do the same
    by hand. It may be acquired again after it was released, but not twice at a time (`RuntimeError`).

    A process that is forked from the holder's does not hold it: there, `release` does nothing.
    """

    def release(self) -> None:
        """Give it back. Does nothing if it is not held, so it is given back once however often this is called.

        Never raises because of the server: what it does not take back now ends by itself. That is logged.
        """
        run(self._end(None))

    def renew(self) -> Decision:
        """Hold it for another `ttl` from now; returns whether that was granted. One command (``RL.CHECK … RENEW``).

        A denial changes nothing: the lease ends when it would have ended. That happens if it had ended already and
        others have its place, or if the limit was lowered. A renewal whose answer was lost may count for itself until
        `ttl` has passed. Raises `RuntimeError` if the lease is not held, else as `RateLimiter.check`.
        """
        return run(self._renew_one())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class AsyncLease(_Lease, AsyncioHolding[Decision]):
    """`Lease` for asyncio: ``async with``, and the same calls, to be awaited in one event loop.

    It is given back also when its task is cancelled, wherever that was waiting. A call that is cancelled waits for the
    server for up to a second; a second cancellation ends that, and the rest is done in a task of its own. If the event
    loop ends before, the lease ends after its `ttl`.
    """

    async def release(self) -> None:
        """As `Lease.release`."""
        await self._to_the_end(self._end(None))

    async def renew(self) -> Decision:
        """As `Lease.renew`."""
        return await self._to_the_end(self._renew_one())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.release()
