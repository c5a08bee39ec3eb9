"""Reservations, on real servers: charged all or nothing, settled or given back once, whatever happens to the holder."""

from __future__ import annotations

import asyncio
import doctest
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from holding import calls, cancelled_at_every_point, eventually_free, expiry, forks, heartbeats, in_a_child, used
from kinds import Blocking
from servers import Cluster, Sentinels, Server, eventually

from redis_ratelimit import (
    ArgumentError,
    AsyncRateLimiter,
    Charge,
    CrossSlotError,
    RateLimiter,
    ReservationDeniedError,
    UnavailableError,
    reservations,
)
from redis_ratelimit.multilevel import Level

REQUESTS, TOKENS, INFLIGHT = KEYS = "rl:{ann}:requests", "rl:{ann}:tokens", "rl:{ann}:inflight"
CHARGES = (Charge(REQUESTS, "10/h"), Charge(TOKENS, "1000/h", cost=300), Charge(INFLIGHT, "2/h", lease=True))
LEVELS = [Level("requests", "10/h"), Level("tokens", "1000/h; 5000/d"), Level("in flight", "2/h", lease=True)]
ANN = {level.name: "ann" for level in LEVELS}


@pytest.fixture
def limiter(server: Server, limiters: Blocking) -> Any:
    return limiters.from_url(server.url)


def test_all_keys_are_charged_by_one_command_or_none(limiter: Any, server: Server) -> None:
    server.admin.config_resetstat()
    with limiter.reserve(*CHARGES) as first:
        assert calls(server) == {"rl.mcheck": 1}
        assert [row.granted for row in first.decisions.values()] == [1, 300, 1]
        assert used(limiter, *KEYS) == [1, 300, 1]
        with limiter.reserve(*CHARGES):
            denied = limiter.reserve(*CHARGES).acquire()
            assert (denied.allowed, denied.refused) == (False, (INFLIGHT,))
            with pytest.raises(ReservationDeniedError, match="try again in") as caught, limiter.reserve(*CHARGES):
                pytest.fail("it was denied")
            assert caught.value.decision.refused == (INFLIGHT,)
            assert used(limiter, *KEYS) == [2, 600, 2]
    # In the end only leases are given back.
    assert used(limiter, *KEYS) == [2, 600, 0]


@pytest.mark.parametrize(
    ("actual", "commands", "left"),
    [
        ({TOKENS: 120}, {"rl.refund": 2}, [1, 120, 0]),
        ({TOKENS: 450}, {"rl.refund": 1, "rl.check": 1}, [1, 450, 0]),
        ({TOKENS: 1450, REQUESTS: 3}, {"rl.refund": 1, "rl.check": 2}, [3, 1450, 0]),
        ({TOKENS: 300}, {"rl.refund": 1}, [1, 300, 0]),
        (None, {"rl.refund": 1}, [1, 300, 0]),
        ({TOKENS: 0, INFLIGHT: 1}, {"rl.refund": 1}, [1, 0, 1]),
        ({TOKENS: 300, INFLIGHT: 1}, {}, [1, 300, 1]),
    ],
)
def test_settling_is_one_command_for_each_key_that_changes(
    limiter: Any, server: Server, actual: Any, commands: Any, left: Any
) -> None:
    with limiter.reserve(*CHARGES) as reservation:
        server.admin.config_resetstat()
        reservation.settle(actual)
    assert calls(server) == commands
    assert used(limiter, *KEYS) == left


def test_what_is_not_known_before_needs_room_and_is_charged_afterwards(limiter: Any) -> None:
    charges = (Charge(REQUESTS, "10/h"), Charge(TOKENS, "1000/h", cost=0))
    with limiter.reserve(*charges) as reservation:
        assert used(limiter, *KEYS) == [1, 0, 0]
        # More than there is: the debt delays later requests.
        reservation.settle({TOKENS: 1500})
    assert used(limiter, *KEYS) == [1, 1500, 0]
    assert limiter.reserve(*charges).acquire().refused == (TOKENS,)
    assert used(limiter, REQUESTS) == 1


def test_an_exception_gives_all_of_it_back_and_goes_on(limiter: Any) -> None:
    with pytest.raises(ZeroDivisionError), limiter.reserve(*CHARGES):
        assert used(limiter, TOKENS) / 0
    assert used(limiter, *KEYS) == [0, 0, 0]


