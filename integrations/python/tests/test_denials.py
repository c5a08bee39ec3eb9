"""Denials that are remembered: until the time that the caller was told, and no longer."""

from __future__ import annotations

import math
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from kinds import PATIENCE, Blocking
from servers import Server, eventually

from redis_ratelimit import ConfigurationError, RateLimiter, commands, denials
from redis_ratelimit.denials import Denials

KEY = "rl:a"
OTHER = "rl:b"


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now

    def advance(self, milliseconds: float) -> None:
        self.now += round(milliseconds * 1_000_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(denials, "monotonic_ns", found)
    return found


def asked(server: Server) -> int:
    """How many decisions the server was asked for."""
    stats = server.admin.info("commandstats")
    names = ("cmdstat_rl.check", "cmdstat_rl.gcra", "cmdstat_rl.mcheck")
    return sum(stats[name]["calls"] for name in names if name in stats)


@pytest.fixture
def caching(server: Server, limiters: Blocking) -> Any:
    server.run("CONFIG RESETSTAT")
    return limiters.from_url(server.url, cache_denials=100)


CALLS: dict[str, Callable[[Any], Any]] = {
    "check": lambda limiter: limiter.check(KEY, "2/h", cost=2, block="2h"),
    "several windows": lambda limiter: limiter.check(KEY, "2/h", (5, "1d"), cost=2),
    "gcra": lambda limiter: limiter.gcra(KEY, (2, "1h"), burst=2, cost=2),
    "at_most": lambda limiter: limiter.check(KEY, "2/h", cost=2, at_most=True),
    "mcheck": lambda limiter: limiter.mcheck({KEY: "2/h", OTHER: "9/h"}, cost=2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_who_was_told_to_wait_is_not_asked_about_before_that(
    call: Callable[[Any], Any], caching: Any, server: Server, clock: Clock
) -> None:
    assert call(caching).allowed
    told = call(caching)
    assert not told.allowed
    assert asked(server) == 2
    wait = math.ceil(told.retry_after * 1000)
    assert wait > 1_000_000
    # Exactly: a nanosecond later it is the same millisecond still, a whole one later it is one less.
    assert call(caching) == told
    clock.advance(0.000001)
    assert call(caching).retry_after == told.retry_after
    clock.advance(0.999999)
    assert call(caching).retry_after == (wait - 1) / 1000
    clock.advance(wait - 1.000001)
    last = call(caching)
    assert (last.allowed, last.retry_after) == (False, 0.001)
    assert asked(server) == 2
    clock.advance(0.000001)
    # By the server's clock nothing has passed.
    assert not call(caching).allowed
    assert asked(server) == 3
    # That was told anew.
    assert call(caching).retry_after <= told.retry_after
    assert asked(server) == 3


def test_what_remains_and_the_reset_are_told_as_before(caching: Any, clock: Clock) -> None:
    caching.check(KEY, "5/h", cost=3)
    told = caching.check(KEY, "5/h", cost=3)
    clock.advance(1500)
    again = caching.check(KEY, "5/h", cost=3)
    expected = replace(told, retry_after_ms=told.retry_after_ms - 1500, reset_after_ms=told.reset_after_ms - 1500)
    assert again == expected
    assert (again.remaining, again.limit) == (2, 5)


def test_rows_of_several_keys_are_counted_down_to_nothing(caching: Any, server: Server, clock: Clock) -> None:
    rates = {KEY: "1/m", OTHER: "1/h", "rl:free": "9/h"}
    assert caching.mcheck(rates).allowed
    told = caching.mcheck(rates)
    assert told.refused == (KEY, OTHER)
    clock.advance(120_000)
    again = caching.mcheck(rates)
    # The first has room by now.
    assert again.refused == (OTHER,)
    assert again[KEY].retry_after_ms == again["rl:free"].retry_after_ms == 0
    assert again[OTHER].retry_after_ms == told[OTHER].retry_after_ms - 120_000
    assert asked(server) == 2


def test_what_was_asked_determines(caching: Any, server: Server, clock: Clock) -> None:
    assert caching.check(KEY, "2/h", cost=2).allowed
    others: list[Callable[[], Any]] = [
        lambda: caching.check(KEY, "2/h"),
        lambda: caching.check(KEY, "2/h", cost=2),
        lambda: caching.check(KEY, "2/h", at_most=True),
        lambda: caching.check(KEY, "2/h", block="1h"),
        lambda: caching.check(KEY, "2/h", keep=1),
        lambda: caching.check(KEY, "2/h", block="1h", upto="1d"),
        lambda: caching.check(KEY, "2/d"),
        lambda: caching.check(KEY, "2/h", "9/d"),
        lambda: caching.mcheck({KEY: "2/h"}),
        lambda: caching.mcheck({KEY: "2/h"}, cost=2),
        lambda: caching.mcheck({KEY: "2/h", OTHER: "2/h"}),
        lambda: caching.mcheck({KEY: "2/h", OTHER: "2/h"}, costs=[1, 0]),
        lambda: caching.mcheck({KEY: "2/h", OTHER: "2/h"}, costs=(1, 2)),
    ]
    for number, other in enumerate(others, start=2):
        assert not other().allowed
        assert asked(server) == number
    # Each is remembered for itself.
    for other in others:
        assert not other().allowed
    assert asked(server) == len(others) + 1
    assert caching.check(OTHER, "2/h", cost=2).allowed


def test_words_are_not_even_built(caching: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    check = commands.check
    monkeypatch.setattr(commands, "check", lambda *words, **options: built.append(words) or check(*words, **options))
    for _ in range(5):
        caching.check(KEY, "1/h")
    assert len(built) == 2


def test_it_is_off_by_default(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url)
    server.run("CONFIG RESETSTAT")
    for _ in range(5):
        limiter.check(KEY, "1/h")
    assert asked(server) == 5


def test_never_is_not_remembered(caching: Any, server: Server) -> None:
    """Whoever raises the limit has no time to wait for."""
    for _ in range(3):
        assert caching.check(KEY, "5/h", cost=6).never
        assert caching.mcheck({KEY: "5/h", OTHER: "9/h"}, cost=6).never
    assert asked(server) == 6
    assert len(caching._denials) == 0


def test_what_the_policy_says_is_not_remembered(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, cache_denials=100, policy="closed")
    server.kill()
    assert limiter.check(KEY, "1/h").degraded == "CONNECTION"
    assert limiter.mcheck({KEY: "1/h"}).degraded == "CONNECTION"
    server.start()
    assert limiter.check(KEY, "1/h").allowed
    assert limiter.mcheck({OTHER: "1/h"}).allowed


@pytest.mark.parametrize("word", ["RECEIPT", "RENEW", "MAXWAIT"])
def test_what_may_end_early_is_not_remembered(word: str) -> None:
    request = commands.check(KEY, ["5/h"])
    denied = request.read([[0, 5, 0, 1000, 1000]])
    found = Denials(10)
    early = replace(request, words=(*request.words, word, 7))
    found.keep("early", early, found.mark(early), denied)
    assert found.find("early") is None
    # A key of that name is none of the options.
    key = commands.check(word, ["5/h"])
    for name, asked in (("plain", request), ("key", key)):
        found.keep(name, asked, found.mark(asked), denied)
        assert found.find(name) is not None


@pytest.mark.parametrize("call", ["reset", "refund"])
def test_what_is_given_back_is_asked_about_again(call: str, caching: Any, server: Server, clock: Clock) -> None:
    def give_back(key: Any) -> None:
        assert caching.reset(key) == 1 if call == "reset" else caching.refund(key).granted == 1

    requests = [
        lambda: caching.check(KEY, "1/h"),
        lambda: caching.check(KEY.encode(), "1/h"),
        lambda: caching.mcheck({KEY: "1/h", OTHER: "9/h"}),
        lambda: caching.mcheck({OTHER: "9/h", KEY: "1/h"}),
    ]
    for request in requests:
        caching.reset(KEY, OTHER)
        assert request().allowed
        assert not request().allowed
        give_back(KEY)
        assert request().allowed
    # Other keys stay as they are.
    for _ in range(2):
        caching.check("rl:c", "1/h")
    before = asked(server)
    give_back(KEY)
    assert not caching.check("rl:c", "1/h").allowed
    assert asked(server) == before


def test_what_a_lease_gives_back_is_asked_about_again(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url, cache_denials=100)
    lease = limiter.lease(KEY, 1, "1h")
    assert lease.acquire()
    for _ in range(2):
        assert not limiter.check(KEY, "1/h").allowed
    assert len(limiter._denials) == 1
    lease.release()
    assert limiter.check(KEY, "1/h").allowed


@pytest.mark.parametrize("ends_early", [{"receipt": True}, {"renew": 1}])
def test_requests_with_a_receipt_are_always_asked(caching: Any, server: Server, ends_early: dict[str, Any]) -> None:
    caching.check(KEY, "1/h")
    for _ in range(2):
        assert not caching.check(KEY, "1/h", **ends_early).allowed
        assert not caching.gcra(OTHER, "1/h", cost=2, max_wait="1s").allowed
    assert asked(server) == 5


def test_a_key_is_forgotten_though_the_answer_to_the_reset_was_lost(start: Any, limiters: Blocking) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, cache_denials=100)
    for _ in range(2):
        limiter.check(KEY, "1/h")
    assert len(limiter._denials) == 1
    server.kill()
    with pytest.raises(Exception, match="CONNECTION"):
        limiter.reset(KEY)
    assert len(limiter._denials) == 0


def test_a_denial_from_before_a_reset_is_not_remembered_after_it(caching: Any, server: Server) -> None:
    """The reset overtakes the answer to a request that the server has denied before."""
    caching.check(KEY, "1/h")
    limiter = getattr(caching, "_limiter", caching)
    handle = limiter._handle
    send = handle.send

    async def overtaken(request: Any) -> Any:
        replies = await send(request)
        if request.words[0] == "RL.CHECK":
            handle.send = send
            assert await limiter._answer(commands.reset([KEY])) == 1
        return replies

    handle.send = overtaken
    assert not caching.check(KEY, "1/h").allowed
    assert caching.check(KEY, "1/h").allowed


def test_no_more_is_remembered_than_was_said(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url, cache_denials=3)
    for number in range(10):
        for _ in range(2):
            limiter.check(f"rl:{number}", "1/h")
        assert len(limiter._denials) == min(number + 1, 3)
    assert len(limiter._denials._of_key) == 3
    server.run("CONFIG RESETSTAT")
    for number in (7, 8, 9):
        assert not limiter.check(f"rl:{number}", "1/h").allowed
    assert "cmdstat_rl.check" not in server.admin.info("commandstats")
    # The oldest ones have made room.
    limiter.check("rl:0", "1/h")
    assert asked(server) == 1


def test_nothing_is_left_of_what_was_forgotten(caching: Any) -> None:
    for number in range(10):
        for _ in range(2):
            caching.mcheck({f"rl:{number}": "1/h", "rl:all": "50/h"})
    caching.reset("rl:all", *(f"rl:{number}" for number in range(5)))
    assert len(caching._denials) == len(caching._denials._of_key) == 0


def test_other_policies_of_the_same_limiter_remember_together(caching: Any, server: Server) -> None:
    closed = caching.with_policy("closed")
    for _ in range(2):
        caching.check(KEY, "1/h")
    assert not closed.check(KEY, "1/h").allowed
    assert asked(server) == 2
    closed.reset(KEY)
    assert caching.check(KEY, "1/h").allowed


def test_threads_remember_no_more_than_was_said_and_nothing_wrong(server: Server) -> None:
    limiter = RateLimiter.from_url(server.url, timeout=20, cache_denials=5)
    found = limiter._denials
    assert found is not None
    most = 0

    def ask(thread: int) -> int:
        nonlocal most
        granted = 0
        for number in range(60):
            key = f"rl:{(number + thread) % 20}"
            granted += limiter.check(key, "1/h").allowed
            most = max(most, len(found))
            if number % 7 == 0:
                # It is not there: nothing is granted once more for it.
                limiter.reset(f"rl:other:{thread}")
        return granted

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 20
    assert most <= 5
    limiter.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_does_not_have(server: Server) -> None:
    limiter = RateLimiter.from_url(server.url, timeout=20, cache_denials=5)
    for _ in range(2):
        limiter.check(KEY, "1/h")
    found = limiter._denials
    assert found is not None
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with found._lock:
            holding.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(60)
    child = multiprocessing.get_context("fork").Process(target=_is_denied, args=(limiter,))
    child.start()
    child.join(60)
    done.set()
    holder.join()
    assert child.exitcode == 0
    assert len(found) == 1
    limiter.close()


def _is_denied(limiter: RateLimiter) -> None:
    assert limiter._denials is not None
    assert len(limiter._denials) == 0
    assert not limiter.check(KEY, "1/h").allowed
    assert len(limiter._denials) == 1
    assert limiter.reset(KEY) == 1
    assert limiter.check(KEY, "1/h").allowed


def test_the_number_may_stand_in_the_url(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(f"{server.url}?cache_denials=2&{PATIENCE}", cache_denials=0)
    assert limiter._denials._most == 2
    assert limiters.from_url(f"{server.url}?cache_denials=0", cache_denials=5)._denials is None


@pytest.mark.parametrize("wrong", [-1, 10_000_001, True, "5", 1.5, None])
def test_a_number_that_is_none_is_refused(limiters: Blocking, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="cache_denials must be an integer from 0 to 10000000"):
        limiters.from_url("redis://localhost", cache_denials=wrong)
    with pytest.raises(ConfigurationError, match="cache_denials"):
        limiters.of_client(limiters.redis.Redis(), cache_denials=wrong)


@pytest.mark.parametrize(
    "query", ["cache_denials=", "cache_denials=many", "cache_denials=-1", "cache_denials=99999999"]
)
def test_a_number_in_the_url_that_is_none_is_refused(limiters: Blocking, query: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cache_denials .*must be"):
        limiters.from_url(f"redis://:secret@localhost?{query}")
    with pytest.raises(ConfigurationError, match="stands twice"):
        limiters.from_url("redis://localhost?cache_denials=1&cache_denials=1")


def test_what_has_no_hash_is_asked_about_each_time(caching: Any, server: Server) -> None:
    class Text(str):
        __hash__ = None  # type: ignore[assignment]

    for _ in range(3):
        caching.check(Text(KEY), "1/h")
    assert asked(server) == 3


def test_who_waits_as_told_by_the_memory_passes(server: Server, limiters: Blocking) -> None:
    """On real clocks: the memory never says a shorter time than the server."""
    limiter = limiters.from_url(server.url, cache_denials=10)

    def granted() -> bool:
        return bool(limiter.check(KEY, (1, "400ms")).allowed)

    # However slow the machine is: two within the window.
    eventually(lambda: not granted())
    server.run("CONFIG RESETSTAT")
    # Only from memory, until it asks; the first time that it asks, there has to be room.
    eventually(granted)
    assert asked(server) == 1
