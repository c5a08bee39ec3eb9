"""Limits of several levels, on real servers and a real cluster, by both kinds of limiters."""

from __future__ import annotations

import asyncio
import doctest
import threading
from types import ModuleType
from typing import Any

import pytest
from kinds import Blocking
from servers import CLUSTER_DISCOVERY, RATE_LIMIT_ONLY, Cluster, Server, eventually

from redis_ratelimit import (
    ArgumentError,
    AsyncRateLimiter,
    ConfigurationError,
    Rate,
    RateLimiter,
    UnavailableError,
    admin,
    asgi,
    escapes,
    key,
)
from redis_ratelimit import multilevel as multilevel_module
from redis_ratelimit.multilevel import AsyncMultiLevelLimiter, Level, MultiLevelLimiter

ANN = {"ip": "192.0.2.1", "user": "ann"}


def commands_of(*servers: Server) -> dict[str, int]:
    """How often the module's commands were called since the last CONFIG RESETSTAT."""
    counts: dict[str, int] = {}
    for server in servers:
        for name, stats in server.admin.info("commandstats").items():
            if name.startswith("cmdstat_rl."):
                counts[name.removeprefix("cmdstat_")] = counts.get(name.removeprefix("cmdstat_"), 0) + stats["calls"]
    return counts


def used(limits: Any, level: str, value: str) -> list[int]:
    return [window.used if window else 0 for window in limits.info(level, value).values()]


