"""Leases, on real servers: held by so many at a time, given back once, whatever happens to the holder."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from holding import calls, cancelled_at_every_point, eventually_free, expiry, forks, heartbeats, in_a_child, used
from kinds import Blocking
from servers import Cluster, Server, eventually

from redis_ratelimit import ArgumentError, AsyncRateLimiter, LeaseDeniedError, RateLimiter, UnavailableError

KEY = "rl:inflight"
HOUR = 3600


@pytest.fixture
def limiter(server: Server, limiters: Blocking) -> Any:
    return limiters.from_url(server.url)


def test_so_many_at_a_time_and_the_next_is_denied(limiter: Any) -> None:
    with limiter.lease(KEY, 2, "30s") as first:
        assert (first.decision.granted, first.decision.remaining, first.lost) == (1, 1, False)
        with limiter.lease(KEY, 2, "30s"):
            denied = limiter.lease(KEY, 2, "30s").acquire()
            assert (denied.allowed, denied.receipt) == (False, 0)
            assert 0 < denied.retry_after <= 30
            with pytest.raises(LeaseDeniedError, match=r"try again in [0-9.]+ s") as caught, limiter.lease(KEY, 2, 30):
                pytest.fail("it was denied")
            assert 0 < caught.value.decision.retry_after <= 30
            # The denied have given nothing back.
            assert used(limiter, KEY) == 2
        assert used(limiter, KEY) == 1
    assert limiter.info(KEY) is None
    with pytest.raises(LeaseDeniedError, match="more than the limit"), limiter.lease(KEY, 2, "30s", cost=3):
        pytest.fail("it can never be granted")


def test_a_lease_is_two_commands_and_weighs_its_cost(limiter: Any, server: Server) -> None:
    server.admin.config_resetstat()
    with limiter.lease(KEY, 5, HOUR, cost=3):
        assert used(limiter, KEY) == 3
    assert limiter.info(KEY) is None
    assert calls(server) == {"rl.check": 1, "rl.refund": 1}


def test_it_is_given_back_once(limiter: Any, server: Server) -> None:
    lease = limiter.lease(KEY, 5, HOUR)
    # Nothing yet.
    lease.release()
    assert lease.decision is None
    with limiter.lease(KEY, 5, HOUR):
        server.admin.config_resetstat()
        with lease:
            lease.release()
            lease.release()
        assert used(limiter, KEY) == 1
        assert calls(server) == {"rl.check": 1, "rl.refund": 1}
        # And again.
        assert lease.acquire().remaining == 3
        with pytest.raises(RuntimeError, match="held already"):
            lease.acquire()
        lease.release()
        assert used(limiter, KEY) == 1


def test_an_exception_gives_it_back_and_goes_on(limiter: Any) -> None:
    with pytest.raises(ZeroDivisionError), limiter.lease(KEY, 5, HOUR):
        assert used(limiter, KEY) / 0
    assert limiter.info(KEY) is None


@pytest.mark.parametrize("ends_by", ["release", "renew"])
def test_it_ends_by_itself_and_what_comes_too_late_takes_nobody_elses(limiter: Any, ends_by: str) -> None:
    # If this machine stands still for so long, the other has ended, too, and it shows nothing.
    for ttl in (0.5, 2, 8, 32):
        late, other = limiter.lease(KEY, 1, ttl), limiter.lease(KEY, 1, ttl)
        assert late.acquire().allowed
        assert not late.lost or ttl < 8
        assert eventually(other.acquire, seconds=60)
        assert late.lost
        answer = getattr(late, ends_by)()
        after = used(limiter, KEY)
        if other.lost:
            continue
        assert not answer
        assert after == 1
        other.release()
        assert limiter.info(KEY) is None
        # There is room again, but another has been in between.
        if ends_by == "renew":
            assert late.renew().allowed
            assert late.lost
            late.release()
        assert late.acquire().allowed
        assert not late.lost or ttl < 8
        late.release()
        return
    pytest.fail("it took too long to tell")


def test_a_renewal_holds_it_for_its_time_from_now(limiter: Any, server: Server) -> None:
    with limiter.lease(KEY, 1, HOUR) as lease:
        server.admin.config_resetstat()
        for _ in range(3):
            before = expiry(server, KEY)
            # Time passes, by at least a millisecond.
            eventually(lambda: limiter.peek(KEY).reset_after_ms < HOUR * 1000)
            assert lease.renew().allowed
            assert expiry(server, KEY) > before
            assert used(limiter, KEY) == 1
        assert calls(server)["rl.check"] == 3
        assert not lease.lost
    # What is given back is the last one.
    assert limiter.info(KEY) is None
    with pytest.raises(RuntimeError, match="not held"):
        lease.renew()


def test_a_renewal_whose_answer_was_lost_counts_for_itself(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    patient = limiters.from_url(server.url)
    hasty = limiters.from_url(server.url, timeout=0.2)
    lease = hasty.lease(KEY, 5, HOUR)
    assert eventually(lambda: patient.check("rl:warm", "5/s") and lease.acquire())
    server.admin.config_resetstat()
    with server.paused(), pytest.raises(UnavailableError):
        lease.renew()
    eventually(lambda: calls(server).get("rl.check") == 1, what="the server has found it in its socket")
    assert used(patient, KEY) == 1
    # The receipt is that of what was given back. It takes nobody else's.
    assert eventually(lambda: _renewed(lease))
    assert used(patient, KEY) == 2
    lease.release()
    assert used(patient, KEY) == 1


def test_a_denial_that_is_remembered_ends_with_the_lease(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url, cache_denials=10)
    with limiter.lease(KEY, 1, HOUR):
        assert not limiter.check(KEY, (1, HOUR))
        server.admin.config_resetstat()
        assert not limiter.check(KEY, (1, HOUR))
        assert calls(server) == {}
        # Of leases none is: they may be given back at any time, by anybody.
        assert not limiter.lease(KEY, 1, HOUR).acquire()
        assert calls(server) == {"rl.check": 1}
    assert limiter.check(KEY, (1, HOUR)).allowed


def _renewed(lease: Any) -> Any:
    try:
        return lease.renew()
    except UnavailableError as error:
        raise AssertionError from error


def _beats(limiters: Blocking) -> int:
    return heartbeats(getattr(limiters, "loop", None))


def test_a_heartbeat_renews_as_long_as_it_is_held(limiter: Any, server: Server, limiters: Blocking) -> None:
    with limiter.lease(KEY, 1, HOUR, heartbeat=0.02) as lease:
        assert _beats(limiters) == 1
        first = expiry(server, KEY)
        eventually(lambda: expiry(server, KEY) > first + 100)
        assert used(limiter, KEY) == 1
        assert not lease.lost
    assert limiter.info(KEY) is None
    eventually(lambda: _beats(limiters) == 0, what="the heartbeat has ended")
    # Each time that it is acquired.
    with lease:
        first = expiry(server, KEY)
        eventually(lambda: expiry(server, KEY) > first)
    assert limiter.info(KEY) is None
    # It does not sleep on, either.
    with limiter.lease(KEY, 1, HOUR, heartbeat=600):
        eventually(lambda: _beats(limiters) == 1)
    eventually(lambda: _beats(limiters) == 0)


def test_a_heartbeat_outlives_the_time_of_the_lease(limiter: Any) -> None:
    asked = time.monotonic()
    with limiter.lease(KEY, 1, 3, heartbeat=True) as lease:
        # If this machine stands still for two seconds, it is lost, and says so.
        while time.monotonic() < asked + 4 and not lease.lost:
            assert not limiter.lease(KEY, 1, 3).acquire() or lease.lost
            time.sleep(0.1)


def test_a_heartbeat_does_not_keep_what_nobody_has_any_more(limiter: Any, limiters: Blocking) -> None:
    lease = limiter.lease(KEY, 1, HOUR, heartbeat=0.02)
    assert lease.acquire().allowed
    assert _beats(limiters) == 1
    del lease
    gc.collect()
    eventually(lambda: _beats(limiters) == 0, what="the heartbeat has ended")
    # Nobody gives it back: it ends after its time.
    assert used(limiter, KEY) == 1


def test_a_lease_that_cannot_be_renewed_is_lost(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url)
    with limiter.lease(KEY, 1, 1, heartbeat=0.1) as lease:
        server.kill()
        eventually(lambda: lease.lost)
        eventually(lambda: "others may have its place" in caplog.text)
    eventually(lambda: _beats(limiters) == 0)


def test_what_the_server_does_not_take_back_is_logged_and_ends_by_itself(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url)
    leases = [limiter.lease(KEY, 5, HOUR) for _ in range(3)]
    for lease in leases:
        lease.acquire()
    server.kill()
    for lease in leases:
        lease.release()
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "not settled" in record.message
    server.start()
    # Not later, either: it may have arrived.
    for lease in leases:
        lease.release()
    assert calls(server) == {}


@pytest.mark.parametrize("policy", ["open", "closed", "raise"])
def test_policies_apply_as_to_a_check(policy: Any, start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, policy=policy)
    server.kill()
    if policy == "raise":
        with pytest.raises(UnavailableError), limiter.lease(KEY, 1, HOUR):
            pytest.fail("there is no decision")
    elif policy == "closed":
        with pytest.raises(LeaseDeniedError, match=r"no rate limit decision \(CONNECTION\)"):
            limiter.lease(KEY, 1, HOUR).__enter__()
    else:
        with limiter.lease(KEY, 1, HOUR) as lease, limiter.lease(KEY, 1, HOUR) as other:
            assert lease.decision.degraded == "CONNECTION"
            assert lease.renew().degraded == "CONNECTION"
            server.start()
            # It may ask for a place as soon as the server is back.
            assert eventually(lambda: not lease.renew().degraded)
            assert used(limiter, KEY) == 1
            assert not other.renew()
        # The other had nothing to give back.
        assert calls(server)["rl.refund"] == 1
        assert limiter.info(KEY) is None


@pytest.mark.parametrize(
    ("words", "options", "text"),
    [
        ((KEY, 0, 30), {}, "limit must be"),
        ((KEY, 5, 0), {}, "window must be"),
        ((KEY, 5, 30), {"cost": 0}, "cost must be"),
        ((KEY, 5, 30), {"heartbeat": 30}, "heartbeat must be less than the 30000 ms"),
        ((KEY, 5, 30), {"heartbeat": "soon"}, "heartbeat must be from"),
        ((5, 5, 30), {}, "str or bytes"),
    ],
)
def test_arguments_that_are_refused(limiter: Any, words: Any, options: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        limiter.lease(*words, **options).acquire()


def test_in_a_cluster(cluster: Cluster, limiters: Blocking) -> None:
    limiter = limiters.from_url(cluster.url())
    with limiter.lease(KEY, 1, HOUR) as lease:
        assert lease.renew().allowed
        assert not limiter.lease(KEY, 1, HOUR).acquire()
    assert limiter.info(KEY) is None


# Threads, processes, generators


def test_threads_hold_no_more_than_there_are_and_leave_none(server: Server) -> None:
    held: list[int] = []
    most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal most
        done = 0
        while done < 20:
            lease = limiter.lease(KEY, 3, HOUR)
            if lease.acquire():
                with lock:
                    held.append(1)
                    most = max(most, len(held))
                with lock:
                    held.pop()
                lease.release()
                done += 1

    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= most <= 3
        assert limiter.info(KEY) is None


def test_threads_that_release_one_lease_give_it_back_once(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter, limiter.lease(KEY, 50, HOUR):
        lease = limiter.lease(KEY, 50, HOUR)
        for _ in range(10):
            lease.acquire()
            server.admin.config_resetstat()
            together = threading.Barrier(8)

            def release(together: threading.Barrier = together) -> None:
                together.wait(60)
                lease.release()

            threads = [threading.Thread(target=release) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert calls(server) == {"rl.refund": 1}
            assert used(limiter, KEY) == 1


@forks
def test_a_forked_process_does_not_give_back_what_its_parent_holds(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        lease = limiter.lease(KEY, 5, HOUR, heartbeat=60)

        def leaves() -> None:
            # As the child does that ends inside of `with`.
            lease.__exit__(None, None, None)
            lease.release()
            with pytest.raises(RuntimeError, match="not held"):
                lease.renew()
            # It may have one of its own.
            assert lease.acquire().remaining == 3
            lease.release()

        with lease:
            in_a_child(leaves)
            assert used(limiter, KEY) == 1
            assert lease.renew().allowed
        assert limiter.info(KEY) is None


@forks
def test_a_fork_in_the_middle_of_a_call_does_not_keep_the_child(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter, limiter.lease(KEY, 5, HOUR) as lease:

        def goes_on() -> None:
            lease.release()
            assert lease.acquire().remaining == 3
            lease.release()

        # As a thread has it that waits for an answer.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lease._turn._lock.acquire).result()
            in_a_child(goes_on)
            thread.submit(lease._turn._lock.release).result()
        assert used(limiter, KEY) == 1


def test_a_generator_that_is_left_gives_it_back(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter:

        def held() -> Iterator[int]:
            with limiter.lease(KEY, 5, HOUR):
                yield 1
                yield 2

        for value in held():
            assert (value, used(limiter, KEY)) == (1, 1)
            break
        gc.collect()
        assert limiter.info(KEY) is None


def test_garbage_that_is_collected_during_a_renewal_may_give_it_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator that nobody has any more is closed in whatever thread finds it: also in one that has the lock."""
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        lease = limiter.lease(KEY, 5, HOUR)
        lease.acquire()
        ask = limiter._ask

        async def asks(request: Any) -> Any:
            lease.release()
            return await ask(request)

        monkeypatch.setattr(limiter, "_ask", asks)
        assert lease.renew().allowed
        assert limiter.info(KEY) is None


