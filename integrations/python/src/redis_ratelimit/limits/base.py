"""What a storage does, blocking or not. It is written as coroutines, in which the blocking one never waits: `run`."""

from __future__ import annotations

import math
import re
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from limits.errors import ConfigurationError, StorageError

from .. import commands
from ..aio import AsyncRateLimiter
from ..classify import CLIENT_ERRORS, cannot_probe, classify
from ..client import RateLimiter
from ..errors import ArgumentError, PoolExhaustedError, RateLimitError, UnavailableError
from ..options import OF_LIMITERS
from ..outage import logger
from ..policy import answer
from ..rates import MAX_UNITS, Rate
from ..unusable import usable
from ..url import own_options
from .address import limiter_address
from .naming import GCRA, limit_in, limit_of, redis_key
from .state import LimitState, ReplyCache

L = TypeVar("L", RateLimiter, AsyncRateLimiter)

_BATCH = 500
"""Keys in one RL.RESET."""


class StorageBase(Generic[L]):
    """Both storages, but for the calls of `limits`."""

    limiter: L
    wrap_exceptions: bool
    _pool_type: type
    _client_type: type
    _cluster_type: type
    _limiter_type: Callable[..., L]

    def _open(
        self, uri: str, connection_pool: Any, key_prefix: str, timeout: float, options: Mapping[str, Any]
    ) -> None:
        self.key_prefix = key_prefix
        self._replies = ReplyCache()
        self._may_probe = True
        self._wrapping = _Wrapping(self)
        if connection_pool is not None and not isinstance(connection_pool, self._pool_type):
            module = self._pool_type.__module__.removesuffix(".connection")
            raise ConfigurationError(f"connection_pool must be a {module}.{self._pool_type.__name__}")
        try:
            if connection_pool is None:
                url, options = limiter_address(uri, options)
                self.limiter = self._limiter_type.from_url(url, timeout=timeout, **options)  # type: ignore[attr-defined]
            else:
                own = {name: value for name, value in options.items() if name in OF_LIMITERS} | own_options(uri)
                options = {name: value for name, value in options.items() if name not in OF_LIMITERS}
                client = self._client_type(connection_pool=connection_pool, **options)
                self.limiter = self._limiter_type(client, timeout=timeout, **own)
        except (ArgumentError, TypeError) as error:
            raise ConfigurationError(str(error)) from error

    @property
    def base_exceptions(self) -> type[Exception]:
        """All that a storage raises of itself: `RateLimitError`."""
        return RateLimitError

    def redis_key(self, key: str) -> str:
        """Return the key in Redis of what `limits` calls `key`."""
        return redis_key(self.key_prefix, key)

    async def _decide(self, key: str, limit: int, expiry: int, cost: int, *, gcra: bool = False) -> LimitState:
        if cost == 0:
            return await self._look(key, limit, 0, expiry)
        if limit == 0:
            allowed = self._passes(key, "its limit is 0")
            state = LimitState.of(None, expiry, allowed_if_unused=allowed)
            self._replies.keep(key, state)
            return state
        rate = self._rate(key, limit, expiry, cost)
        if rate is None:
            return self._refusal(key, limit, expiry)
        name = self.redis_key(key)
        with self._wrapping:
            try:
                if gcra:
                    decision = await self.limiter._decide(commands.gcra, name, rate, None, cost)
                else:
                    decision = await self.limiter._decide(commands.check, name, (rate,), cost)
            except PoolExhaustedError:
                # Raised, it might be swallowed, and everything would pass.
                decision = answer("closed", "POOL", limit=limit, cost=cost)
        state = LimitState.of(decision, expiry)
        self._replies.keep(key, state)
        return state

    async def _look(self, key: str, limit: int, cost: int, expiry: int, *, count: bool = True) -> LimitState:
        declared = limit_in(key)
        if cost and declared and declared[0] and self._rate(key, *declared, cost) is None:
            return self._refusal(key, *declared)
        with self._wrapping:
            try:
                request = commands.peek(self.redis_key(key), max(cost, 1))
                decision = await self.limiter._ask(request, count=count and cost > 0)
            except PoolExhaustedError:
                decision = answer("closed", "POOL", limit=limit, cost=cost)
        # Nothing is in use, so the server has not looked at the limit.
        fits = decision is not None or cost <= limit or self._passes(key, f"the cost {cost} is above its limit", count)
        state = LimitState.of(decision, expiry, allowed_if_unused=fits, asked=True)
        self._replies.keep(key, state)
        return state if cost else replace(state, allowed=True)

    async def _stats(self, key: str, limit: int, expiry: int) -> LimitState:
        return self._replies.find(key, expiry) or await self._look(key, limit, 1, expiry, count=False)

    # What the strategies of limits ask. They do not tell why: for a test, or after a hit for the headers.

    async def _read(self, key: str) -> LimitState:
        limit, expiry = limit_in(key) or (MAX_UNITS, 1)
        for_headers = self._replies.has_hit(key)
        state = self._replies.find(key, expiry, of_hits=True) or await self._look(key, limit, 1, expiry, count=False)
        if self.limiter.observe and not for_headers:
            # It may be for a test, which limits itself decides, and nothing is to be refused.
            return replace(state, used=0)
        return state

    async def _incr(self, key: str, expiry: int, amount: int) -> int:
        declared = limit_of(key, expiry)
        limit = MAX_UNITS if declared is None else declared
        state = await self._decide(key, limit, expiry, amount)
        return state.used if state.allowed else max(state.used + amount, limit + 1)

    async def _get(self, key: str) -> int:
        return (await self._read(key)).used

    async def _get_expiry(self, key: str) -> float:
        # limits asks for it after get().
        limit, expiry = limit_in(key) or (MAX_UNITS, 1)
        return (await self._stats(key, limit, expiry)).resets_at

    async def _acquire(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        return (await self._decide(key, limit, expiry, amount)).allowed

    async def _get_moving_window(self, key: str, expiry: int) -> tuple[float, int]:
        state = await self._read(key)
        # limits adds the length of the window.
        ends_at = state.resets_at if state.used or not state.allowed else time.time() + expiry
        return ends_at - expiry, state.used

    async def _get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        state = await self._read(key)
        # The rest of a whole window would be taken for none.
        whole = math.nextafter(expiry, 0)
        if not state.used and not state.allowed:
            # Nothing is in use, and there is a time to wait: for a previous unit that weighs less than one.
            return 1, whole, 0, 0.0
        return 0, 0.0, state.used, min(max(state.resets_at - time.time(), 0.0), whole)

    async def _clear(self, key: str) -> None:
        with self._wrapping:
            await self.limiter._ask(commands.reset([self.redis_key(key)]))
        self._replies.keep(key, LimitState.of(None))

    async def _reset(self) -> int:
        handle = self.limiter._handle
        client = await handle._call(handle.client)
        in_one = 1 if isinstance(client, self._cluster_type) else _BATCH
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self.key_prefix) + ":*"
        forgotten = 0
        found: list[bytes] = []
        try:
            async for key in self._scan(client, pattern):
                found.append(key)
                if len(found) == in_one:
                    forgotten += await self.limiter._ask(commands.reset(found))
                    found.clear()
        except CLIENT_ERRORS as error:
            raise classify(error) from error
        if found:
            forgotten += await self.limiter._ask(commands.reset(found))
        self._replies = ReplyCache()
        return forgotten

    @abstractmethod
    def _scan(self, client: Any, pattern: str) -> AsyncIterator[bytes]:
        """Return the keys that a pattern fits."""

    async def _check(self) -> bool:
        key = self.redis_key("check")
        try:
            if self._may_probe:
                try:
                    # First whether our module is there: CL.THROTTLE might be another's.
                    await self.limiter._ask_quietly(commands.peek(key, 1))
                    await self.limiter._ask_quietly(commands.probe(key))
                except RateLimitError as error:
                    if not cannot_probe(error):
                        raise
                    # Not again: the server counts what it has to refuse.
                    self._may_probe = False
            if not self._may_probe:
                await self.limiter.with_observe(False)._ask(
                    commands.check(key, [(MAX_UNITS, 0.001)], 1, at_most=False, force=False, block=None)
                )
        except RateLimitError:
            return False
        return True

    def _rate(self, key: str, limit: int, expiry: int, cost: int) -> Rate | None:
        """Return what to ask the server with; None if the module has no such limit, or the cost is above any."""
        if cost > MAX_UNITS:
            return None
        return usable(limit, expiry, "a storage for limits", gcra=key.endswith(GCRA))

    def _refusal(self, key: str, limit: int, expiry: int) -> LimitState:
        """Return the answer to what the server cannot decide.

        It is never granted. It is not an exception, which would be swallowed or end in a fallback, and nothing would be
        limited.
        """
        allowed = self._passes(key, "the server has no such limit, or the cost is above any")
        state = LimitState.now(allowed, 0 if allowed else limit, expiry)
        self._replies.keep(key, state)
        return state

    def _passes(self, key: str, why: str, count: bool = True) -> bool:
        """Whether observe mode lets pass what is refused without asking the server."""
        if self.limiter.observe and count:
            self.limiter._observer.note(repr(key)[:100], why)
        return self.limiter.observe


class _Wrapping:
    """Raises as `limits` has promised: a StorageError around each exception, if that was asked for."""

    __slots__ = ("_logged", "_storage")

    def __init__(self, storage: StorageBase[Any]) -> None:
        self._storage = storage
        self._logged: set[type[RateLimitError]] = set()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            if self._logged:
                self._logged.clear()
        elif isinstance(error, RateLimitError):
            self._log(error)
            if self._storage.wrap_exceptions:
                raise StorageError(error) from error

    def _log(self, error: RateLimitError) -> None:
        """Say once why hits fail: those who fall back to memory only say that they do. Outages are logged already."""
        if not isinstance(error, UnavailableError) and type(error) not in self._logged:
            self._logged.add(type(error))
            logger.error("rate limiting does not work: %s", error)