@pytest.mark.parametrize("module", [multilevel_module, admin, asgi, escapes], ids=lambda module: module.__name__)
def test_the_examples_of_the_modules(module: ModuleType, server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        result = doctest.testmod(module, extraglobs={"limiter": limiter})
    assert result.attempted > 0
    assert result.failed == 0


# One server


def test_all_levels_are_one_command(server: Server, limiters: Blocking, multilevel: Any) -> None:
    limits = multilevel(limiters.from_url(server.url), [Level("ip", "5/m"), Level("user", "3/m; 50/h")], scope="login")
    server.admin.config_resetstat()
    assert limits.check(ANN).allowed
    assert commands_of(server) == {"rl.mcheck": 1}
    # The longest window has the level's own key.
    assert sorted(server.admin.keys()) == ["rl:login:ip:192.0.2.1", "rl:login:user:ann", "rl:login:user:ann:1m"]
    assert limits.keys("user", "ann") == ("rl:login:user:ann:1m", "rl:login:user:ann")


def test_a_denial_says_which_level_and_when_and_charges_nothing(
    server: Server, limiters: Blocking, multilevel: Any
) -> None:
    limits = multilevel(limiters.from_url(server.url), [Level("ip", "5/m"), Level("user", "2/m; 50/h")])
    for _ in range(2):
        result = limits.check(ANN)
        assert (bool(result), result.refused, result.retry_after, result.never) == (True, (), 0.0, False)
    result = limits.check(ANN)
    assert (result.allowed, result.refused) == (False, ("user",))
    assert 50 < result.retry_after <= 60
    assert result.binding.rate == Rate.parse("2/m")
    assert (result["ip"].granted, result["ip"].remaining, result["user"].remaining) == (0, 3, 0)
    assert used(limits, "ip", "192.0.2.1") == [2]
    assert used(limits, "user", "ann") == [2, 2]
    with pytest.raises(KeyError):
        result["account"]
    # Several at a time, and a cost that no wait is long enough for.
    both = limits.check(ANN, cost=4)
    assert (both.refused, both.never, both.retry_after) == (("ip", "user"), True, None)
    # Nobody should repeat it at once.
    assert int(both.headers()["Retry-After"]) == 60
    assert int(limits.check(ANN, cost=51).headers()["Retry-After"]) == 3600
    # A cost of nothing is always there, and asks nobody.
    server.admin.config_resetstat()
    nothing = limits.check(ANN, cost=0)
    assert (nothing.allowed, nothing.rows) == (True, ())
    assert commands_of(server) == {}


def test_headers_tell_of_all_levels(server: Server, limiters: Blocking, multilevel: Any) -> None:
    limits = multilevel(limiters.from_url(server.url), [Level("ip", "5/m"), Level("user", "2/m; 50/h")])
    granted = limits.check(ANN).headers(reset="delta")
    assert granted == {
        "X-RateLimit-Limit": "2",
        "X-RateLimit-Remaining": "1",
        "X-RateLimit-Reset": "60",
        "RateLimit-Policy": '"ip";q=5;w=60, "user 2/1m";q=2;w=60, "user 50/1h";q=50;w=3600',
        "RateLimit": '"ip";r=4;t=60, "user 2/1m";r=1;t=60, "user 50/1h";r=49;t=3600',
    }
    limits.check(ANN)
    denied = limits.check(ANN).headers()
    assert denied["X-RateLimit-Remaining"] == "0"
    assert 50 < int(denied["Retry-After"]) <= 60
    # The time of each quota is that of its reset, granted or denied.
    times = [int(quota.rpartition("=")[2]) for quota in denied["RateLimit"].split(", ")]
    assert [50 < times[0] <= 60, 50 < times[1] <= 60, 3500 < times[2] <= 3600] == [True] * 3


def test_levels_find_their_values(server: Server, limiters: Blocking, multilevel: Any) -> None:
    limits = multilevel(
        limiters.from_url(server.url),
        [Level("user", "5/m", key=lambda request: request["session"]), Level("all", "7/m", key="everybody")],
    )
    assert [row.level for row in limits.check({"session": 17}).rows] == ["user", "all"]
    # A level that does not apply is left out.
    assert [row.level for row in limits.check({"session": None}).rows] == ["all"]
    assert sorted(server.admin.keys()) == ["rl:all:everybody", "rl:user:17"]
    # No level at all: nothing is asked.
    server.admin.config_resetstat()
    nobody = multilevel(limiters.from_url(server.url), [Level("user", "5/m")]).check({"user": None})
    assert (nobody.allowed, nobody.rows, nobody.retry_after, nobody.headers()) == (True, (), 0.0, {})
    assert commands_of(server) == {}


def test_a_value_that_is_missing_is_a_mistake(server: Server, limiters: Blocking, multilevel: Any) -> None:
    limits = multilevel(limiters.from_url(server.url, policy="open"), [Level("ip", "5/m"), Level("user", "5/m")])
    for subject in ({"ip": "192.0.2.1"}, None, 5):
        with pytest.raises(ArgumentError, match="has no key"):
            limits.check(subject)
    for value in (1.5, True, ["ann"]):
        with pytest.raises(ArgumentError, match="must be str, bytes, int, UUID, or None"):
            limits.check({"ip": "192.0.2.1", "user": value})
    assert server.admin.dbsize() == 0


async def test_a_value_may_be_awaited(server: Server) -> None:
    async def user(request: dict[str, str]) -> str:
        await asyncio.sleep(0)
        return request["name"]

    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        result = await AsyncMultiLevelLimiter(limiter, [Level("user", "5/m", key=user)]).check({"name": "ann"})
    assert result.rows[0].key == "rl:user:ann"


@pytest.mark.parametrize(
    ("levels", "options", "text"),
    [
        ([], {}, "at least one level"),
        ([Level("a", "5/m"), Level("a", "6/h")], {}, "must differ"),
        ([Level("a", "5/m")], {"shard": "rl"}, "hash tag"),
        ([Level("a", "5/m")], {"shard": "{}"}, "hash tag"),
        ([Level("a", "5/m")], {"shard": "{rl}", "atomic": False}, "exclude"),
        ([Level(str(n), *[(5, w) for w in range(1, 9)]) for n in range(17)], {}, "128 rates, not 136"),
    ],
)
def test_levels_that_do_not_go_together(
    limiters: Blocking, multilevel: Any, levels: Any, options: Any, text: str
) -> None:
    with pytest.raises(ArgumentError, match=text):
        multilevel(limiters.from_url("redis://localhost"), levels, **options)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("",), "printable ASCII"),
        (("\u202eip", "5/m"), "printable ASCII"),
        (("ip",), "from 1 to 8 rates"),
        (("ip", "5/m; 6/60s"), "windows of level 'ip' must differ"),
        (("ip", *[(5, n) for n in range(1, 10)]), "from 1 to 8 rates"),
        (("ip", "5"), "not a rate"),
    ],
)
def test_a_level_that_is_none(words: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        Level(*words)


def test_levels_are_looked_at_and_reset_one_by_one(start: Any, limiters: Blocking, multilevel: Any) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url)
    limits = multilevel(limiter, [Level("ip", "5/m"), Level("user", "1/m; 50/h")], scope="login")
    other = multilevel(limiter, [Level("ip", "1/m")], scope="other")
    for _ in range(2):
        limits.check(ANN)
        other.check(ANN)
    assert used(limits, "ip", "192.0.2.1") == [1]
    assert used(limits, "ip", "192.0.2.2") == [0]
    assert [row.key for row in limits.top()] == [b"rl:login:user:ann:1m"]
    assert limits.reset("user", "ann") == 2
    assert used(limits, "user", "ann") == [0, 0]
    assert used(limits, "ip", "192.0.2.1") == [1]
    assert limits.check(ANN).allowed
    with pytest.raises(ArgumentError, match="no level is named 'account'"):
        limits.reset("account", "ann")


