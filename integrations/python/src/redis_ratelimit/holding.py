"""Units that are held for a while and given back once: what leases and reservations share.

It is written as coroutines, in which the blocking kind never waits for an event loop: `handle.run`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import commands
from .commands import Key, Request
from .decision import Decision
from .errors import ArgumentError, DeniedError, RateLimitError
from .handle import run
from .limiter import Limiter
from .rates import MAX_UNITS, Duration, Rate, milliseconds

if TYPE_CHECKING:
    from typing_extensions import Self

D = TypeVar("D")
T = TypeVar("T")

_logger = logging.getLogger("redis_ratelimit")

BEATS = 3
"""How often a heartbeat renews in the time after which a lease ends, unless somebody says something else."""

GRACE = 1.0
"""Seconds for which a call that is cancelled waits for the server, so that nothing is left behind."""


@dataclass(slots=True)
class Charged:
    """What was charged on one key."""

    name: Key
    """What the application calls it: the key, or a level."""
    key: Key
    rates: tuple[Rate, ...]
    units: int
    lease: bool
    """Whether it is given back in the end, and renewed until then."""
    receipt: int
    counted: bool
    """Whether the server has granted it; not if the failure policy has answered, or observe mode let it pass."""
    asked: float
    """When it was asked for, or renewed, by this machine: it is held for its window from then, or longer."""
    lapsed: bool = False
    """Whether it was renewed too late, so that others may have had it meanwhile."""

    @property
    def lost(self) -> bool:
        """Whether others may have its place, by a clock that starts no later than the server's."""
        return self.lapsed or time.monotonic() >= self.asked + self.rates[0].window_ms / 1000

    def change_to(self, units: int) -> Request[Any] | None:
        """Return the command that makes it so many units; None if none is needed."""
        if not self.counted or units == self.units:
            return None
        if units > self.units:
            return commands.check(self.key, self.rates, units - self.units, force=True)
        return commands.refund(self.key, self.units - units, receipt=self.receipt)

    def renewal(self) -> Request[Decision]:
        """Return the command that gives it back and asks for it anew."""
        return commands.check(self.key, self.rates, self.units, receipt=True, renew=self.receipt or None)

    def renewed(self, decision: Decision, asked: float) -> None:
        """Note that this was granted."""
        self.lapsed = self.lost
        self.asked = asked
        # The failure policy has none. Then what is held is still that of before.
        if decision.receipt:
            self.receipt, self.counted = decision.receipt, True


def beat_interval(heartbeat: bool | Duration, ttl_ms: int) -> float | None:
    """Return after how many seconds each to renew; None for never. Raises `ArgumentError` if that is too late."""
    if heartbeat is False:
        return None
    if heartbeat is True:
        return ttl_ms / 1000 / BEATS
    interval = milliseconds(heartbeat, "heartbeat")
    if interval >= ttl_ms:
        raise ArgumentError(
            f"heartbeat must be less than the {ttl_ms} ms after which the lease ends, not {interval} ms"
        )
    return interval / 1000


class Holding(ABC, Generic[D]):
    """Asks for units, renews them, and gives them back once."""

    def __init__(self, limiter: Limiter, interval: float | None) -> None:
        self._limiter = limiter
        self._interval = interval
        self._decision: D | None = None
        self._charged: list[Charged] = []
        self._is_held = False
        self._told = False
        self._process = os.getpid()
        self._turn = self._new_lock()

    # Of leases or reservations

    @abstractmethod
    async def _ask(self, asked: float) -> tuple[D, list[Charged]]:
        """Ask the server, at this time, and return what it has charged."""

    @abstractmethod
    def _denied(self, decision: D) -> DeniedError:
        """Return what `with` raises."""

    # Blocking or not

    @abstractmethod
    def _new_lock(self) -> Any:
        """Return a lock to enter with ``async with``: one call at a time."""

    @abstractmethod
    def _start_beating(self, interval: float) -> None:
        """Begin to call `_beat`."""

    @abstractmethod
    def _stop_beating(self) -> None:
        """End it, but not in the middle of a call. The lock is ours."""

    # Of all

    @property
    def lost(self) -> bool:
        """Whether a lease was not renewed in time, so that others may have its place.

        By this machine's clock, and never later than by the server's. It stays so until the next `acquire`.
        """
        return any(one.lease and one.lost for one in self._charged)

    def _holds(self) -> bool:
        # In a process that was forked from the holder, it is the holder's.
        return self._is_held and self._process == os.getpid()

    async def _acquire(self) -> D:
        if self._process != os.getpid():
            # A thread that is not in this process may have the lock.
            self._process, self._is_held, self._turn = os.getpid(), False, self._new_lock()
        async with self._turn:
            if self._is_held:
                raise RuntimeError("it is held already")
            decision, charged = await self._ask(time.monotonic())
            self._decision = decision
            if decision:
                self._charged, self._is_held, self._told = charged, True, False
                if self._interval is not None:
                    self._start_beating(self._interval)
        return decision

    async def _renew(self) -> dict[Key, Decision] | None:
        """Renew all leases; None if nothing is held."""
        if not self._holds():
            return None
        async with self._turn:
            if not self._holds():
                return None
            decisions = {}
            for one in self._charged:
                if not one.lease:
                    continue
                asked = time.monotonic()
                decision = await self._limiter._ask(one.renewal())
                decisions[one.name] = decision
                if decision:
                    one.renewed(decision, asked)
                if not self._holds() and decision.receipt:
                    # Ended by this very thread, while it waited: garbage was collected, and a generator with it.
                    await self._change([one.change_to(0)])
            return decisions

    async def _renew_held(self) -> dict[Key, Decision]:
        decisions = await self._renew()
        if decisions is None:
            raise RuntimeError("there is nothing to renew: it is not held")
        return decisions

    async def _beat(self) -> bool:
        """Renew, and return whether to go on."""
        try:
            await self._renew()
        except RateLimitError as error:
            # The next may work. What is no decision was logged.
            _logger.debug("a lease was not renewed: %s", error)
        if self._holds() and self.lost and not self._told:
            self._told = True
            _logger.warning("a lease could not be renewed in time: others may have its place")
        return self._holds()

    async def _end(self, actual: Mapping[Key, int] | None) -> None:
        """Give back what was not used: of what is not named, leases. None: all."""
        if not self._holds():
            return
        async with self._turn:
            if not self._holds():
                return
            # First: whatever happens now, nothing is given back twice.
            self._is_held = False
            self._stop_beating()
            await self._change([one.change_to(_used(one, actual)) for one in self._charged])

    async def _change(self, needed: list[Request[Any] | None]) -> None:
        requests = [request for request in needed if request is not None]
        if not requests:
            return
        results = await self._limiter._ask_all(requests)
        self._limiter._say_unsettled([result for result in results if isinstance(result, RateLimitError)])

    def _checked(self, actual: Mapping[Key, int]) -> Mapping[Key, int]:
        """Return what was used, or raise `ArgumentError`."""
        for name, units in actual.items():
            if isinstance(units, bool) or not isinstance(units, int) or not 0 <= units <= MAX_UNITS:
                raise ArgumentError(f"what was used must be integers from 0 to {MAX_UNITS}, not {units!r:.80}")
            if name not in self._names():
                raise ArgumentError(f"nothing was reserved on {name!r:.80}")
        return actual

    def _names(self) -> set[Key]:
        return {one.name for one in self._charged}


