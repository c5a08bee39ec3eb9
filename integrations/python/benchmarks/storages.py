"""`limits` on its own storage for Redis, and on ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import limits
import limits.aio.storage
import limits.aio.strategies
import limits.storage
import limits.strategies

import redis_ratelimit.limits  # noqa: F401 (registers its storages)

from .rows import CLIENTS, DENIED, MANY, Call, Row, in_turn

STRATEGIES = {
    "fixed window": limits.strategies.FixedWindowRateLimiter,
    "moving window": limits.strategies.MovingWindowRateLimiter,
    "sliding window counter": limits.strategies.SlidingWindowCounterRateLimiter,
}


def rows(port: int) -> Iterator[Row]:
    address = f"127.0.0.1:{port}"
    theirs = limits.storage.storage_from_string(f"redis://{address}")
    ours = limits.storage.storage_from_string(f"rl://{address}", timeout=20)
    for name, kind in STRATEGIES.items():
        for what, stats in (("hit", False), ("hit and stats", True)):
            for granted in (True, False):
                sides = [_asking(kind(storage), granted, stats) for storage in (theirs, ours)]
                about = f"`limits`, {name}: {what}, {'granted' if granted else 'denied'}"
                yield Row("limits", about, granted, *sides)
    yield from _asynchronous(address)
    for what, stats in (("hit", False), ("hit and stats", True)):
        sides = [_asking(STRATEGIES["fixed window"](storage), True, stats) for storage in (theirs, ours)]
        yield Row("threads", f"`limits`, fixed window: {what}", True, *sides, threads=8)


def _asking(strategy: limits.strategies.RateLimiter, granted: bool, stats: bool) -> Call:
    """Return a hit, by many clients or by one that is denied; with `stats` also what headers tell."""
    item = limits.parse(f"{MANY if granted else 1}/day")
    name = type(strategy).__name__

    def hit(client: str) -> bool:
        return strategy.hit(item, name, client)

    def hit_and_stats(client: str) -> bool:
        found = strategy.hit(item, name, client)
        assert (strategy.get_window_stats(item, name, client).remaining > 0) is granted
        return found

    return in_turn(hit_and_stats if stats else hit, CLIENTS if granted else [DENIED])


def _asynchronous(address: str) -> Iterator[Row]:
    # With redis-py: by default it is another client.
    theirs = limits.storage.storage_from_string(f"async+redis://{address}", implementation="redispy")
    ours = limits.storage.storage_from_string(f"async+rl://{address}", timeout=20)
    item = limits.parse(f"{MANY}/day")

    def asking(storage: Any, stats: bool) -> Call:
        strategy = limits.aio.strategies.FixedWindowRateLimiter(storage)

        async def hit(client: str) -> bool:
            found = await strategy.hit(item, "async", client)
            assert not stats or (await strategy.get_window_stats(item, "async", client)).remaining > 0
            return found

        return in_turn(hit, CLIENTS)

    for what, stats in (("hit", False), ("hit and stats", True)):
        name = f"asyncio: `limits`, fixed window: {what}, granted"
        yield Row("limits", name, True, asking(theirs, stats), asking(ours, stats))