def test_a_changed_rate_forgets_nothing(server: Server, limiters: Blocking, multilevel: Any) -> None:
    limiter = limiters.from_url(server.url)
    before = multilevel(limiter, [Level("user", "20/h")])
    for _ in range(5):
        before.check({"user": "ann"})
    assert used(multilevel(limiter, [Level("user", "2/m; 10/h")]), "user", "ann") == [0, 5]
    assert not multilevel(limiter, [Level("user", "5/h")]).check({"user": "ann"}).allowed
    assert not multilevel(limiter, [Level("user", "5/m")]).check({"user": "ann"}).allowed


def test_threads_get_exactly_the_limit_and_denials_charge_nothing(server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        limits = MultiLevelLimiter(limiter, [Level("ip", "100/h"), Level("user", "30/h; 40/d")])
        granted: dict[str, int] = dict.fromkeys("abcde", 0)

        def hammer(user: str) -> None:
            for _ in range(60):
                granted[user] += limits.check({"ip": "192.0.2.1", "user": user}).allowed

        threads = [threading.Thread(target=hammer, args=(user,)) for user in granted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(granted.values()) == 100
        assert used(limits, "ip", "192.0.2.1") == [100]
        for user, number in granted.items():
            assert number <= 30
            assert used(limits, "user", user) == [number, number]


async def test_tasks_get_exactly_the_limit_and_denials_charge_nothing(server: Server) -> None:
    async with AsyncRateLimiter.from_url(server.url, timeout=20) as limiter:
        limits = AsyncMultiLevelLimiter(limiter, [Level("ip", "100/h"), Level("user", "30/h")])
        users = [str(number % 5) for number in range(300)]
        results = await asyncio.gather(*(limits.check({"ip": "192.0.2.1", "user": user}) for user in users))
        assert sum(result.allowed for result in results) == 100
        for user in set(users):
            number = sum(result.allowed for result, whose in zip(results, users, strict=True) if whose == user)
            [window] = (await limits.info("user", user)).values()
            assert window is not None
            assert window.used == number <= 30


def test_a_user_who_may_only_rate_limit(start: Any, limiters: Blocking, multilevel: Any) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    limiter = limiters.from_url(server.user_url)
    for options in ({}, {"shard": "{rl}"}, {"atomic": False, "scope": "one by one"}):
        limits = multilevel(limiter, [Level("ip", "9/m"), Level("user", "1/m")], **options)
        assert [limits.check(ANN).allowed, limits.check(ANN).refused] == [True, ("user",)]
        assert used(limits, "ip", "192.0.2.1") == [1]
        assert limits.reset("user", "ann") == 1
    stranger = multilevel(limiter, [Level("ip", "9/m"), Level("user", "1/m")], prefix="other")
    with pytest.raises(UnavailableError, match="NOPERM"):
        stranger.check(ANN)


@pytest.mark.parametrize("options", [{}, {"atomic": False}], ids=["atomic", "one-by-one"])
def test_policies_apply_while_the_server_is_down_and_decisions_return(
    start: Any, limiters: Blocking, multilevel: Any, options: Any
) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url)
    limits, open_, closed = (
        multilevel(limiter.with_policy(policy), [Level("ip", "9/m"), Level("user", "1/m")], **options)
        for policy in ("raise", "open", "closed")
    )
    assert limits.check(ANN).allowed
    server.kill()
    with pytest.raises(UnavailableError):
        limits.check(ANN)
    passed = open_.check(ANN)
    assert (passed.allowed, passed.degraded) == (True, "CONNECTION")
    assert not any(name.startswith("X-RateLimit") for name in passed.headers())
    refused = closed.check(ANN)
    assert (refused.allowed, refused.degraded, refused.retry_after) == (False, "CONNECTION", 1.0)
    assert refused.headers()["Retry-After"] == "1"
    # No level is to blame.
    assert refused.refused == ()
    server.start()
    assert limits.check(ANN).allowed
    assert closed.check(ANN).refused == ("user",)


# A cluster


def test_in_a_cluster_neither_choice_is_an_error_before_anything_is_charged(
    cluster: Cluster, limiters: Blocking, multilevel: Any
) -> None:
    for policy in ("raise", "open", "closed"):
        limits = multilevel(limiters.from_url(cluster.url(), policy=policy), [Level("ip", "5/m"), Level("user", "5/m")])
        for node in cluster.nodes:
            node.admin.config_resetstat()
        for call in (lambda limits=limits: limits.check(ANN), lambda limits=limits: limits.reset("ip", "192.0.2.1")):
            with pytest.raises(ConfigurationError, match=r"shard='\{rl\}'.* or atomic=False"):
                call()
        assert commands_of(*cluster.nodes) == {}
    # If there is but one key, there is nothing to choose.
    assert multilevel(limiters.from_url(cluster.url()), [Level("ip", "5/m")]).check(ANN).allowed


def test_one_shard_is_one_command_on_one_node(cluster: Cluster, limiters: Blocking, multilevel: Any) -> None:
    limits = multilevel(
        limiters.from_url(cluster.url()), [Level("ip", "5/m"), Level("user", "2/m; 50/h")], scope="login", shard="{a}"
    )
    limits.check(ANN)
    for node in cluster.nodes:
        node.admin.config_resetstat()
    assert limits.check(ANN).allowed
    owner = cluster.owner("rl:{a}:login:ip:192.0.2.1")
    assert commands_of(owner) == commands_of(*cluster.nodes) == {"rl.mcheck": 1}
    assert limits.check(ANN).refused == ("user",)
    assert used(limits, "ip", "192.0.2.1") == [2]
    assert limits.reset("user", "ann") == 2
    assert limits.check(ANN).allowed


def test_level_by_level_a_denial_gives_back_what_was_granted(
    cluster: Cluster, limiters: Blocking, multilevel: Any
) -> None:
    limits = multilevel(
        limiters.from_url(cluster.url()),
        [Level("ip", "50/m"), Level("user", "20/m; 100/h"), Level("mail", "4/m")],
        atomic=False,
    )
    subject = {"ip": "192.0.2.1", "user": "ann", "mail": "ann@example.org"}
    assert [limits.check(subject, cost=2).allowed for _ in range(5)] == [True, True, False, False, False]
    for node in cluster.nodes:
        node.admin.config_resetstat()
    denied = limits.check(subject, cost=2)
    assert commands_of(*cluster.nodes) == {"rl.check": 3, "rl.refund": 2}
    assert (denied.allowed, denied.refused) == (False, ("mail",))
    assert 50 < denied.retry_after <= 60
    assert denied["user"].granted == 0
    assert [used(limits, level, subject[level]) for level in subject] == [[4], [4, 4], [4]]
    # The first level ends it: nothing else is asked.
    for node in cluster.nodes:
        node.admin.config_resetstat()
    assert limits.check(subject, cost=50).refused == ("ip",)
    assert commands_of(*cluster.nodes) == {"rl.check": 1}


def test_level_by_level_nobody_is_admitted_above_a_limit(cluster: Cluster) -> None:
    """Refunds of eight threads at a time, who deny each other at both levels."""
    with RateLimiter.from_url(cluster.url(), timeout=20) as limiter:
        limits = MultiLevelLimiter(limiter, [Level("ip", "60/h"), Level("user", "10/h")], atomic=False)
        granted: list[tuple[str, str]] = []

        def hammer(ip: str) -> None:
            for number in range(80):
                user = str(number % 8)
                if limits.check({"ip": ip, "user": user}):
                    granted.append((ip, user))

        threads = [threading.Thread(target=hammer, args=(ip,)) for ip in "xxxxyyyy"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # What is counted is what was admitted, to the unit.
        for ip in "xy":
            number = sum(whose == ip for whose, _ in granted)
            assert used(limits, "ip", ip) == [number]
            assert number <= 60
        for user in map(str, range(8)):
            number = sum(whose == user for _, whose in granted)
            assert used(limits, "user", user) == [number]
            assert number <= 10
        # Too much may have been denied meanwhile, but not for longer.
        for user in map(str, range(8)):
            while any(limits.check({"ip": ip, "user": user}) for ip in "xyz"):
                pass
            assert used(limits, "user", user) == [10]


def on_two_nodes(cluster: Cluster) -> tuple[dict[str, str], Server, Server]:
    """An address and a user whose keys lie on two nodes."""
    ip = "192.0.2.1"
    first = cluster.owner(key("ip", ip))
    user = next(name for name in map(str, range(1000)) if cluster.owner(key("user", name)) is not first)
    return {"ip": ip, "user": user}, first, cluster.owner(key("user", user))


def test_a_node_that_fails_in_the_middle_gives_back_what_was_granted(
    start: Any, limiters: Blocking, multilevel: Any
) -> None:
    cluster = start(Cluster, "cluster-require-full-coverage no", nodes=3)
    subject, first, second = on_two_nodes(cluster)
    limiter = limiters.from_url(cluster.url())
    levels = [Level("ip", "9/h"), Level("user", "5/h")]
    limits, open_, closed = (
        multilevel(limiter.with_policy(policy), levels, atomic=False) for policy in ("raise", "open", "closed")
    )
    assert limits.check(subject).allowed
    second.kill()
    first.admin.config_resetstat()
    with pytest.raises(UnavailableError):
        limits.check(subject)
    assert commands_of(first) == {"rl.check": 1, "rl.refund": 1}
    assert used(limits, "ip", subject["ip"]) == [1]
    denied = closed.check(subject)
    assert (denied.allowed, denied.refused, bool(denied.degraded)) == (False, (), True)
    assert used(limits, "ip", subject["ip"]) == [1]
    # Open means that the others still decide, and count what was let through.
    assert [open_.check(subject).allowed for _ in range(10)] == [True] * 8 + [False] * 2
    assert open_.check(subject).refused == ("ip",)
    assert used(limits, "ip", subject["ip"]) == [9]


def test_an_answer_that_was_lost_is_not_given_back(start: Any, limiters: Blocking, multilevel: Any) -> None:
    """It may have been charged, or not: giving it back could take another caller's unit."""
    cluster = start(Cluster, "cluster-require-full-coverage no", "cluster-node-timeout 60000", nodes=3)
    subject, _, second = on_two_nodes(cluster)
    levels = [Level("ip", "9/h"), Level("user", "5/h")]
    patient = multilevel(limiters.from_url(cluster.url()), levels, atomic=False)
    hasty = multilevel(limiters.from_url(cluster.url(), timeout=3), levels, atomic=False)
    assert hasty.check(subject).allowed
    second.admin.config_resetstat()
    with second.paused(), pytest.raises(UnavailableError, match="TIMEOUT"):
        hasty.check(subject)
    assert used(patient, "ip", subject["ip"]) == [1]
    # The node reads what was sent meanwhile when it goes on.
    eventually(lambda: commands_of(second).get("rl.check") == 1)
    assert used(patient, "user", subject["user"]) == [2]
    assert "rl.refund" not in commands_of(second)


def test_a_level_that_was_let_pass_is_not_given_back(start: Any, limiters: Blocking, multilevel: Any) -> None:
    """It was not charged: giving it back would take another caller's unit."""
    cluster = start(Cluster, nodes=3)
    subject, _, second = on_two_nodes(cluster)
    levels = [Level("user", "9/h"), Level("ip", "2/h")]
    limits = multilevel(limiters.from_url(cluster.url(), policy="open"), levels, atomic=False)
    assert limits.check(subject).allowed
    second.admin.config_set("maxmemory", 1)
    passed = limits.check(subject)
    assert (passed.allowed, passed.degraded) == (True, "OOM")
    second.admin.config_resetstat()
    assert limits.check(subject).refused == ("ip",)
    assert "rl.refund" not in commands_of(second)
    assert used(limits, "user", subject["user"]) == [1]


def test_what_cannot_be_given_back_stays_charged(start: Any, limiters: Blocking, multilevel: Any) -> None:
    server = start(Server, user="~rl:* -@all +rl.check +rl.info")
    limits = multilevel(limiters.from_url(server.user_url), [Level("ip", "9/h"), Level("user", "1/h")], atomic=False)
    assert limits.check(ANN).allowed
    assert limits.check(ANN).refused == ("user",)
    assert used(limits, "ip", "192.0.2.1") == [2]


async def test_a_cancelled_call_gives_back_what_was_granted(start: Any) -> None:
    cluster = start(Cluster, "cluster-require-full-coverage no", "cluster-node-timeout 60000", nodes=3)
    subject, first, second = on_two_nodes(cluster)
    asked = asyncio.Event()

    class Noticing(AsyncRateLimiter):
        async def check(self, key: str | bytes, *rates: Any, **options: Any) -> Any:
            if key == f"rl:user:{subject['user']}":
                asked.set()
            return await super().check(key, *rates, **options)

    async with Noticing.from_url(cluster.url(), timeout=20) as limiter:
        limits = AsyncMultiLevelLimiter(limiter, [Level("ip", "9/h"), Level("user", "5/h")], atomic=False)
        assert (await limits.check(subject)).allowed
        asked.clear()
        first.admin.config_resetstat()
        with second.paused():
            task = asyncio.create_task(limits.check(subject))
            await asked.wait()
            while not task.done():
                # Once is not always enough: before Python 3.12, wait_for() may swallow it.
                task.cancel()
                await asyncio.wait({task}, timeout=0.05)
            assert task.cancelled()
            await asyncio.to_thread(eventually, lambda: commands_of(first) == {"rl.check": 1, "rl.refund": 1})
        [window] = (await limits.info("ip", subject["ip"])).values()
        assert window is not None
        assert window.used == 1


def test_a_user_who_may_only_rate_limit_in_a_cluster(start: Any, limiters: Blocking, multilevel: Any) -> None:
    cluster = start(Cluster, nodes=1, user=f"{RATE_LIMIT_ONLY} {CLUSTER_DISCOVERY}")
    limiter = limiters.from_url(cluster.url(user="app:secret"))
    for options in ({"shard": "{rl}"}, {"atomic": False}):
        limits = multilevel(limiter, [Level("ip", "9/m"), Level("user", "1/m")], **options)
        assert [limits.check(ANN).allowed, limits.check(ANN).refused] == [True, ("user",)]
        assert used(limits, "ip", "192.0.2.1") == [1]


# Observe mode


@pytest.mark.parametrize("by", ["keyword", "limiter"])
def test_in_observe_mode_nothing_is_refused(by: str, server: Server, limiters: Blocking, multilevel: Any) -> None:
    found = limiters.from_url(server.url, observe=by == "limiter")
    options = {"observe": True} if by == "keyword" else {}
    limits = multilevel(found, [Level("ip", "5/m"), Level("user", "2/m; 50/h")], **options)
    assert [limits.check(ANN).would_deny for _ in range(4)] == [False, False, True, True]
    result = limits.check(ANN)
    assert (result.allowed, result.refused, result.retry_after) == (True, (), 0.0)
    assert (result["user"].would_deny, result["ip"].would_deny) == (True, False)
    headers = result.headers()
    assert headers["X-RateLimit-Remaining"] == "0"
    assert "Retry-After" not in headers
    # What was denied has charged nothing.
    assert used(limits, "ip", "192.0.2.1") == [2]


def test_in_observe_mode_levels_one_by_one_charge_what_they_would_charge(
    cluster: Cluster, limiters: Blocking, multilevel: Any
) -> None:
    levels = [Level("ip", "5/m"), Level("user", "2/m"), Level("all", "9/m", key="all")]
    limits = multilevel(limiters.from_url(cluster.url(), observe=True), levels, atomic=False)
    assert [limits.check(ANN).would_deny for _ in range(4)] == [False, False, True, True]
    result = limits.check(ANN)
    assert result.allowed
    assert [row.level for row in result] == ["ip", "user"]
    assert [row.decision.receipt for row in result] == [0, 0]
    assert [used(limits, name, value) for name, value in (*ANN.items(), ("all", "all"))] == [[2], [2], [2]]


def test_in_observe_mode_a_cluster_needs_no_choice(cluster: Cluster, limiters: Blocking, multilevel: Any) -> None:
    limits = multilevel(limiters.from_url(cluster.url()), [Level("ip", "5/m"), Level("user", "2/m")], observe=True)
    result = limits.check({"ip": "192.0.2.7", "user": "eve"})
    assert (result.allowed, result.degraded, result.would_deny) == (True, "CrossSlotError", True)


@pytest.mark.parametrize("atomic", [None, False])
def test_a_reservation_that_passes_in_observe_mode_only_charges_nothing(
    atomic: bool | None, server: Server, limiters: Blocking, multilevel: Any
) -> None:
    levels = [
        Level("later", "100/m"),
        Level("tokens", "100/m"),
        Level("requests", "1/m"),
        Level("flying", "5/30s", lease=True),
    ]
    limits = multilevel(limiters.from_url(server.url, observe=True), levels, atomic=atomic)
    subject = {level.name: "ann" for level in levels}
    costs = {"tokens": 30, "later": 0}
    for expected in (False, True, True):
        reservation = limits.reserve(subject, costs=costs)
        assert reservation.acquire().allowed
        assert reservation.decisions.would_deny is expected
        reservation.settle({"tokens": 50, "later": 7})
    assert used(limits, "requests", "ann") == [1]
    assert used(limits, "tokens", "ann") == [50]
    assert used(limits, "later", "ann") == [7]
    assert used(limits, "flying", "ann") == [0]


@pytest.mark.parametrize("atomic", [None, False])
def test_a_level_that_is_charged_nothing_refuses_nothing_in_observe_mode_either(
    atomic: bool | None, server: Server, limiters: Blocking, multilevel: Any
) -> None:
    limiter = limiters.from_url(server.url, observe=True)
    limits = multilevel(limiter, [Level("later", "1/m"), Level("ip", "5/m")], atomic=atomic)
    limiter.check(*limits.keys("later", "ann"), "1/m")
    with limits.reserve({"later": "ann", "ip": "192.0.2.1"}, costs={"later": 0}) as reservation:
        assert reservation.decisions.would_deny
        reservation.settle({"later": 7})
    assert used(limits, "later", "ann") == [1]
    assert used(limits, "ip", "192.0.2.1") == [0]
