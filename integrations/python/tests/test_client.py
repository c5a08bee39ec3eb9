"""Every call, on a real server, by both kinds of limiters, protocols and decodings."""

import asyncio
import multiprocessing
import os
import threading
from datetime import timedelta
from typing import Any

import pytest
import redis
from kinds import Blocking
from servers import Server, eventually

from redis_ratelimit import ArgumentError, AsyncRateLimiter, Decision, Info, Rate, RateLimiter, TopKey, Window


@pytest.fixture(params=[(2, False), (2, True), (3, False), (3, True)], ids=["resp2", "resp2-str", "resp3", "resp3-str"])
def limiter(request: pytest.FixtureRequest, server: Server, limiters: Blocking) -> Any:
    protocol, decode = request.param
    client = limiters.redis.Redis(unix_socket_path=server.socket, protocol=protocol, decode_responses=decode)
    return limiters.of_client(client)


@pytest.fixture
def as_it_is(server: Server, limiters: Blocking) -> Any:
    """A limiter on a client of the application itself, which decodes replies."""
    return limiters.of_client(limiters.redis.Redis(unix_socket_path=server.socket, decode_responses=True), timeout=None)


def test_check_grants_up_to_the_limit_and_says_when(limiter: Any) -> None:
    granted = limiter.check("rl:a", "2/h")
    assert granted == Decision(1, 2, 1, 0, 3_600_000)
    assert (granted.allowed, bool(granted), granted.never, granted.degraded) == (True, True, False, None)
    assert (granted.retry_after, granted.reset_after) == (0.0, 3600.0)
    limiter.check("rl:a", "2/h")
    denied = limiter.check("rl:a", "2/h")
    assert (denied.allowed, bool(denied), denied.granted, denied.remaining) == (False, False, 0, 0)
    assert 3590 < denied.retry_after <= 3600
    assert denied.retry_after == denied.retry_after_ms / 1000
    never = limiter.check("rl:a", "2/h", cost=3)
    assert (never.never, never.retry_after, never.retry_after_ms) == (True, None, -1)


def test_check_takes_rates_of_every_kind_and_several(limiter: Any) -> None:
    limiter.check("rl:a", "5/m; 20/h", Rate.of(100, timedelta(days=1)), (1000, "1w"))
    windows = limiter.info("rl:a").windows
    assert [(window.limit, window.window_ms) for window in windows] == [
        (5, 60_000),
        (20, 3_600_000),
        (100, 86_400_000),
        (1000, 604_800_000),
    ]


def test_check_has_every_option(limiter: Any) -> None:
    assert limiter.check("rl:cost", "10/h", cost=7).remaining == 3
    assert limiter.check("rl:cost", "10/h", cost=7, at_most=True).granted == 3
    assert limiter.check("rl:cost", "10/h", cost=7, force=True).granted == 7
    assert limiter.info("rl:cost").windows[0].used == 17
    limiter.check("rl:block", "1/s", block=timedelta(minutes=15))
    assert 899 < limiter.check("rl:block", "1/s", block="15m").retry_after <= 900
    assert 899 < limiter.info("rl:block").blocked_for <= 900
    # Milliseconds arrive as such.
    assert limiter.check("rl:ms", (1, 0.5)).reset_after_ms == 500


def test_gcra_has_every_option(limiter: Any) -> None:
    assert limiter.gcra("rl:a", "10/h", burst=20, cost=5) == Decision(5, 20, 15, 0, 1_800_000)
    assert limiter.gcra("rl:a", "10/h", burst=20, cost=50, at_most=True).granted == 15
    assert limiter.gcra("rl:a", "10/h", burst=20, cost=1, force=True).granted == 1
    assert limiter.gcra("rl:b", "10/h").limit == 10
    limiter.gcra("rl:b", "10/h", cost=9)
    assert 3599 < limiter.gcra("rl:b", "10/h", block="1h").retry_after <= 3600


def test_mcheck_is_all_or_nothing(limiter: Any) -> None:
    both = {"rl:ip": "5/m", b"rl:\xff": (1, 3600)}
    granted = limiter.mcheck(both)
    assert granted.allowed
    assert bool(granted)
    assert granted["rl:ip"] == Decision(1, 5, 4, 0, 60_000)
    assert list(granted) == ["rl:ip", b"rl:\xff"]
    assert (granted.refused, granted.retry_after, granted.binding) == ((), 0.0, granted[b"rl:\xff"])
    denied = limiter.mcheck(both)
    assert not denied
    assert denied.refused == (b"rl:\xff",)
    assert denied["rl:ip"].remaining == 4
    assert 3590 < denied.retry_after <= 3600
    never = limiter.mcheck([("rl:ip", "5/m"), ("rl:new", "1/m")], cost=2)
    assert (never.never, never.retry_after, never.refused) == (True, None, ("rl:new",))
    # It shares its state with check.
    assert limiter.check("rl:ip", "5/m").remaining == 3


