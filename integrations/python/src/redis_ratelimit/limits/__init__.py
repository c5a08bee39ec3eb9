"""A storage for `limits`, and so for Flask-Limiter and slowapi, on which one hit is one command.

Importing this module registers, with `limits`, the schemes

- ``rl://host:port/db``, ``rls://`` (TLS), ``rl+unix:///path``,
- ``rl+sentinel://host:port,host:port/service``, ``rl+cluster://host:port,host:port``, with ``rls`` over TLS,
- and each of them with ``async+`` before it, for `limits.aio`.

>>> import redis_ratelimit.limits
>>> from limits.storage import storage_from_string
>>> storage = storage_from_string("rl://localhost:6379")

All strategies decide by a strict sliding window (``RL.CHECK``): never more than the limit in any interval as long as
the window. Flask-Limiter and slowapi look strategies up by name, in ``limits.strategies.STRATEGIES``. There, for these
storages, ``fixed-window``, ``moving-window``, ``sliding-window-counter`` and ``rl-sliding-window`` are
`SlidingWindowRateLimiter`, and ``rl-gcra`` is `GcraRateLimiter`. Other storages get the strategies that they always
got, and the moving window by the two new names.
"""

from limits.aio.strategies import STRATEGIES as ASYNC_STRATEGIES
from limits.strategies import STRATEGIES

from .aio import AsyncGcraRateLimiter, AsyncRateLimitStorage, AsyncSlidingWindowRateLimiter
from .registry import register
from .storage import RateLimitStorage
from .strategies import GcraRateLimiter, SlidingWindowRateLimiter

__all__ = [
    "AsyncGcraRateLimiter",
    "AsyncRateLimitStorage",
    "AsyncSlidingWindowRateLimiter",
    "GcraRateLimiter",
    "RateLimitStorage",
    "SlidingWindowRateLimiter",
]

register(STRATEGIES, RateLimitStorage, SlidingWindowRateLimiter, GcraRateLimiter)
register(ASYNC_STRATEGIES, AsyncRateLimitStorage, AsyncSlidingWindowRateLimiter, AsyncGcraRateLimiter)
