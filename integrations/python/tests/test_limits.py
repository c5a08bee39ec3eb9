"""The storage and the strategies for limits: what is asked, how often, and what limits is told."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import inspect
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import limits.aio.storage
import limits.aio.strategies
import limits.strategies
import pytest
import redis
import redis.asyncio
from kinds import PATIENT
from limits import (
    RateLimitItem,
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
    RateLimitItemPerYear,
    parse,
)
from limits.errors import ConfigurationError, StorageError
from limits.limits import Granularity
from limits.storage import MemoryStorage, storage_from_string
from servers import (
    CLUSTER_DISCOVERY,
    RATE_LIMIT_ONLY,
    Certificates,
    Cluster,
    Sentinels,
    Server,
    eventually,
)
from test_outages import demoted, killed, password_changed

from redis_ratelimit import ArgumentError, ModuleMissingError, RateLimitError, UnavailableError, unusable
from redis_ratelimit.limits import GcraRateLimiter, SlidingWindowRateLimiter, address, naming

FIVE = RateLimitItemPerMinute(5)
# limits 5 has no elastic expiry, limits 4.0 no sliding window counter.
KNOWN = ["fixed-window", "fixed-window-elastic-expiry", "moving-window", "sliding-window-counter"]
THEIRS = [name for name in KNOWN if name in limits.strategies.STRATEGIES]
OURS = ["rl-sliding-window", "rl-gcra"]
NAMES = THEIRS + OURS


def rl(url: str) -> str:
    """The URI of a storage for what a URL of the client names."""
    if url.startswith("unix:"):
        return "rl+" + url
    scheme, _, rest = url.partition("://")
    return f"{scheme.replace('rediss', 'rls').replace('redis', 'rl')}://{rest}"


class Calling:
    """Something of limits.aio that is called as its blocking twin."""

    def __init__(self, real: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.real = real
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if not inspect.iscoroutinefunction(inspect.unwrap(found)):
            return found
        return lambda *words, **options: self._loop.run_until_complete(found(*words, **options))


class BlockingLimits:
    """Makes storages and strategies of limits."""

    strategies: Any = limits.strategies
    scheme = ""
    redis: Any = redis

    def storage(self, uri: str, **options: Any) -> Any:
        return storage_from_string(self.scheme + uri, **{"timeout": PATIENT, **options})

    def strategy(self, name: str, storage: Any) -> Any:
        """What is looked up by a name."""
        return self.strategies.STRATEGIES[name](storage)

    def close(self) -> None:
        pass


class AsyncioLimits(BlockingLimits):
    """Makes those of limits.aio, to be called as the others."""

    strategies = limits.aio.strategies
    scheme = "async+"
    redis = redis.asyncio

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._made: list[Any] = []

    def storage(self, uri: str, **options: Any) -> Any:
        made = Calling(super().storage(uri, **options), self._loop)
        self._made.append(made.real.limiter)
        return made

    def strategy(self, name: str, storage: Any) -> Any:
        return Calling(super().strategy(name, storage.real), self._loop)

    def close(self) -> None:
        for limiter in self._made:
            self._loop.run_until_complete(limiter.aclose())
        self._loop.close()


@pytest.fixture(params=[BlockingLimits, AsyncioLimits], ids=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> Iterator[BlockingLimits]:
    found = request.param()
    yield found
    found.close()


class Commands:
    """Counts what a server is asked."""

    def __init__(self, *servers: Server) -> None:
        self._servers = servers
        for server in servers:
            server.admin.config_resetstat()

    def taken(self) -> dict[str, int]:
        """What was called since the last time. Not what connections begin with, nor this."""
        found: dict[str, int] = {}
        for server in self._servers:
            for name, numbers in server.admin.info("commandstats").items():
                command = name.removeprefix("cmdstat_").upper()
                if command.partition("|")[0] not in ("CLIENT", "CLUSTER", "COMMAND", "CONFIG", "HELLO", "INFO"):
                    found[command] = found.get(command, 0) + numbers["calls"]
            server.admin.config_resetstat()
        return found


def works(kind: BlockingLimits, storage: Any) -> bool:
    """Whether hits are decided, by each strategy, and told about, with no more rights than RATE_LIMIT_ONLY."""
    assert storage.check()
    for name in NAMES:
        strategy = kind.strategy(name, storage)
        limit = parse("2/hour")
        assert strategy.test(limit, "works", cost=2)
        assert not strategy.test(limit, "works", cost=3)
        assert [strategy.hit(limit, "works") for _ in range(3)] == [True, True, False]
        assert not strategy.test(limit, "works")
        stats = strategy.get_window_stats(limit, "works")
        assert stats.remaining == 0
        assert 1700 < stats.reset_time - time.time() <= 3601
        strategy.clear(limit, "works")
        assert strategy.get_window_stats(limit, "works").remaining == 2
        # The moving window of limits adds its length to the time, whatever is in use.
        unused = 3600 if name == "moving-window" else 0
        assert abs(strategy.get_window_stats(limit, "works").reset_time - time.time() - unused) < 60
    return True


# Ways to a server


def test_one_server(kind: BlockingLimits, start: Callable[..., Any]) -> None:
    server = start(Server, tcp=True, password="admin", user=RATE_LIMIT_ONLY)
    for uri in (rl(server.url), rl(server.tcp_url), f"rl://app:secret@127.0.0.1:{server.port}", rl(server.user_url)):
        assert works(kind, kind.storage(uri))
    # As limits takes it.
    assert works(kind, kind.storage(f"rl://127.0.0.1:{server.port}", password="admin", socket_connect_timeout=30))


def test_tls(kind: BlockingLimits, start: Callable[..., Any], certificates: Certificates) -> None:
    server = start(Server, certificates=certificates, password="admin", user=RATE_LIMIT_ONLY)
    assert works(kind, kind.storage(rl(server.tls_url)))
    user = f"rls://app:secret@localhost:{server.tls_port}/0"
    assert works(kind, kind.storage(user, ssl_ca_certs=certificates.authority))
    assert not kind.storage(user).check()


def test_sentinel(kind: BlockingLimits, start: Callable[..., Any]) -> None:
    sentinels = start(Sentinels, password="admin", user=RATE_LIMIT_ONLY, sentinel_password="watch")
    assert works(kind, kind.storage(rl(sentinels.url())))
    assert works(kind, kind.storage(rl(sentinels.url(user="app:secret"))))
    # As limits takes it.
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels.sentinels)
    options = {"service_name": "mymaster", "password": "admin", "sentinel_kwargs": {"password": "watch"}}
    assert works(kind, kind.storage(f"rl+sentinel://{hosts}", use_replicas=False, **options))


def test_sentinel_over_tls(kind: BlockingLimits, start: Callable[..., Any], certificates: Certificates) -> None:
    sentinels = start(Sentinels, replicas=0, sentinels=1, certificates=certificates)
    assert works(kind, kind.storage(rl(sentinels.url())))


def test_cluster(kind: BlockingLimits, cluster: Cluster) -> None:
    storage = kind.storage(rl(cluster.url()))
    assert works(kind, storage)
    strategy = kind.strategy("fixed-window", storage)
    assert all(strategy.hit(FIVE, str(user)) for user in range(50))
    assert [node.admin.dbsize() for node in cluster.nodes] != [50, 0, 0]
    assert storage.reset() == 50
    assert [node.admin.dbsize() for node in cluster.nodes] == [0, 0, 0]


def test_a_cluster_with_a_password_a_user_and_tls(
    kind: BlockingLimits, start: Callable[..., Any], certificates: Certificates
) -> None:
    cluster = start(Cluster, password="admin", user=f"{RATE_LIMIT_ONLY} {CLUSTER_DISCOVERY}", certificates=certificates)
    assert works(kind, kind.storage(rl(cluster.url())))
    assert works(kind, kind.storage(rl(cluster.url(user="app:secret"))))


def test_a_pool_of_connections(kind: BlockingLimits, start: Callable[..., Any]) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    pool = kind.redis.ConnectionPool.from_url(server.user_url)
    assert works(kind, kind.storage("rl://", connection_pool=pool))
    with pytest.raises(ConfigurationError, match="ConnectionPool"):
        kind.storage("rl://", connection_pool=object())


@pytest.mark.parametrize(
    ("uri", "options", "text"),
    [
        ("rl+sentinel://localhost:26379", {}, "names the service"),
        ("rl://localhost:port", {}, "bad Redis URL"),
        ("rl://localhost?colour=red", {}, "colour"),
        ("rl://localhost", {"colour": "red"}, "colour"),
        ("rl://localhost", {"timeout": 0}, "timeout"),
        ("rl+cluster://localhost/1", {}, "only database 0"),
        ("rl+proxy://localhost", {}, "unknown storage scheme"),
    ],
)
def test_a_uri_or_an_option_that_is_none(kind: BlockingLimits, uri: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        kind.storage(uri, **options)


# Commands


@pytest.mark.parametrize("name", NAMES)
def test_each_call_is_one_command(name: str, kind: BlockingLimits, server: Server) -> None:
    strategy = kind.strategy(name, kind.storage(rl(server.url)))
    commands = Commands(server)
    for granted in (True, True, False):
        assert strategy.hit(parse("2/minute"), "ann") is granted
        assert commands.taken() == {"RL.GCRA" if name == "rl-gcra" else "RL.CHECK": 1}
    for _ in range(2):
        assert strategy.test(parse("2/minute"), "bob")
        assert commands.taken() == {"RL.PEEK": 1}
    strategy.get_window_stats(parse("3/minute"), "bob")
    assert commands.taken() == {"RL.PEEK": 1}
    assert strategy.clear(parse("2/minute"), "ann") is None
    assert commands.taken() == {"RL.RESET": 1}


@pytest.mark.parametrize("name", NAMES)
def test_a_hit_and_what_is_told_about_it_is_one_command(name: str, server: Server) -> None:
    strategy = limits.strategies.STRATEGIES[name](storage_from_string(rl(server.url), timeout=PATIENT))
    decision = "RL.GCRA" if name == "rl-gcra" else "RL.CHECK"
    commands = Commands(server)
    for remaining in (3, 2, 1, 0, 0):
        strategy.hit(parse("4/hour"), "ann")
        assert strategy.get_window_stats(parse("4/hour"), "ann").remaining == remaining
        assert strategy.get_window_stats(parse("4/hour"), "ann").remaining == remaining
        assert commands.taken() == {decision: 1}
    # A test of ours is always asked, and says what is left as well. Those of limits read what was told after the hit.
    assert not strategy.test(parse("4/hour"), "ann")
    assert not strategy.test(parse("4/hour"), "ann")
    assert strategy.get_window_stats(parse("4/hour"), "ann").remaining == 0
    assert commands.taken() == ({"RL.PEEK": 2} if name in OURS else {})
    # What was forgotten needs no question either.
    strategy.clear(parse("4/hour"), "ann")
    assert strategy.get_window_stats(parse("4/hour"), "ann").remaining == 4
    assert commands.taken() == {"RL.RESET": 1}
    # Nothing is known of others.
    assert strategy.get_window_stats(parse("4/hour"), "bob").remaining == 4
    assert strategy.get_window_stats(parse("3/hour"), "ann").remaining == 3
    assert commands.taken() == {"RL.PEEK": 2}


@pytest.mark.parametrize("name", NAMES)
async def test_a_hit_and_what_is_told_about_it_is_one_command_with_asyncio(name: str, server: Server) -> None:
    storage: Any = storage_from_string("async+" + rl(server.url), timeout=PATIENT)
    strategy = limits.aio.strategies.STRATEGIES[name](storage)
    commands = Commands(server)

    async def request(user: str) -> int:
        await strategy.hit(parse("4/hour"), user)
        # Everybody has hit before anybody asks.
        await asyncio.sleep(0.1)
        return (await strategy.get_window_stats(parse("4/hour"), user)).remaining

    answers = await asyncio.gather(*[request("ann") for _ in range(3)], request("bob"))
    assert sorted(answers) == [1, 2, 3, 3]
    assert commands.taken() == {"RL.GCRA" if name == "rl-gcra" else "RL.CHECK": 4}
    await storage.limiter.aclose()


def test_each_thread_is_told_about_its_own_hit(server: Server) -> None:
    strategy = limits.strategies.STRATEGIES["fixed-window"](storage_from_string(rl(server.url), timeout=PATIENT))
    everybody_has_hit = threading.Barrier(10)
    answers = []

    def request() -> None:
        strategy.hit(parse("20/hour"), "ann")
        everybody_has_hit.wait(60)
        answers.append(strategy.get_window_stats(parse("20/hour"), "ann").remaining)

    commands = Commands(server)
    threads = [threading.Thread(target=request) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(10, 20))
    assert commands.taken() == {"RL.CHECK": 10}


def test_a_denial_is_told_about_in_another_thread(server: Server) -> None:
    strategy = limits.strategies.STRATEGIES["fixed-window"](storage_from_string(rl(server.url), timeout=PATIENT))
    assert strategy.hit(parse("1/hour"), "ann")
    commands = Commands(server)
    for call in (
        lambda: strategy.hit(parse("1/hour"), "ann"),
        lambda: strategy.get_window_stats(parse("1/hour"), "ann"),
    ):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert commands.taken() == {"RL.CHECK": 1}


def test_what_is_remembered_does_not_outlive_a_second_or_a_tenth_of_the_window(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage: Any = storage_from_string(rl(server.url), timeout=PATIENT)
    strategy = limits.strategies.STRATEGIES["fixed-window"](storage)
    now = time.monotonic()
    monkeypatch.setattr("redis_ratelimit.limits.state.time.monotonic", lambda: now)
    for limit, fresh in ((parse("5/hour"), 1.0), (parse("5/2 seconds"), 0.2)):
        commands = Commands(server)
        strategy.hit(limit, "ann")
        # Not to the instant: these are sums of fractions that have no exact spelling.
        now += fresh - 0.001
        strategy.get_window_stats(limit, "ann")
        assert commands.taken() == {"RL.CHECK": 1}
        now += 0.002
        strategy.get_window_stats(limit, "ann")
        assert commands.taken() == {"RL.PEEK": 1}
    # A reset forgets what is remembered, too.
    strategy.hit(FIVE, "ann")
    storage.reset()
    assert strategy.get_window_stats(FIVE, "ann").remaining == 5


def test_the_commands_word_for_word(kind: BlockingLimits, server: Server) -> None:
    storage = kind.storage(rl(server.url))
    storage.check()
    with server.admin.monitor() as monitor:
        for name in [*THEIRS, "rl-sliding-window"]:
            kind.strategy(name, storage).hit(parse("5 per 2 minute"), "192.0.2.1", "login", cost=2)
            assert monitor.next_command()["command"] == (
                "RL.CHECK rl:limits:LIMITER/192.0.2.1/login/5/2/minute 5 120 COST 2"
            )
        kind.strategy("rl-gcra", storage).hit(parse("5/second"), "ann")
        assert monitor.next_command()["command"] == "RL.GCRA rl:limits:LIMITER/ann/5/1/second/gcra 5 1"
        kind.strategy("fixed-window", storage).test(parse("5/second"), "ann")
        assert monitor.next_command()["command"] == "RL.PEEK rl:limits:LIMITER/ann/5/1/second"


# Decisions


@pytest.mark.parametrize("name", NAMES)
def test_costs(name: str, kind: BlockingLimits, server: Server) -> None:
    strategy = kind.strategy(name, kind.storage(rl(server.url)))
    assert not strategy.hit(FIVE, "ann", cost=6)
    assert strategy.hit(FIVE, "ann", cost=3)
    # All or none, and what is denied is not counted.
    assert not strategy.hit(FIVE, "ann", cost=3)
    assert strategy.get_window_stats(FIVE, "ann").remaining == 2
    assert strategy.test(FIVE, "ann", cost=2)
    assert not strategy.test(FIVE, "ann", cost=3)
    assert strategy.hit(FIVE, "ann", cost=2)
    # A cost of nothing is always there.
    for limit in (FIVE, RateLimitItemPerMinute(0)):
        assert strategy.hit(limit, "ann", cost=0)
        assert strategy.test(limit, "ann", cost=0)
        assert strategy.get_window_stats(limit, "ann").remaining == 0
    with pytest.raises(ArgumentError, match="cost must be an integer from 1"):
        strategy.hit(FIVE, "ann", cost=-1)


UNUSABLE = [
    RateLimitItemPerDay(99_999_999_999),
    RateLimitItemPerMinute(2**32),
    RateLimitItemPerDay(5, 4000),
    RateLimitItemPerYear(1, 20),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("item", UNUSABLE, ids=str)
def test_a_limit_that_the_module_does_not_have_is_refused_and_said_once(
    name: str, item: Any, kind: BlockingLimits, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    storage = kind.storage(rl(server.url))
    strategy = kind.strategy(name, storage)
    server.admin.config_resetstat()
    unusable._told.clear()
    for user in ("ann", "bob"):
        assert not strategy.test(item, user)
        assert not strategy.hit(item, user)
        assert not strategy.test(item, user)
        assert strategy.get_window_stats(item, user).remaining == 0
    assert strategy.get_window_stats(item, "ann").reset_time > time.time() + item.get_expiry() - 60
    assert "cmdstat_rl.check" not in server.admin.info("commandstats")
    [line] = caplog.records
    assert line.levelname == "ERROR"
    assert re.search("refuses every request: (limit|window) must be", line.message)
    # Others are not concerned.
    assert strategy.hit(FIVE, "ann")


def test_a_rate_that_only_gcra_does_not_have(kind: BlockingLimits, server: Server) -> None:
    storage = kind.storage(rl(server.url))
    item = RateLimitItemPerSecond(4_000_000_000)
    assert kind.strategy("rl-sliding-window", storage).hit(item, "ann")
    strategy = kind.strategy("rl-gcra", storage)
    assert not strategy.hit(item, "ann")
    assert not strategy.test(item, "ann")


@pytest.mark.parametrize("name", NAMES)
def test_a_cost_above_every_limit_is_never_granted(name: str, kind: BlockingLimits, server: Server) -> None:
    strategy = kind.strategy(name, kind.storage(rl(server.url)))
    for item in (FIVE, RateLimitItemPerMinute(4_294_967_295)):
        assert not strategy.hit(item, "ann", cost=4_294_967_296)
        assert not strategy.test(item, "ann", cost=4_294_967_296)
        assert strategy.hit(item, "ann")


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_of_nothing_is_never_granted(name: str, kind: BlockingLimits, server: Server) -> None:
    strategy = kind.strategy(name, kind.storage(rl(server.url)))
    nothing = RateLimitItemPerMinute(0)
    assert not strategy.hit(nothing, "ann")
    assert not strategy.test(nothing, "ann")
    assert strategy.get_window_stats(nothing, "ann").remaining == 0
    assert server.admin.dbsize() == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("used", [0, 2])
def test_what_can_never_be_granted_has_to_wait_for_a_window(
    used: int, name: str, kind: BlockingLimits, server: Server
) -> None:
    strategy = kind.strategy(name, kind.storage(rl(server.url)))
    # Those of limits do not tell a storage what a test has cost.
    for asked in (strategy.hit, strategy.test) if name in OURS else (strategy.hit,):
        for limit, cost in ((parse("5/hour"), 6), (RateLimitItemPerHour(0), 1)):
            if used and limit.amount:
                strategy.hit(limit, "ann", cost=used)
            assert not asked(limit, "ann", cost=cost)
            stats = strategy.get_window_stats(limit, "ann")
            assert 3590 < stats.reset_time - time.time() <= 3601
            assert stats.remaining == max(0, limit.amount - used)
            strategy.clear(limit, "ann")
    # Of nothing there is never more.
    assert 3590 < strategy.get_window_stats(RateLimitItemPerHour(0), "bob").reset_time - time.time() <= 3601


@pytest.mark.parametrize("name", [*THEIRS, "rl-sliding-window"])
def test_never_more_than_the_limit_in_any_window(name: str, server: Server) -> None:
    """A fixed window would grant twice the limit around its boundary."""
    strategy = BlockingLimits().strategy(name, BlockingLimits().storage(rl(server.url)))
    limit = RateLimitItemPerSecond(5)
    granted = []
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        asked = time.monotonic()
        if strategy.hit(limit, "ann"):
            granted.append((asked, time.monotonic()))
    assert len(granted) >= 5
    # Decided somewhere between the two times: what is surely within less than a second.
    for first, later in zip(granted, granted[5:], strict=False):
        assert later[1] - first[0] >= 1


def test_all_threads_together_get_the_limit(server: Server) -> None:
    strategy = BlockingLimits().strategy("fixed-window", BlockingLimits().storage(rl(server.url)))
    granted = []

    def hammer() -> None:
        granted.extend(strategy.hit(parse("100/hour"), "ann") for _ in range(25))

    threads = [threading.Thread(target=hammer) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(granted), sum(granted)) == (250, 100)


def test_gcra_gives_units_back_one_by_one(kind: BlockingLimits, server: Server) -> None:
    strategy = kind.strategy("rl-gcra", kind.storage(rl(server.url)))
    limit = parse("3600/hour")
    assert strategy.hit(limit, "ann", cost=3600)
    assert not strategy.hit(limit, "ann", cost=2)
    assert strategy.get_window_stats(limit, "ann").reset_time - time.time() <= 3
    assert eventually(lambda: strategy.hit(limit, "ann"), seconds=20)
    # It has keys of its own, so that a change of the strategy is no error.
    assert kind.strategy("fixed-window", kind.storage(rl(server.url))).hit(limit, "ann")


class Mine(RateLimitItem):
    """A limit whose key does not tell it."""

    GRANULARITY = Granularity(60, "turn")

    def key_for(self, *identifiers: Any) -> str:
        return "/".join(identifiers)


def test_a_key_that_does_not_tell_its_limit(kind: BlockingLimits, server: Server) -> None:
    storage = kind.storage(rl(server.url))
    strategy = kind.strategy("fixed-window", storage)
    assert [strategy.hit(Mine(2), "ann") for _ in range(3)] == [True, True, False]
    # Then denials count, too.
    assert storage.get("ann") == 3
    assert strategy.get_window_stats(Mine(2), "ann").remaining == 0
    # Strategies say the limit, but for those of fixed windows.
    for name in [name for name in NAMES if not name.startswith("fixed-window")]:
        strategy = kind.strategy(name, storage)
        assert [strategy.hit(Mine(2), name) for _ in range(3)] == [True, True, False]
        assert strategy.get_window_stats(Mine(2), name).remaining == 0
        assert storage.get(f"{name}/gcra" if name == "rl-gcra" else name) == 2


# Keys


def test_keys(kind: BlockingLimits, server: Server) -> None:
    strategy = kind.strategy("fixed-window", kind.storage(rl(server.url)))
    strategy.hit(FIVE, "192.0.2.1", "login")
    strategy.hit(FIVE, "2001:db8::1", "{login}\r\n%")
    strategy.hit(FIVE, "x" * 1000)
    assert {key.partition("=")[0] for key in server.admin.scan_iter()} == {
        "rl:limits:LIMITER/192.0.2.1/login/5/1/minute",
        "rl:limits:LIMITER/2001%3Adb8%3A%3A1/%7Blogin%7D%0D%0A%25/5/1/minute",
        "rl:limits:%",
    }
    assert not strategy.hit(FIVE, "x" * 1000, cost=5)
    assert strategy.hit(FIVE, "x" * 1001, cost=5)


def test_a_reset_forgets_all_keys_of_its_prefix_and_no_others(kind: BlockingLimits, server: Server) -> None:
    def hits(prefix: str, number: int) -> Any:
        storage = kind.storage(rl(server.url), key_prefix=prefix)
        strategy = kind.strategy("fixed-window", storage)
        assert all(strategy.hit(FIVE, str(user)) for user in range(number))
        return storage

    ours = hits("rl:[a*b?c]", 1200)
    hits("rl:a", 1)
    hits("rl:b", 1)
    server.admin.set("rl:other", "1")
    assert ours.reset() == 1200
    assert ours.reset() == 0
    assert server.admin.dbsize() == 3


def test_a_reset_needs_a_right_of_its_own(kind: BlockingLimits, start: Callable[..., Any]) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    storage = kind.storage(rl(server.user_url))
    kind.strategy("fixed-window", storage).hit(FIVE, "ann")
    with pytest.raises(UnavailableError) as caught:
        storage.reset()
    assert caught.value.reason == "NOPERM"
    server.run("ACL SETUSER app +scan")
    assert storage.reset() == 1


# Failures


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_those_of_this_package_or_wrapped_as_limits_promises(
    name: str, kind: BlockingLimits, start: Callable[..., Any]
) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    for wrapped in (False, True):
        storage = kind.storage(rl(server.user_url), wrap_exceptions=wrapped)
        strategy = kind.strategy(name, storage)
        calls = [
            lambda: strategy.hit(FIVE, "ann"),  # noqa: B023
            lambda: strategy.test(FIVE, "bob"),  # noqa: B023
            lambda: strategy.get_window_stats(FIVE, "bob"),  # noqa: B023
            lambda: strategy.clear(FIVE, "ann"),  # noqa: B023
            storage.reset,
        ]
        for fails, reason in ((killed, "CONNECTION"), (password_changed, "WRONGPASS")):
            with fails(server):
                assert not storage.check()
                for call in calls:
                    with pytest.raises(StorageError if wrapped else RateLimitError) as caught:
                        call()
                    error = caught.value.storage_error if wrapped else caught.value
                    assert error.reason == reason
            assert storage.check()
            assert strategy.hit(FIVE, "ann")


def test_a_server_that_grants_nothing_is_not_healthy(kind: BlockingLimits, start: Callable[..., Any]) -> None:
    server = start(Server)
    storage = kind.storage(rl(server.url))
    assert storage.check()
    with demoted(server):
        assert not storage.check()
    assert storage.check()
    server.admin.config_set("maxmemory", 1)
    assert not storage.check()
    server.admin.config_set("maxmemory", 0)
    # Nothing of it counts as a decision.
    assert server.admin.execute_command("INFO", "ratelimit")["ratelimit_decisions"] == 0
    without = kind.storage(rl(start(Server, load_module=False).url))
    assert not without.check()
    with pytest.raises(ModuleMissingError, match="loadmodule"):
        kind.strategy("fixed-window", without).hit(FIVE, "ann")


@pytest.mark.parametrize(
    ("user", "lines"),
    [("~rl:* -@all +rl.check", ()), ("~rl:* -@all +rl.check +rl.peek", ("ratelimit.cl-throttle no",))],
    ids=["not allowed", "not there"],
)
def test_a_storage_is_healthy_without_the_right_to_ask_for_nothing(
    kind: BlockingLimits,
    user: str,
    lines: tuple[str, ...],
    start: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = start(Server, *lines, user=user)
    storage = kind.storage(rl(server.user_url))
    for _ in range(3):
        assert storage.check()
    assert server.admin.execute_command("INFO", "ratelimit")["ratelimit_granted"] == 3
    # What is refused is tried once, and is no outage.
    assert len(server.admin.acl_log()) <= 1
    assert not caplog.records
    with demoted(server):
        assert not storage.check()


# The registry


def test_nothing_of_limits_is_replaced() -> None:
    for module, memory in (
        (limits.strategies, MemoryStorage()),
        (limits.aio.strategies, limits.aio.storage.MemoryStorage()),
    ):
        strategies: Any = module
        assert [strategies.STRATEGIES[name].__module__ for name in THEIRS] == [strategies.__name__] * len(THEIRS)
        assert strategies.STRATEGIES.keys() == {*NAMES}
        # A fallback to memory is looked up by the same name.
        for name in OURS:
            assert type(strategies.STRATEGIES[name](memory)) is strategies.MovingWindowRateLimiter


def test_our_strategies_need_our_storages() -> None:
    for strategy in (SlidingWindowRateLimiter, GcraRateLimiter):
        with pytest.raises(NotImplementedError, match="rl://"):
            strategy(MemoryStorage())


@pytest.mark.parametrize("module", [address, naming], ids=["address", "naming"])
def test_the_examples_of_the_modules(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
    assert importlib.import_module("redis_ratelimit.limits").__doc__


# Observe mode


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["option", "URI"])
def test_in_observe_mode_nothing_is_refused(kind: BlockingLimits, how: str, server: Server, name: str) -> None:
    uri = rl(server.url)
    storage = kind.storage(f"{uri}?observe=yes") if how == "URI" else kind.storage(uri, observe=True)
    strategy = kind.strategy(name, storage)
    item = RateLimitItemPerHour(3)
    for _ in range(6):
        assert strategy.test(item, "ann")
        assert strategy.hit(item, "ann")
        assert strategy.test(item, "ann", cost=3)
    # Tests by the strategies of limits are decided by limits itself.
    tests = 3 + 6 + 3 if name in OURS else 0
    assert storage.limiter.would_deny_total in (3 + tests, 3 + tests - 3)
    assert strategy.hit(item, "ann", cost=4)
    assert strategy.hit(parse("0/hour"), "ann")
    assert strategy.hit(RateLimitItemPerYear(5, 20), "ann")
    assert strategy.hit(item, "bob", cost=4_294_967_296)
    # The same without observe mode.
    enforcing = kind.strategy(name, kind.storage(uri))
    assert not enforcing.hit(item, "ann")
    assert not enforcing.test(item, "ann")


def test_in_observe_mode_outages_are_none(kind: BlockingLimits, start: Callable[..., Any]) -> None:
    server = start(Server)
    storage = kind.storage(rl(server.url), observe=True, wrap_exceptions=True)
    strategy = kind.strategy("rl-sliding-window", storage)
    server.kill()
    assert strategy.hit(FIVE, "ann")
    assert strategy.test(FIVE, "ann")
    assert strategy.get_window_stats(FIVE, "ann").remaining >= 0
    assert storage.limiter.would_deny_total == 2
    # It is no decision whether the server is there.
    assert not storage.check()
    storage._may_probe = False
    assert not storage.check()
    with pytest.raises(StorageError):
        strategy.clear(FIVE, "ann")


def test_what_is_told_of_a_hit_is_not_counted_again(kind: BlockingLimits, server: Server) -> None:
    storage = kind.storage(rl(server.url), observe=True)
    strategy = kind.strategy("rl-sliding-window", storage)
    item = RateLimitItemPerHour(1)
    assert strategy.hit(item, "ann")
    storage._replies = type(storage._replies)()
    assert strategy.get_window_stats(item, "ann").remaining == 0
    assert storage.limiter.would_deny_total == 0


def test_options_of_the_limiter_beside_a_pool(kind: BlockingLimits, server: Server) -> None:
    pool = kind.redis.ConnectionPool.from_url(server.url)
    for uri, options in (("rl://", {"observe": True, "cache_denials": 7}), ("rl://?observe=1&cache_denials=7", {})):
        limiter = kind.storage(uri, connection_pool=pool, **options).limiter
        assert limiter.observe
        assert limiter._denials._most == 7
    with pytest.raises(ConfigurationError, match="observe must be True or False"):
        kind.storage("rl://localhost", observe="no")


@pytest.mark.parametrize("name", NAMES)
def test_denials_are_remembered_if_that_is_an_option(kind: BlockingLimits, server: Server, name: str) -> None:
    storage = kind.storage(rl(server.url), cache_denials=10)
    strategy = kind.strategy(name, storage)
    item = RateLimitItemPerHour(1)
    assert [strategy.hit(item, "ann") for _ in range(2)] == [True, False]
    commands = Commands(server)
    assert [strategy.hit(item, "ann") for _ in range(3)] == [False] * 3
    assert commands.taken() == {}
    assert not strategy.hit(item, "ann", cost=1)
    strategy.clear(item, "ann")
    assert strategy.hit(item, "ann")