def test_what_ends_it_first_counts(limiter: Any, server: Server) -> None:
    reservation = limiter.reserve(*CHARGES)
    # Nothing yet.
    reservation.cancel()
    assert reservation.decisions is None
    with limiter.reserve(*CHARGES), reservation:
        server.admin.config_resetstat()
        reservation.settle({TOKENS: 100})
        reservation.settle({TOKENS: 200})
        reservation.cancel()
        assert calls(server) == {"rl.refund": 2}
        with pytest.raises(RuntimeError, match="not held"):
            reservation.renew()
    assert used(limiter, *KEYS) == [2, 400, 0]
    reservation.acquire()
    with pytest.raises(RuntimeError, match="held already"):
        reservation.acquire()
    reservation.cancel()
    reservation.settle({TOKENS: 100})
    assert used(limiter, *KEYS) == [2, 400, 0]


def test_what_cannot_be_settled_settles_nothing(limiter: Any) -> None:
    with limiter.reserve(*CHARGES) as reservation:
        for actual, text in (
            ({TOKENS: 1, "rl:{ann}:toknes": 1}, "nothing was reserved on 'rl:{ann}:toknes'"),
            ({TOKENS: -1}, "from 0 to"),
            ({TOKENS: 1.0}, "from 0 to"),
            ({TOKENS: True}, "from 0 to"),
            ({TOKENS: 2**32}, "from 0 to"),
        ):
            with pytest.raises(ArgumentError, match=text):
                reservation.settle(actual)
        reservation.settle({TOKENS: 2})
    assert used(limiter, *KEYS) == [1, 2, 0]


