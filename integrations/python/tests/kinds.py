"""Limiters of both kinds, called alike."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import redis.asyncio

from redis_ratelimit import AsyncRateLimiter, RateLimiter

# Servers on a busy machine take their time; the tests of the timeout set another.
PATIENT = 20.0
PATIENCE = "socket_timeout=20&socket_connect_timeout=20"
"""The same in a URL's query."""


class Waiting:
    """An `AsyncRateLimiter`, or a lease of it, whose calls are waited for, so that one test serves both kinds."""

    def __init__(self, limiter: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._limiter = limiter
        self._loop = loop

    def _wait(self, result: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(result, self._loop).result()

    def with_policy(self, policy: Any) -> Waiting:
        return Waiting(self._limiter.with_policy(policy), self._loop)

    def with_observe(self, *words: Any) -> Waiting:
        return Waiting(self._limiter.with_observe(*words), self._loop)

    def close(self) -> None:
        self._wait(self._limiter.aclose())

    def __enter__(self) -> Waiting:
        self._wait(self._limiter.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._wait(self._limiter.__aexit__(*error))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._limiter, name)
        if name in ("lease", "reserve"):
            return lambda *words, **options: Waiting(found(*words, **options), self._loop)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *words, **options: self._wait(found(*words, **options))


class Blocking:
    """Makes blocking limiters."""

    asynchronous = False
    redis: Any = redis

    def __init__(self) -> None:
        self._made: list[Any] = []

    def from_url(self, url: str, **options: Any) -> Any:
        return self._keep(RateLimiter.from_url(url, **{"timeout": PATIENT, **options}))

    def of_client(self, client: Any, **options: Any) -> Any:
        """Make a limiter of a client of redis-py."""
        return self._keep(RateLimiter(client, **{"timeout": PATIENT, **options}))

    def run(self, result: Any) -> Any:
        """Wait for what a client of redis-py returned, if there is something to wait for."""
        return result

    def hear(self) -> None:
        """Let a loop hear what has happened to its connections until now."""

    def _keep(self, limiter: Any) -> Any:
        self._made.append(limiter)
        return limiter

    def close(self) -> None:
        for limiter in self._made:
            limiter.close()


class Asyncio(Blocking):
    """Makes asyncio limiters that are called as blocking ones."""

    asynchronous = True
    redis = redis.asyncio

    def __init__(self) -> None:
        super().__init__()
        # It runs all the time, as in an application: so it notices connections that are closed between two calls.
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def from_url(self, url: str, **options: Any) -> Any:
        return self._keep(Waiting(AsyncRateLimiter.from_url(url, **{"timeout": PATIENT, **options}), self.loop))

    def of_client(self, client: Any, **options: Any) -> Any:
        return self._keep(Waiting(AsyncRateLimiter(client, **{"timeout": PATIENT, **options}), self.loop))

    def run(self, result: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(result, self.loop).result()

    def hear(self) -> None:
        async def turns() -> None:
            # In the first it asks the system, and in the second at the latest it has told its connections.
            for _ in range(2):
                await asyncio.sleep(0)

        self.run(turns())

    def close(self) -> None:
        super().close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
