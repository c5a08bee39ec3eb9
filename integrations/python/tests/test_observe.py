"""Observe mode: everything is decided and charged, what would be refused is marked, counted and logged, and passes."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kinds import PATIENT, Blocking
from servers import Server
from test_max_connections import busy

from redis_ratelimit import ArgumentError, ConfigurationError, RateLimiter, UnavailableError, observe

KEY = "rl:a"
LOG = "redis_ratelimit.observe"


@pytest.fixture(autouse=True)
def said_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "SAY_AGAIN_AFTER", 0.0)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOG]


CALLS: dict[str, Callable[[Any], Any]] = {
    "check": lambda limiter: limiter.check(KEY, "3/h", cost=2),
    "gcra": lambda limiter: limiter.gcra(KEY, "3/h", cost=2),
    "at_most, in part": lambda limiter: limiter.check(KEY, "3/h", cost=2, at_most=True),
    "block": lambda limiter: limiter.check(KEY, "3/h", cost=2, block="1h"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("cache_denials", [0, 10])
def test_what_would_be_denied_passes_and_is_told(
    call: Callable[[Any], Any],
    cache_denials: int,
    server: Server,
    limiters: Blocking,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter = limiters.from_url(server.url, observe=True, cache_denials=cache_denials)
    assert limiter.observe
    first = call(limiter)
    assert (first.granted, first.remaining, first.would_deny) == (2, 1, False)
    assert limiter.would_deny_total == 0
    assert caplog.records == []
    for number in (1, 2, 3):
        again = call(limiter)
        assert (again.granted, again.allowed, again.would_deny) == (2, True, True)
        assert (again.retry_after, again.degraded) == (0, None)
        assert limiter.would_deny_total == number
        assert len(said(caplog)) == number
    assert f"'{KEY}'" in said(caplog)[0]
    assert said(caplog)[0].endswith("1 so far")
    # Without observe mode, the same is refused as ever, and nothing is counted here.
    assert call(limiter.with_observe(False)).granted < 2
    assert limiter.would_deny_total == 3


def test_what_is_charged_is_the_same(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url, observe=True)
    for cost in (2, 3, 1, 1):
        limiter.check(KEY, "3/h", cost=cost)
    assert server.admin.execute_command("RL.INFO", KEY)[5][0][5] == 3


def test_what_can_never_be_granted_passes(server: Server, limiters: Blocking, caplog: Any) -> None:
    limiter = limiters.from_url(server.url, observe=True)
    answer = limiter.check(KEY, "3/h", cost=4)
    assert (answer.granted, answer.never, answer.retry_after, answer.would_deny) == (4, False, 0, True)
    assert "for ever" in said(caplog)[0]


def test_several_keys(server: Server, limiters: Blocking, caplog: Any) -> None:
    limiter = limiters.from_url(server.url, observe=True)
    rates = {KEY: "1/h", "rl:b": "9/h"}
    first, again = limiter.mcheck(rates), limiter.mcheck(rates)
    assert (first.allowed, first.would_deny) == (True, False)
    assert (again.allowed, again.would_deny, again.refused) == (True, True, ())
    assert {key: row.would_deny for key, row in again.items()} == {KEY: True, "rl:b": False}
    assert {key: row.granted for key, row in again.items()} == {KEY: 1, "rl:b": 1}
    # Nothing was charged for it.
    assert again["rl:b"].remaining == 8
    assert limiter.would_deny_total == len(said(caplog)) == 1
    assert "'rl:a', limit 1, it would have to wait for" in said(caplog)[0]


def test_a_look_passes_too(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url, observe=True)
    assert limiter.peek(KEY) is None
    limiter.check(KEY, "1/h")
    look = limiter.peek(KEY)
    assert (look.allowed, look.would_deny, look.remaining) == (True, True, 0)
    assert limiter.would_deny_total == 1


def test_what_waits_for_its_turn_goes_on_at_once(server: Server, limiters: Blocking, caplog: Any) -> None:
    limiter = limiters.from_url(server.url, observe=True)
    turns = [limiter.wait_turn(KEY, "1/h", max_wait="90m") for _ in range(3)]
    # Nobody has waited for an hour.
    assert [(turn.granted, turn.retry_after, turn.would_deny) for turn in turns] == [
        (1, 0, False),
        (1, 0, True),
        (1, 0, True),
    ]
    assert limiter.would_deny_total == len(said(caplog)) == 2


@pytest.mark.parametrize("policy", ["raise", "open", "closed"])
def test_it_wins_over_every_policy(policy: Any, start: Any, limiters: Blocking, caplog: Any) -> None:
    server = start(Server)
    limiter = limiters.from_url(server.url, policy=policy, observe=True, cache_denials=10)
    server.kill()
    answers = [limiter.check(KEY, "5/h", cost=2), limiter.gcra(KEY, "5/h", cost=2), limiter.peek(KEY, cost=2)]
    for answer in answers:
        assert (answer.granted, answer.degraded) == (2, "CONNECTION")
        # The policy "open" refuses nothing by itself.
        assert answer.would_deny == (policy != "open")
    several = limiter.mcheck({KEY: "5/h", "rl:b": "5/h"}, cost=2)
    assert (several.allowed, several.degraded, several.would_deny) == (True, "CONNECTION", policy != "open")
    assert limiter.would_deny_total == (0 if policy == "open" else 4)
    assert len(said(caplog)) == limiter.would_deny_total
    applies = [record.getMessage() for record in caplog.records if record.name == "redis_ratelimit"]
    assert len(applies) == 1
    assert "policy 'observe' applies: CONNECTION" in applies[0]
    # What is no decision has no other answer.
    for call in (lambda: limiter.info(KEY), lambda: limiter.reset(KEY), lambda: limiter.refund(KEY), limiter.top):
        with pytest.raises(UnavailableError):
            call()
    server.start()
    assert limiter.check(KEY, "5/h").degraded is None


@pytest.mark.parametrize("policy", ["raise", "open", "closed"])
def test_nothing_is_refused_if_no_connection_is_free(policy: Any, start: Any, limiters: Blocking, caplog: Any) -> None:
    server = start(Server)
    # Short is only the wait for a turn.
    patient = {"socket_timeout": PATIENT, "socket_connect_timeout": PATIENT}
    limiter = limiters.from_url(server.url, timeout=0.2, max_connections=1, policy=policy, observe=True, **patient)
    limiter.check(KEY, "100/h")
    with busy(server, limiter):
        answer = limiter.check("rl:b", "100/h")
        assert (answer.granted, answer.degraded, answer.would_deny) == (1, "POOL", True)
    assert limiter.would_deny_total == 1
    pool = [record.getMessage() for record in caplog.records if record.name == "redis_ratelimit"]
    assert len(pool) == 1
    assert "requests pass undecided" in pool[0]


def test_what_the_server_calls_a_mistake_passes_and_is_told(start: Any, limiters: Blocking, caplog: Any) -> None:
    """To be switched on where nobody knows yet whether all is well."""
    server = start(Server)
    limiter = limiters.from_url(server.url, observe=True)
    server.admin.set(KEY, "hello")
    answer = limiter.check(KEY, "5/h")
    assert (answer.granted, answer.degraded, answer.would_deny) == (1, "WrongTypeError", True)
    assert "it would raise WrongTypeError: " in said(caplog)[-1]
    without = start(Server, load_module=False)
    answer = limiters.from_url(without.url, observe=True).mcheck({KEY: "5/h", "rl:b": "5/h"})
    assert (answer.allowed, answer.degraded, answer.would_deny) == (True, "ModuleMissingError", True)
    assert "loadmodule" in said(caplog)[-1]


def test_keys_in_different_slots_pass(cluster: Any, limiters: Blocking) -> None:
    limiter = limiters.from_url(cluster.url(), observe=True)
    answer = limiter.mcheck({"rl:a": "5/h", "rl:b": "5/h"})
    assert (answer.allowed, answer.degraded) == (True, "CrossSlotError")


def test_what_cannot_be_sent_is_raised(limiters: Blocking) -> None:
    limiter = limiters.from_url("redis://localhost", observe=True)
    for call in (lambda: limiter.check(KEY, "often"), lambda: limiter.check(KEY, "5/h", cost=0)):
        with pytest.raises(ArgumentError):
            call()
    assert limiter.would_deny_total == 0


def test_the_log_is_told_now_and_then(
    server: Server, limiters: Blocking, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(observe, "SAY_AGAIN_AFTER", 10.0)
    monkeypatch.setattr(observe, "monotonic", lambda: now)
    limiter = limiters.from_url(server.url, observe=True)
    for _ in range(5):
        limiter.check(KEY, "1/h")
    assert len(said(caplog)) == 1
    now += 9.9
    limiter.check(KEY, "1/h")
    assert len(said(caplog)) == 1
    now += 0.1
    limiter.check(KEY, "1/h")
    assert len(said(caplog)) == 2
    assert said(caplog)[1].endswith("; 6 so far")
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_the_log_shows_keys_as_text_of_one_line(server: Server, limiters: Blocking, caplog: Any) -> None:
    limiter = limiters.from_url(server.url, observe=True)
    for _ in range(2):
        limiter.check(b"rl:\r\n\xff\x1b[31m" + b"x" * 500, "1/h")
    [line] = said(caplog)
    assert line.isprintable()
    assert len(line) < 300


def test_limiters_on_the_same_connections_count_together(server: Server, limiters: Blocking) -> None:
    enforcing = limiters.from_url(server.url)
    observing = enforcing.with_observe()
    assert (enforcing.observe, observing.observe) == (False, True)
    for limiter in (observing, observing.with_policy("closed"), enforcing.with_observe()):
        limiter.check(KEY, "1/h")
    assert enforcing.would_deny_total == observing.would_deny_total == 2
    assert not enforcing.check(KEY, "1/h").allowed
    assert enforcing.would_deny_total == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_threads_and_forked_processes_count_right(server: Server) -> None:
    limiter = RateLimiter.from_url(server.url, timeout=20, observe=True)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: limiter.check(KEY, "1/h"), range(201)))
    assert limiter.would_deny_total == 200
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with limiter._observer._lock:
            holding.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(60)
    child = multiprocessing.get_context("fork").Process(target=_counts_for_itself, args=(limiter,))
    child.start()
    child.join(60)
    done.set()
    holder.join()
    assert child.exitcode == 0
    assert limiter.would_deny_total == 200
    limiter.close()


def _counts_for_itself(limiter: RateLimiter) -> None:
    assert limiter.would_deny_total == 0
    assert limiter.check(KEY, "1/h").would_deny
    assert limiter.would_deny_total == 1


@pytest.mark.parametrize(("text", "expected"), [("yes", True), ("1", True), ("True", True), ("off", False)])
def test_it_may_stand_in_the_url(text: str, expected: bool, limiters: Blocking) -> None:
    for url in ("redis://h", "unix:///s", "redis+sentinel://h/m", "redis+cluster://h", "rls://h"):
        limiter = limiters.from_url(f"{url}?observe={text}&client_name=web", observe=not expected)
        assert limiter.observe is expected
    assert limiters.from_url("redis://h").observe is False


@pytest.mark.parametrize("wrong", ["yes", "no", 1, 0, None])
def test_what_is_neither_yes_nor_no_is_refused(limiters: Blocking, wrong: Any) -> None:
    """A text that a setting was read from would else be yes."""
    with pytest.raises(ConfigurationError, match="observe must be True or False"):
        limiters.from_url("redis://localhost", observe=wrong)
    with pytest.raises(ConfigurationError, match="observe must be True or False"):
        limiters.of_client(limiters.redis.Redis(), observe=wrong)
    with pytest.raises(ConfigurationError, match="observe must be True or False"):
        limiters.from_url("redis://localhost").with_observe(wrong)


@pytest.mark.parametrize("query", ["observe=", "observe=perhaps"])
def test_a_url_that_says_neither_is_refused(limiters: Blocking, query: str) -> None:
    with pytest.raises(ConfigurationError, match="the option observe of the URL must be yes or no"):
        limiters.from_url(f"redis://:secret@localhost?{query}")
    with pytest.raises(ConfigurationError, match="stands twice"):
        limiters.from_url("redis://localhost?observe=1&observe=1")