# Tasks


@pytest.fixture
async def asyncio_limiter(server: Server) -> AsyncIterator[AsyncRateLimiter]:
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        yield limiter


async def test_tasks_hold_no_more_than_there_are_and_leave_none(asyncio_limiter: AsyncRateLimiter) -> None:
    held = most = 0

    async def work() -> None:
        nonlocal held, most
        done = 0
        while done < 10:
            lease = asyncio_limiter.lease(KEY, 3, HOUR)
            if await lease.acquire():
                held += 1
                most = max(most, held)
                await asyncio.sleep(0)
                held -= 1
                await lease.release()
                done += 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert 1 <= most <= 3
    assert await asyncio_limiter.info(KEY) is None


@pytest.mark.parametrize("heartbeat", [False, 0.001])
async def test_cancelled_wherever_it_waits_nothing_is_left(
    asyncio_limiter: AsyncRateLimiter, heartbeat: float | bool
) -> None:
    async def hold() -> None:
        async with asyncio_limiter.lease(KEY, 5, HOUR, heartbeat=heartbeat) as lease:
            await asyncio.sleep(0.002)
            await lease.renew()

    async def clean() -> bool:
        return await asyncio_limiter.info(KEY) is None

    # To acquire, sleep, renew, and release.
    assert await cancelled_at_every_point(hold, clean) == 4
    assert heartbeats(asyncio.get_running_loop()) == 0


