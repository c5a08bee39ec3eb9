"""A storage for `limits`, and so for Flask-Limiter and slowapi, on which one hit is one command.

Importing this module registers, with `limits`, the schemes

- ``rl://host:port/db``, ``rls://`` (TLS), ``rl+unix:///path``,
- ``rl+sentinel://host:port,host:port/service``, ``rl+cluster://host:port,host:port``, with ``rls`` over TLS,
- and each of them with ``async+`` before it, for `limits.aio`.

>>> import redis_ratelimit.limits
>>> from limits.storage import storage_from_string
>>> storage = storage_from_string("rl://localhost:6379")

The strategies of `limits` decide by a strict sliding window on these storages (``RL.CHECK``): never more than the limit
in any interval as long as the window, whether by ``fixed-window``, ``moving-window`` or ``sliding-window-counter``. Two
strategies of our own can be chosen by name, ``rl-sliding-window`` and ``rl-gcra``: `SlidingWindowRateLimiter` and
`GcraRateLimiter`. Nothing that belongs to `limits` is replaced.
"""

from typing import Any

import limits.aio.strategies
import limits.strategies

from .aio import AsyncGcraRateLimiter, AsyncRateLimitStorage, AsyncSlidingWindowRateLimiter
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

# By name they are only called.
_strategies: Any = limits.strategies.STRATEGIES
_strategies["rl-sliding-window"] = SlidingWindowRateLimiter.by_name
_strategies["rl-gcra"] = GcraRateLimiter.by_name
_strategies = limits.aio.strategies.STRATEGIES
_strategies["rl-sliding-window"] = AsyncSlidingWindowRateLimiter.by_name
_strategies["rl-gcra"] = AsyncGcraRateLimiter.by_name
