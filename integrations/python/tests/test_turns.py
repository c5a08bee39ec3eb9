"""On real servers: turns in order and at the rate, units left for others, blocks that grow, receipts and costs."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from kinds import Blocking
from servers import Server

from redis_ratelimit import AsyncRateLimiter, Decision, RateLimiter, UnavailableError

KEY = "rl:api.example.com"


@pytest.fixture
def limiter(server: Server, limiters: Blocking) -> Any:
    return limiters.from_url(server.url)


def test_each_waits_as_long_as_it_is_told(limiter: Any) -> None:
    began = time.monotonic()
    turns = [limiter.wait_turn(KEY, (2, 0.2)) for _ in range(4)]
    # The first at once, the others a tenth of a second after the one before, or later: no two at once.
    assert time.monotonic() - began >= 0.3 - 0.001
    assert all(turns)
    assert turns[0].retry_after == 0
    assert all(0 <= turn.retry_after <= 0.11 for turn in turns)


def test_a_turn_that_is_too_far_away_is_denied_at_once_and_takes_none(limiter: Any) -> None:
    assert limiter.wait_turn(KEY, "1/h", max_wait=1).allowed
    before = time.monotonic()
    denied = limiter.wait_turn(KEY, "1/h")
    assert time.monotonic() - before < 60
    assert (denied.allowed, denied.granted) == (False, 0)
    assert 3500 < denied.retry_after <= 3600
    assert limiter.info(KEY).windows[0].used == 1


def test_a_burst_goes_on_at_once_and_may_cost_more(limiter: Any) -> None:
    turns = [limiter.wait_turn(KEY, "10/h", burst=5, cost=2, max_wait=1) for _ in range(3)]
    assert [(turn.granted, turn.retry_after) for turn in turns[:2]] == [(2, 0), (2, 0)]
    assert not turns[2]


def test_turns_are_told_in_the_order_in_which_they_were_asked_for(limiter: Any) -> None:
    waits = [limiter.gcra(KEY, "1/h", burst=1, max_wait="1d") for _ in range(5)]
    assert all(waits)
    assert waits[0].retry_after == 0
    assert [round(wait.retry_after / 3600) for wait in waits] == [0, 1, 2, 3, 4]
    assert limiter.gcra(KEY, "1/h", burst=1).allowed is False


@pytest.mark.parametrize("policy", ["open", "closed", "raise"])
def test_policies_apply_and_nobody_waits(policy: Any, start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, policy=policy)
    server.kill()
    if policy == "raise":
        with pytest.raises(UnavailableError):
            limiter.wait_turn(KEY, "1/h")
    else:
        turn = limiter.wait_turn(KEY, "1/h")
        assert (turn.allowed, turn.degraded) == (policy == "open", "CONNECTION")


def test_threads_and_tasks_have_a_turn_each(server: Server) -> None:
    """Ten of each kind. Nobody comes before the turns of those before."""
    finished: list[float] = []

    async def tasks() -> None:
        async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:

            async def one() -> None:
                assert await limiter.wait_turn(KEY, (1, 0.02))
                finished.append(time.monotonic())

            await asyncio.gather(*(one() for _ in range(10)))

    with RateLimiter.from_url(server.url, timeout=20) as limiter:

        def one() -> None:
            assert limiter.wait_turn(KEY, (1, 0.02))
            finished.append(time.monotonic())

        began = time.monotonic()
        threads = [threading.Thread(target=one) for _ in range(10)]
        threads.append(threading.Thread(target=lambda: asyncio.run(tasks())))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(finished) == 20
    for number, when in enumerate(sorted(finished)):
        assert when - began >= number * 0.02 - 0.001


async def test_who_is_cancelled_has_had_the_turn(server: Server) -> None:
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        assert await limiter.wait_turn(KEY, "1/h")
        waiting = asyncio.ensure_future(limiter.wait_turn(KEY, "1/h", max_wait="2h"))
        deadline = time.monotonic() + 30
        while (await _used(limiter)) < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        # Others may have been told already to come after it.
        assert await _used(limiter) == 2


async def _used(limiter: AsyncRateLimiter) -> int:
    info = await limiter.info(KEY)
    return info.windows[0].used if info else 0


def test_units_are_left_for_others(limiter: Any) -> None:
    assert [limiter.check(KEY, "5/h", keep=2).allowed for _ in range(4)] == [True, True, True, False]
    assert limiter.check(KEY, "5/h", cost=9, at_most=True, keep=1).granted == 1
    assert limiter.check(KEY, "5/h").allowed
    assert limiter.check(KEY, "5/h", keep=5).never
    assert [limiter.gcra("rl:b", "5/h", keep=3).allowed for _ in range(3)] == [True, True, False]


def test_blocks_in_a_row_grow(limiter: Any) -> None:
    def attempt(**options: Any) -> Decision:
        answer: Decision = limiter.check(KEY, "1/s", **options)
        return answer

    attempt()
    denied = attempt(cost=1, block="1h", upto="3h")
    assert 3590 < denied.retry_after <= 3600
    assert (limiter.info(KEY).blocks, 3590 < limiter.info(KEY).blocked_for <= 3600) == (1, True)
    limiter.reset(KEY)
    assert limiter.info(KEY) is None


def test_receipts_and_costs_of_several_keys(limiter: Any) -> None:
    first = limiter.check(KEY, "5/h", cost=2, receipt=True)
    second = limiter.check(KEY, "5/h", receipt=True)
    assert 0 < first.receipt < second.receipt
    # Not the newest.
    assert limiter.refund(KEY, 5, receipt=first.receipt).granted == 2
    assert limiter.refund(KEY, 5, receipt=first.receipt).granted == 0
    renewed = limiter.check(KEY, "5/h", renew=second.receipt)
    assert renewed.receipt > second.receipt
    assert renewed.remaining == 4
    both = limiter.mcheck({"rl:a": "5/h", "rl:b": "9/h"}, costs=[0, 3], receipt=True)
    assert both.allowed
    assert [(row.granted, row.remaining, row.receipt > 0) for row in both.values()] == [(0, 5, False), (3, 6, True)]
    forced = limiter.mcheck([("rl:a", "5/h"), ("rl:b", "9/h")], costs=[7, 8], force=True)
    assert [row.granted for row in forced.values()] == [7, 8]
    assert limiter.mcheck([("rl:a", "5/h"), ("rl:c", "9/h")], costs=[1, 0]).refused == ("rl:a",)