async def test_a_cancelled_call_does_not_wait_for_a_server_that_hangs(start: Any) -> None:
    server = start(Server)
    async with AsyncRateLimiter.from_url(server.url, timeout=60) as limiter:
        held = limiter.lease(KEY, 5, HOUR)
        await held.acquire()
        with server.paused():
            for call in (limiter.lease(KEY, 5, HOUR).acquire, held.renew, held.release):
                # Cancelled once, it waits for a second.
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(call(), 0.1)
            again = asyncio.ensure_future(limiter.lease(KEY, 5, HOUR).acquire())
            for _ in range(3):
                await asyncio.sleep(0.01)
                again.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(again, 30)
        # The server carries out what it finds, and all that it grants is given back.
        deadline = time.monotonic() + 30
        while await limiter.info(KEY) is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_a_second_lease_is_not_given_back_by_a_mistake_that_is_cancelled(
    asyncio_limiter: AsyncRateLimiter,
) -> None:
    async with asyncio_limiter.lease(KEY, 5, HOUR) as lease:
        again = asyncio.ensure_future(lease.acquire())
        await asyncio.sleep(0)
        again.cancel()
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await again
        await asyncio.sleep(0.01)
        info = await asyncio_limiter.info(KEY)
        assert info is not None
        assert info.windows[0].used == 1