def test_peek_info_refund_and_reset(limiter: Any) -> None:
    assert limiter.peek("rl:a") is None
    assert limiter.info("rl:a") is None
    assert limiter.refund("rl:a") is None
    assert limiter.reset("rl:a", "rl:b") == 0
    limiter.check("rl:a", "5/h", cost=3)
    assert limiter.peek("rl:a").granted == 1
    assert limiter.peek("rl:a", cost=3).allowed is False
    assert limiter.refund("rl:a", 2).granted == 2
    limiter.gcra(b"rl:\xff", "10/h", burst=20)
    assert limiter.info(b"rl:\xff") == Info(
        "gcra",
        0,
        (Window(10, 3_600_000, 20, 1, 19, 0, pytest.approx(360_000, abs=5000), pytest.approx(360_000, abs=5000)),),
    )
    sliding = limiter.info("rl:a")
    assert (sliding.algorithm, sliding.windows[0].burst, sliding.windows[0].used) == ("sliding-window", None, 1)
    assert limiter.reset("rl:a", b"rl:\xff", "rl:none") == 2


def test_top_lists_keys_of_any_bytes(limiter: Any, server: Server) -> None:
    server.admin.config_set("ratelimit.top-keys", 10)
    server.admin.config_set("ratelimit.top-keys", 128)
    for key, times in ((b"rl:\xff\x00", 3), ("rl:b", 2), ("rl:c", 1)):
        for _ in range(times + 1):
            limiter.check(key, "1/h")
    assert limiter.top(2) == [TopKey(b"rl:\xff\x00", 0, 3, 0), TopKey(b"rl:b", 0, 2, 0)]
    assert [entry.name for entry in limiter.top()] == ["rl:\\xff\x00", "rl:b", "rl:c"]
    assert limiter.top(1, database=0) == limiter.top(1)
    assert limiter.top(database=1) == []


def test_a_client_that_is_used_as_it_is(as_it_is: Any, server: Server) -> None:
    """With decode_responses, which could not decode every key."""
    server.admin.config_set("ratelimit.top-keys", 10)
    server.admin.config_set("ratelimit.top-keys", 128)
    as_it_is.check(b"rl:\xff", "1/h")
    as_it_is.check(b"rl:\xff", "1/h")
    assert as_it_is.top() == [TopKey(b"rl:\xff", 0, 1, 0)]
    assert as_it_is.info(b"rl:\xff").algorithm == "sliding-window"


@pytest.mark.parametrize(
    ("call", "words", "options", "text"),
    [
        ("check", ("a",), {}, "at least one rate"),
        ("check", ("a", "5"), {}, "not a rate"),
        ("check", (5, "5/m"), {}, "str or bytes"),
        ("check", ("\udcff", "5/m"), {}, "keys.key"),
        ("check", ("a", "5/m"), {"cost": 0}, "cost must be"),
        ("check", ("a", "5/m"), {"cost": 1.0}, "cost must be"),
        ("check", ("a", "5/m"), {"cost": 2**32}, "cost must be"),
        ("check", ("a", "5/m"), {"at_most": True, "force": True}, "exclude"),
        ("check", ("a", "5/m"), {"block": 1, "force": True}, "exclude"),
        ("check", ("a", "5/m"), {"block": 0}, "block must be"),
        ("check", ("a", "5/m"), {"keep": -1}, "keep must be"),
        ("check", ("a", "5/m"), {"keep": True}, "keep must be"),
        ("check", ("a", "5/m"), {"keep": 1, "force": True}, "force and keep exclude"),
        ("check", ("a", "5/m"), {"upto": "1h"}, "needs a block"),
        ("check", ("a", "5/m"), {"block": "2h", "upto": "1h"}, "at least as long"),
        ("check", ("a", "5/m"), {"renew": 0}, "renew must be the receipt"),
        ("check", ("a", "5/m"), {"renew": True}, "renew must be the receipt"),
        ("check", ("a", "5/m;6/m"), {}, "window must differ"),
        ("check", ("a", *[(5, n) for n in range(1, 10)]), {}, "at most 8"),
        ("gcra", ("a", "5/m;6/h"), {}, "one rate"),
        ("gcra", ("a", "5/m"), {"burst": 0}, "burst must be"),
        ("gcra", ("a", "1/10y"), {"burst": 11}, "refill within 100 years"),
        ("gcra", ("a", "5/m"), {"max_wait": 0}, "max_wait must be"),
        ("gcra", ("a", "5/m"), {"max_wait": 1, "at_most": True}, "max_wait and at_most exclude"),
        ("gcra", ("a", "5/m"), {"max_wait": 1, "force": True}, "max_wait and force exclude"),
        ("gcra", ("a", "5/m"), {"max_wait": 1, "keep": 1}, "max_wait and keep exclude"),
        ("mcheck", ({},), {}, "1 to 128 keys"),
        ("mcheck", ({"a": "5/m", "b": "5/m"},), {"costs": [1]}, "one cost for each of the 2 keys"),
        ("mcheck", ({"a": "5/m", "b": "5/m"},), {"costs": "12"}, "one cost for each of the 2 keys"),
        ("mcheck", ({"a": "5/m", "b": "5/m"},), {"costs": [1, -1]}, "each of costs"),
        ("mcheck", ({"a": "5/m", "b": "5/m"},), {"costs": [1, False]}, "each of costs"),
        ("mcheck", ({"a": "5/m", "b": "5/m"},), {"costs": [0, 0]}, "above 0"),
        ("mcheck", ({"a": "5/m", "b": "5/m"},), {"costs": [1, 1], "cost": 2}, "exclude"),
        ("mcheck", ([("a", "5/m"), (b"a", "5/m")],), {}, "must differ"),
        ("mcheck", ({"a": "5/m;6/h"},), {}, "one rate"),
        ("peek", ("a",), {"cost": -1}, "cost must be"),
        ("refund", ("a", 0), {}, "units must be"),
        ("refund", ("a", 1), {"receipt": 0}, "receipt must be the receipt"),
        ("refund", ("a", 1), {"receipt": 1 << 63}, "receipt must be the receipt"),
        ("reset", (), {}, "at least one key"),
        ("reset", tuple(map(str, range(1_025))), {}, "at most 1024 keys"),
        ("top", (0,), {}, "count must be"),
        ("top", (1001,), {}, "count must be an integer from 1 to 1000"),
        ("top", (1,), {"database": -1}, "database must be"),
        ("top", (1,), {"database": True}, "database must be"),
    ],
)
def test_arguments_that_are_refused(
    server: Server, limiters: Blocking, call: str, words: Any, options: Any, text: str
) -> None:
    # Whatever the policy is: a mistake is no outage.
    limiter = limiters.from_url(server.url, policy="open")
    with pytest.raises(ArgumentError, match=text):
        getattr(limiter, call)(*words, **options)
    assert limiter.outage is None
    assert server.admin.dbsize() == 0