@pytest.mark.parametrize(
    ("charges", "options", "text"),
    [
        ((), {}, "1 to 128 keys"),
        ((Charge("a", "5/m"), Charge(b"a", "5/m")), {}, "must differ"),
        ((Charge("a", "5/m; 9/h"),), {}, "one rate"),
        ((Charge("a", "5/m", cost=0),), {}, "above 0"),
        ((Charge("a", "5/m", cost=-1),), {}, "each of costs"),
        ((Charge("a", "5/m", cost=0, lease=True), Charge("b", "5/m")), {}, "the cost of a lease"),
        ((Charge("a", "5/m"),), {"heartbeat": True}, "there are none"),
        ((Charge("a", "5/m", lease=True), Charge("b", "5/s", lease=True)), {"heartbeat": 1}, "less than the 1000 ms"),
    ],
)
def test_arguments_that_are_refused(limiter: Any, charges: Any, options: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        limiter.reserve(*charges, **options)


def test_leases_in_it_are_renewed_and_nothing_else(limiter: Any, server: Server) -> None:
    with limiter.reserve(*CHARGES) as reservation:
        before = [expiry(server, key) for key in KEYS]
        eventually(lambda: limiter.peek(INFLIGHT).reset_after_ms < 3_600_000)
        server.admin.config_resetstat()
        [(key, decision)] = reservation.renew().items()
        assert (key, decision.allowed, reservation.lost) == (INFLIGHT, True, False)
        assert calls(server) == {"rl.check": 1}
        after = [expiry(server, key) for key in KEYS]
        assert after[:2] == before[:2]
        assert after[2] > before[2]
    assert used(limiter, *KEYS) == [1, 300, 0]


def test_a_heartbeat_renews_its_leases(limiter: Any, server: Server, limiters: Blocking) -> None:
    loop = getattr(limiters, "loop", None)
    with limiter.reserve(*CHARGES, heartbeat=0.02) as reservation:
        first = expiry(server, INFLIGHT)
        eventually(lambda: expiry(server, INFLIGHT) > first + 100)
        assert not reservation.lost
        reservation.settle({TOKENS: 10})
        eventually(lambda: heartbeats(loop) == 0)
    assert used(limiter, *KEYS) == [1, 10, 0]


@pytest.mark.parametrize("policy", ["open", "closed", "raise"])
def test_policies_apply_as_to_a_check(policy: Any, start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, policy=policy)
    server.kill()
    if policy == "raise":
        with pytest.raises(UnavailableError), limiter.reserve(*CHARGES):
            pytest.fail("there is no decision")
    elif policy == "closed":
        with pytest.raises(ReservationDeniedError, match=r"no rate limit decision \(CONNECTION\)"):
            limiter.reserve(*CHARGES).__enter__()
    else:
        with limiter.reserve(*CHARGES) as reservation:
            assert reservation.decisions.degraded == "CONNECTION"
            server.start()
            eventually(lambda: limiter.peek("rl:other") is None)
            # Nothing was charged, so nothing is settled.
            reservation.settle({TOKENS: 700})
        assert used(limiter, *KEYS) == [0, 0, 0]
        assert set(calls(server)) == {"rl.peek"}


@pytest.mark.parametrize("atomic", [True, False])
def test_what_observe_mode_lets_pass_is_not_settled(limiter: Any, multilevel: Any, atomic: bool) -> None:
    """As little as when it had been denied."""
    charges = (Charge(TOKENS, "1000/h", cost=0), Charge(INFLIGHT, "2/h", lease=True))
    holds = [limiter.lease(INFLIGHT, 2, "1h") for _ in range(2)]
    assert all(lease.acquire() for lease in holds)
    with limiter.with_observe().reserve(*charges) as reservation:
        assert (reservation.decisions.allowed, reservation.decisions.would_deny) == (True, True)
        assert reservation.renew()[INFLIGHT].would_deny
        reservation.settle({TOKENS: 700})
    with limiter.with_observe().lease(INFLIGHT, 2, "1h") as lease:
        assert lease.decision.would_deny
        assert not lease.lost
    assert used(limiter, TOKENS, INFLIGHT) == [0, 2]
    observed = limiter.with_observe()
    levels = [Level("in flight", "1/h", lease=True), Level("tokens", "1000/h")]
    limits = multilevel(observed, levels, atomic=atomic)
    ann = {level.name: "ann" for level in levels}
    with limits.reserve(ann, costs={"tokens": 0}), limits.reserve(ann, costs={"tokens": 0}) as reservation:
        assert any(row.decision.would_deny for row in reservation.decisions)
        reservation.settle({"tokens": 700})
    # One by one, too: the level before would have ended it.
    assert [window.used if window else 0 for window in limits.info("tokens", "ann").values()] == [0]
    assert list(limits.info("in flight", "ann").values()) == [None]


def test_what_could_not_be_settled_is_logged_and_the_rest_is(
    start: Any, limiters: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url)
    with limiter.reserve(*CHARGES) as reservation:
        server.admin.set(TOKENS, "hello")
        reservation.settle({TOKENS: 100, REQUESTS: 3})
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "not settled" in record.message
    assert "hello" in server.admin.get(TOKENS)
    assert used(limiter, REQUESTS, INFLIGHT) == [3, 0]
    server.admin.delete(TOKENS)
    # Once a minute is enough to know.
    with limiter.reserve(*CHARGES):
        server.kill()
    with pytest.raises(UnavailableError), limiter.reserve(*CHARGES):
        pytest.fail("there is no decision")
    assert sum("not settled" in record.message for record in caplog.records if record.levelno >= logging.WARNING) == 1


def test_what_a_replica_refuses_is_settled_by_the_new_primary(start: Any, limiters: Blocking) -> None:
    group = start(Sentinels)
    limiter = limiters.from_url(group.url())
    with limiter.reserve(*CHARGES) as reservation:
        group.replicate()
        group.fail_over()
        # So that the call does not find a connection which the old primary is about to close.
        assert eventually(lambda: _used_or_fail(limiter) == [1, 300, 1])
        reservation.settle({TOKENS: 100})
    assert used(limiter, *KEYS) == [1, 100, 0]


def _used_or_fail(limiter: Any) -> Any:
    try:
        return used(limiter, *KEYS)
    except UnavailableError as error:
        raise AssertionError from error


def test_a_server_that_was_demoted_a_moment_ago_is_asked_once_more(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url)
    with limiter.reserve(*CHARGES) as reservation:
        server.run("REPLICAOF 127.0.0.1 1")
        reservation.settle({TOKENS: 100})
        server.run("REPLICAOF NO ONE")
    # It is one that takes no writes, and nothing was given back.
    assert used(limiter, *KEYS) == [1, 300, 1]
    assert server.admin.info("commandstats")["cmdstat_rl.refund"]["rejected_calls"] >= 4


# Clusters


def test_in_a_cluster_the_keys_are_of_one_slot(cluster: Cluster, limiters: Blocking) -> None:
    limiter = limiters.from_url(cluster.url())
    for actual in ({TOKENS: 100, REQUESTS: 3}, {TOKENS: 400}):
        with limiter.reserve(*CHARGES) as reservation:
            assert reservation.renew()[INFLIGHT].allowed
            reservation.settle(actual)
    assert used(limiter, *KEYS) == [4, 500, 0]
    with pytest.raises(CrossSlotError), limiter.reserve(Charge("rl:a", "5/m"), Charge("rl:b", "5/m")):
        pytest.fail("they are not of one slot")


def test_keys_that_move_meanwhile_are_followed(start: Any, limiters: Blocking) -> None:
    cluster = start(Cluster, nodes=3)
    limiter = limiters.from_url(cluster.url())
    source = cluster.owner(REQUESTS)
    target = next(node for node in cluster.nodes if node is not source)
    slot = redis.crc.key_slot(REQUESTS.encode())
    ids = {node: node.run("CLUSTER MYID") for node in cluster.nodes}
    asked, moved = limiter.reserve(*CHARGES), limiter.reserve(*CHARGES)
    asked.acquire()
    moved.acquire()
    target.run(f"CLUSTER SETSLOT {slot} IMPORTING {ids[source]}")
    source.run(f"CLUSTER SETSLOT {slot} MIGRATING {ids[target]}")
    for key in KEYS:
        source.run(f"MIGRATE 127.0.0.1 {target.port} {key} 0 20000")
    # ASK
    asked.settle({TOKENS: 500, REQUESTS: 0})
    for node in (target, source):
        node.run(f"CLUSTER SETSLOT {slot} NODE {ids[target]}")
    # MOVED
    moved.settle({TOKENS: 200})
    assert used(limiter, *KEYS) == [1, 700, 0]
    eventually(lambda: all(ids[target] in node.run("CLUSTER NODES") for node in cluster.nodes))


def test_a_node_that_is_away_does_not_keep_the_others_from_being_settled(
    start: Any, limiters: Blocking, multilevel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = start(Cluster, "cluster-require-full-coverage no", nodes=3)
    limits = multilevel(limiters.from_url(cluster.url()), [Level("a", "9/h"), Level("b", "9/h")], atomic=False)
    [first] = limits.keys("a", "ann")
    other = next(str(n) for n in range(99) if cluster.owner(limits.keys("b", str(n))[0]) is not cluster.owner(first))
    with limits.reserve({"a": "ann", "b": other}, cost=3) as reservation:
        cluster.owner(first).kill()
        reservation.settle({"a": 1, "b": 2})
    assert [window.used for window in limits.info("b", other).values()] == [2]
    assert "not settled" in caplog.text


# Levels


@pytest.mark.parametrize("atomic", [True, False])
def test_levels_are_reserved_and_settled_by_their_names(
    server: Server, limiters: Blocking, multilevel: Any, atomic: bool
) -> None:
    limiter = limiters.from_url(server.url)
    limits = multilevel(limiter, LEVELS, scope="chat", atomic=atomic)

    def counts() -> list[list[int]]:
        found = [limits.info(level.name, "ann").values() for level in LEVELS]
        return [[window.used if window else 0 for window in windows] for windows in found]

    with limits.reserve(ANN, costs={"tokens": 300}) as reservation:
        assert counts() == [[1], [300, 300], [1]]
        assert [row.level for row in reservation.decisions] == (
            ["requests", "tokens", "tokens", "in flight"] if atomic else ["requests", "tokens", "in flight"]
        )
        assert reservation.decisions.headers()["X-RateLimit-Remaining"] == "1"
        with limits.reserve(ANN, costs={"tokens": 300}):
            denied = limits.reserve(ANN, costs={"tokens": 300})
            with pytest.raises(ReservationDeniedError) as caught:
                denied.__enter__()
            assert caught.value.decision.refused == ("in flight",)
            assert counts() == [[2], [600, 600], [2]]
        assert [decision.allowed for decision in reservation.renew().values()] == [True]
        reservation.settle({"tokens": 900})
    assert counts() == [[2], [1200, 1200], [0]]
    # More than there is: nothing else is charged.
    denied = limits.reserve(ANN, costs={"tokens": 0}).acquire()
    assert (denied.allowed, denied.refused) == (False, ("tokens",))
    assert counts() == [[2], [1200, 1200], [0]]
    limits.reset("tokens", "ann")
    with limits.reserve(ANN, costs={"tokens": 0}) as reservation:
        assert reservation.decisions.allowed
        assert counts() == [[3], [0, 0], [1]]
        reservation.settle({"tokens": 50})
    with limits.reserve(ANN, costs={"tokens": 0}) as reservation:
        reservation.cancel()
    assert counts() == [[3], [50, 50], [0]]
    with pytest.raises(ZeroDivisionError), limits.reserve(ANN, costs={"tokens": 7}):
        assert counts()[0][0] / 0
    assert counts() == [[3], [50, 50], [0]]


def test_levels_that_do_not_apply_are_not_reserved(server: Server, limiters: Blocking, multilevel: Any) -> None:
    limits = multilevel(limiters.from_url(server.url), LEVELS)
    with limits.reserve({**ANN, "tokens": None}) as reservation:
        assert [row.level for row in reservation.decisions] == ["requests", "in flight"]
        with pytest.raises(ArgumentError, match="nothing was reserved on 'tokens'"):
            reservation.settle({"tokens": 5})
    server.admin.config_resetstat()
    with limits.reserve(dict.fromkeys(ANN)) as reservation:
        assert reservation.decisions.allowed
    assert calls(server) == {}


def test_what_levels_cannot_be_asked(server: Server, limiters: Blocking, multilevel: Any) -> None:
    limiter = limiters.from_url(server.url)
    limits = multilevel(limiter, LEVELS)
    with pytest.raises(ArgumentError, match="no level is named 'toknes'"):
        limits.reserve(ANN, costs={"toknes": 5})
    with pytest.raises(ArgumentError, match="the cost of level 'tokens'"):
        limits.reserve(ANN, costs={"tokens": -5})
    with pytest.raises(ArgumentError, match="the cost of level 'in flight'"):
        limits.reserve(ANN, costs={"in flight": 0})
    with pytest.raises(ArgumentError, match="'in flight' is a lease, which has to be given back"):
        limits.check(ANN)
    with pytest.raises(ArgumentError, match="is a lease, which has one rate"):
        Level("in flight", "5/30s; 9/m", lease=True)
    for atomic in (True, False):
        without = multilevel(limiter, LEVELS[:2], atomic=atomic)
        with pytest.raises(ArgumentError, match="there are none"):
            without.reserve(ANN, heartbeat=True)
        with pytest.raises(ArgumentError, match="above 0"):
            without.reserve(ANN, cost=0).acquire()
    assert server.admin.dbsize() == 0


def test_levels_whose_server_is_away_are_not_settled(start: Any, limiters: Blocking, multilevel: Any) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, policy="open")
    limits = multilevel(limiter, LEVELS, atomic=False)
    server.kill()
    with limits.reserve(ANN, costs={"tokens": 0}) as reservation:
        assert reservation.decisions.degraded == "CONNECTION"
        server.start()
        eventually(lambda: limiter.peek("rl:other") is None)
        reservation.settle({"tokens": 50})
    assert server.admin.dbsize() == 0


def test_the_examples_of_the_module(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        result = doctest.testmod(reservations, extraglobs={"limiter": limiter})
    assert (result.attempted > 0, result.failed) == (True, 0)


# Threads, processes, tasks


def test_threads_never_exceed_a_limit_and_leave_nothing(server: Server) -> None:
    spent: list[int] = []
    held: list[int] = []
    most = 0
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal most
        for turn in range(15):
            reservation = limiter.reserve(*CHARGES[1:])
            if not reservation.acquire():
                continue
            with lock:
                held.append(1)
                most = max(most, len(held))
            with lock:
                held.pop()
            if (number + turn) % 3:
                reservation.settle({TOKENS: turn})
                spent.append(turn)
            else:
                reservation.cancel()

    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert spent
        assert 1 <= most <= 2
        assert used(limiter, TOKENS, INFLIGHT) == [sum(spent), 0]


@forks
def test_a_forked_process_does_not_settle_what_its_parent_holds(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter, limiter.reserve(*CHARGES) as reservation:
        in_a_child(lambda: reservation.settle({TOKENS: 1}))
        in_a_child(lambda: reservation.__exit__(SystemExit, SystemExit(), None))
        assert used(limiter, *KEYS) == [1, 300, 1]
        reservation.settle({TOKENS: 2})
        assert used(limiter, *KEYS) == [1, 2, 0]


@pytest.fixture
async def asyncio_limiter(server: Server) -> AsyncIterator[AsyncRateLimiter]:
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        yield limiter


@pytest.mark.parametrize("heartbeat", [False, 0.001])
async def test_cancelled_wherever_it_waits_nothing_is_left(
    asyncio_limiter: AsyncRateLimiter, heartbeat: float | bool
) -> None:
    async def hold() -> None:
        async with asyncio_limiter.reserve(*CHARGES, heartbeat=heartbeat) as reservation:
            await asyncio.sleep(0.002)
            await reservation.renew()
            await reservation.cancel()

    async def clean() -> bool:
        return not any([await asyncio_limiter.info(key) for key in KEYS])

    # To acquire, sleep, renew, cancel, and leave.
    assert await cancelled_at_every_point(hold, clean) == 5
    assert heartbeats(asyncio.get_running_loop()) == 0


async def test_a_settlement_that_is_cancelled_settles_all_the_same(start: Any) -> None:
    server = start(Server)
    async with AsyncRateLimiter.from_url(server.url, timeout=60) as limiter:
        reservation = limiter.reserve(*CHARGES)
        await reservation.acquire()
        with server.paused(), pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reservation.settle({TOKENS: 100}), 0.1)
        with RateLimiter.from_url(server.url, timeout=20) as blocking:
            await asyncio.to_thread(eventually_free, blocking, INFLIGHT)
            assert used(blocking, *KEYS) == [1, 100, 0]