async def test_an_asynchronous_generator_that_is_left_gives_it_back(asyncio_limiter: AsyncRateLimiter) -> None:
    async def held() -> AsyncIterator[int]:
        async with asyncio_limiter.lease(KEY, 5, HOUR):
            yield 1
            yield 2

    closed = held()
    assert await anext(closed) == 1
    await closed.aclose()
    assert await asyncio_limiter.info(KEY) is None
    forgotten = held()
    assert await anext(forgotten) == 1
    del forgotten
    gc.collect()
    deadline = time.monotonic() + 30
    while await asyncio_limiter.info(KEY) is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("heartbeat", [False, 60])
def test_the_end_of_an_event_loop_gives_back_what_its_tasks_hold(server: Server, heartbeat: float | bool) -> None:
    limiter = AsyncRateLimiter.from_url(server.url, timeout=20)

    async def hold(holds: asyncio.Event) -> None:
        async with limiter.lease(KEY, 5, HOUR, heartbeat=heartbeat):
            holds.set()
            await asyncio.sleep(3600)

    async def main() -> None:
        holds = asyncio.Event()
        main.task = asyncio.create_task(hold(holds))  # type: ignore[attr-defined]
        await holds.wait()
        await asyncio.sleep(0.02)

    asyncio.run(main())
    with RateLimiter.from_url(server.url, timeout=20) as blocking:
        eventually_free(blocking, KEY)
