"""`RateLimiter` beside the same commands by redis-py alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
import redis.asyncio

from redis_ratelimit import AsyncRateLimiter, RateLimiter
from redis_ratelimit.multilevel import AsyncMultiLevelLimiter, Level, MultiLevelLimiter

from .rows import CLIENTS, DAY, DENIED, MANY, Row, in_turn

LEVELS = ("ip", "user", "path")
RATE = f"{MANY}/d"
KEYS = [f"user:{client}" for client in CLIENTS]
KEY = f"user:{DENIED}"
SEVERAL = [[f"rl:{level}:{client}" for level in LEVELS] for client in CLIENTS]


def rows(port: int) -> Iterator[Row]:
    url = f"redis://127.0.0.1:{port}"
    plain, limiter = redis.Redis.from_url(url), RateLimiter.from_url(url, timeout=20)
    remembering = RateLimiter.from_url(url, timeout=20, cache_denials=1000)
    execute = plain.execute_command
    levels = MultiLevelLimiter(limiter, [Level(name, RATE) for name in LEVELS])
    # Denied from here on: one admission a day, and this is it.
    execute("RL.CHECK", KEY, 1, DAY)
    remembering.check(KEY, "1/d")

    def by_hand(key: str) -> bool:
        pipeline = plain.pipeline()
        pipeline.incr(f"count:{key}")
        pipeline.expire(f"count:{key}", DAY, nx=True)
        return bool(pipeline.execute()[0] <= MANY)

    def plain_mcheck(keys: list[str]) -> bool:
        return bool(execute("RL.MCHECK", 3, *keys, *(MANY, DAY) * 3)[0][0])

    def plain_lease(key: str) -> bool:
        reply: Any = execute("RL.CHECK", f"lease:{key}", 1000, 30, "RECEIPT")
        execute("RL.REFUND", f"lease:{key}", 1, "RECEIPT", reply[5])
        return bool(reply[0])

    def lease(key: str) -> bool:
        with limiter.lease(f"lease:{key}", 1000, "30s") as held:
            return held is not None

    def check(key: str) -> bool:
        return limiter.check(key, RATE).allowed

    def plain_check(key: str) -> bool:
        return bool(execute("RL.CHECK", key, MANY, DAY)[0])

    table = "client"
    yield Row(table, "`check`, granted", True, in_turn(plain_check, KEYS), in_turn(check, KEYS))
    yield Row(
        *(table, "`check`, denied", False),
        lambda: bool(execute("RL.CHECK", KEY, 1, DAY)[0]),
        lambda: limiter.check(KEY, "1/d").allowed,
    )
    yield Row(
        *(table, "`check`, denied, with `cache_denials`", False),
        lambda: bool(execute("RL.CHECK", KEY, 1, DAY)[0]),
        lambda: remembering.check(KEY, "1/d").allowed,
    )
    yield Row(
        *(table, "`gcra`, granted", True),
        in_turn(lambda key: bool(execute("RL.GCRA", f"g:{key}", MANY, DAY)[0]), KEYS),
        in_turn(lambda key: limiter.gcra(f"g:{key}", RATE).allowed, KEYS),
    )
    yield Row(
        *(table, "`mcheck` of 3 keys, granted", True),
        in_turn(plain_mcheck, SEVERAL),
        in_turn(lambda keys: limiter.mcheck(dict.fromkeys(keys, RATE)).allowed, SEVERAL),
    )
    yield Row(
        *(table, "`MultiLevelLimiter` of 3 levels, granted", True),
        in_turn(plain_mcheck, SEVERAL),
        in_turn(lambda client: levels.check(dict.fromkeys(LEVELS, client)).allowed, CLIENTS),
    )
    yield Row(table, "`lease`, acquired and released", True, in_turn(plain_lease, KEYS), in_turn(lease, KEYS))
    yield from _asynchronous(url)
    yield Row(
        *("limits", "`INCR` and `EXPIRE` in a pipeline / `RateLimiter.check`", True),
        *(in_turn(by_hand, KEYS), in_turn(check, KEYS)),
    )
    yield Row(
        *("threads", "`execute_command` / `RateLimiter.check`", True),
        *(in_turn(plain_check, KEYS), in_turn(check, KEYS)),
        threads=8,
    )


def _asynchronous(url: str) -> Iterator[Row]:
    plain, limiter = redis.asyncio.Redis.from_url(url), AsyncRateLimiter.from_url(url, timeout=20)
    remembering = AsyncRateLimiter.from_url(url, timeout=20, cache_denials=1000)
    execute = plain.execute_command
    levels = AsyncMultiLevelLimiter(limiter, [Level(name, RATE) for name in LEVELS])

    async def plain_check(key: str, limit: int = MANY) -> bool:
        return bool((await execute("RL.CHECK", key, limit, DAY))[0])

    async def check(key: str) -> bool:
        return (await limiter.check(key, RATE)).allowed

    async def denied(limiter: AsyncRateLimiter = limiter) -> bool:
        return (await limiter.check(KEY, "1/d")).allowed

    async def plain_mcheck(keys: list[str]) -> bool:
        return bool((await execute("RL.MCHECK", 3, *keys, *(MANY, DAY) * 3))[0][0])

    async def mcheck(keys: list[str]) -> bool:
        return (await limiter.mcheck(dict.fromkeys(keys, RATE))).allowed

    async def several(client: str) -> bool:
        return (await levels.check(dict.fromkeys(LEVELS, client))).allowed

    table = "client"
    yield Row(table, "asyncio: `check`, granted", True, in_turn(plain_check, KEYS), in_turn(check, KEYS))
    yield Row(table, "asyncio: `check`, denied", False, lambda: plain_check(KEY, 1), denied)
    yield Row(
        *(table, "asyncio: `check`, denied, with `cache_denials`", False),
        lambda: plain_check(KEY, 1),
        lambda: denied(remembering),
    )
    yield Row(
        table, "asyncio: `mcheck` of 3 keys, granted", True, in_turn(plain_mcheck, SEVERAL), in_turn(mcheck, SEVERAL)
    )
    yield Row(
        *(table, "asyncio: `AsyncMultiLevelLimiter` of 3 levels, granted", True),
        *(in_turn(plain_mcheck, SEVERAL), in_turn(several, CLIENTS)),
    )