def _used(one: Charged, actual: Mapping[Key, int] | None) -> int:
    if actual is None:
        return 0
    return actual.get(one.name, 0 if one.lease else one.units)


class _ThreadLock:
    """A lock of threads, entered as one of asyncio is."""

    def __init__(self) -> None:
        # Garbage may be collected while it is ours, and what is collected may want it in the same thread.
        self._lock = threading.RLock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class BlockingHolding(Holding[D]):
    """One that threads may share. Its heartbeat is a thread."""

    _beating: threading.Event | None = None

    def _new_lock(self) -> Any:
        return _ThreadLock()

    def _start_beating(self, interval: float) -> None:
        self._beating = threading.Event()
        # It does not keep what it renews: nobody else would give it back.
        words = (weakref.ref(self), self._beating, interval)
        threading.Thread(target=_beat_in_thread, args=words, name="redis_ratelimit heartbeat", daemon=True).start()

    def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.set()

    def acquire(self) -> D:
        """Ask for it, and return the answer, also if it is a denial: true when granted."""
        return run(self._acquire())

    def __enter__(self) -> Self:
        decision = self.acquire()
        if not decision:
            raise self._denied(decision)
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""


def _beat_in_thread(reference: weakref.ref[Holding[Any]], stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        holding = reference()
        if holding is None or not run(holding._beat()):
            return
        del holding


_tasks: set[asyncio.Task[Any]] = set()
"""What goes on after the caller was cancelled. The event loop alone would not keep it."""


def _spawn(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.get_running_loop().create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_done)
    return task


def _done(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        # Who was cancelled does not ask what became of it.
        task.exception()


class AsyncioHolding(Holding[D]):
    """One of an event loop. Its heartbeat is a task."""

    _beating: asyncio.Task[None] | None = None

    def _new_lock(self) -> Any:
        return asyncio.Lock()

    def _start_beating(self, interval: float) -> None:
        self._beating = asyncio.get_running_loop().create_task(_beat_in_task(weakref.ref(self), interval))

    def _stop_beating(self) -> None:
        if self._beating is not None:
            # The lock is ours, so it sleeps or waits for the lock.
            self._beating.cancel()

    async def acquire(self) -> D:
        """Ask for it, and return the answer, also if it is a denial: true when granted.

        When cancelled, what the server has granted by then is given back.
        """
        task = _spawn(self._acquire())
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            await asyncio.wait({_spawn(self._undo(task))}, timeout=GRACE)
            raise
        return task.result()

    async def _undo(self, task: asyncio.Task[D]) -> None:
        await asyncio.wait({task})
        # If another call holds it, that one keeps it.
        if not task.cancelled() and task.exception() is None and task.result():
            await self._end(None)

    async def _to_the_end(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine that goes on even if the caller is cancelled."""
        task = _spawn(coroutine)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            await asyncio.wait({task}, timeout=GRACE)
            raise
        return task.result()

    async def __aenter__(self) -> Self:
        decision = await self.acquire()
        if not decision:
            raise self._denied(decision)
        return self

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""


async def _beat_in_task(reference: weakref.ref[Holding[Any]], interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        holding = reference()
        if holding is None or not await holding._beat():
            return
        del holding