def test_threads_share_a_limiter_and_get_exactly_the_limit(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        granted: list[bool] = []

        def hammer() -> None:
            granted.extend(limiter.check("rl:a", "100/h").allowed for _ in range(40))

        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(granted), sum(granted)) == (320, 100)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_processes_share_a_limiter_and_get_exactly_the_limit(server: Server) -> None:
    """As the workers of gunicorn --preload do, after the parent has used the limiter."""
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        assert limiter.check("rl:a", "100/h").allowed
        fork = multiprocessing.get_context("fork")
        with fork.Pool(4, initializer=_adopt, initargs=(limiter,)) as pool:
            granted = sum(pool.map(_count_granted, [50] * 4, chunksize=1))
        assert 1 + granted == 100
        assert not limiter.check("rl:a", "100/h").allowed


_adopted: RateLimiter


def _adopt(limiter: RateLimiter) -> None:
    global _adopted
    _adopted = limiter
    assert os.getpid() != multiprocessing.parent_process()


def _count_granted(times: int) -> int:
    return sum(_adopted.check("rl:a", "100/h").allowed for _ in range(times))


async def test_tasks_share_a_limiter_and_get_exactly_the_limit(server: Server) -> None:
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        decisions = await asyncio.gather(*(limiter.check("rl:a", "100/h") for _ in range(320)))
    assert sum(decision.allowed for decision in decisions) == 100


async def test_a_cancelled_call_leaves_no_answer_for_the_next(start: Any) -> None:
    server = start(Server)
    async with AsyncRateLimiter.from_url(server.url, timeout=20, max_connections=1) as limiter:
        await limiter.check("rl:warm", "5/h")
        with server.paused():
            task = asyncio.create_task(limiter.check("rl:cancelled", "1000/h"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await limiter.check("rl:next", "7/h")).limit == 7


def test_close_ends_the_connections_and_a_later_call_opens_them(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, client_name="closing")
    limiter.check("rl:a", "5/m")
    name = "name=closing"
    assert name in server.run("CLIENT LIST")
    limiter.close()
    eventually(lambda: name not in server.run("CLIENT LIST"))
    assert limiter.check("rl:a", "5/m").remaining == 3


def test_the_client_of_the_application_is_left_alone(server: Server, limiters: Blocking) -> None:
    client = limiters.redis.Redis(unix_socket_path=server.socket, client_name="mine", decode_responses=True)
    limiter = limiters.of_client(client)
    limiter.check("rl:a", "5/m")
    limiter.close()
    assert limiters.run(client.ping())
    as_it_is = limiters.of_client(client, timeout=None)
    as_it_is.check("rl:a", "5/m")
    as_it_is.close()
    assert limiters.run(client.ping())
    limiters.run(client.aclose() if limiters.asynchronous else client.close())


def test_a_client_of_the_other_kind_is_refused(limiters: Blocking) -> None:
    other = redis.Redis() if limiters.asynchronous else redis.asyncio.Redis()
    for wrong in (other, object(), None, "redis://localhost"):
        with pytest.raises(ArgumentError, match="Redis or RedisCluster is needed"):
            limiters.of_client(wrong)
    for timeout in (0, -1, True, float("nan"), "1"):
        with pytest.raises(ArgumentError, match="timeout"):
            limiters.of_client(limiters.redis.Redis(), timeout=timeout)
    with pytest.raises(ArgumentError, match="policy must be"):
        limiters.from_url("redis://localhost", policy="close")
