"""What raises whatever the policy is, because asking again would not help."""

from typing import Any

import pytest
from kinds import Blocking
from servers import Server, eventually

from redis_ratelimit import (
    ModuleMissingError,
    NewerStateError,
    RateLimitError,
    ReplyError,
    UnavailableError,
    WrongTypeError,
    commands,
)

POLICIES = ["raise", "open", "closed"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_key_that_holds_something_else(policy: Any, server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url, policy=policy)
    server.admin.set("rl:text", "hello")
    server.admin.lpush("rl:list", "hello")
    for name in ("rl:text", "rl:list"):
        for call in (
            lambda name=name: limiter.check(name, "5/m"),
            lambda name=name: limiter.peek(name),
            lambda name=name: limiter.reset(name),
        ):
            with pytest.raises(WrongTypeError, match="not a rate limiter"):
                call()
    assert server.admin.get("rl:text") == "hello"
    limiter.check("rl:a", "5/m")
    with pytest.raises(WrongTypeError, match=r"sliding-window .*RL\.CHECK"):
        limiter.gcra("rl:a", "5/m")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_server_without_the_module_is_told_apart(policy: Any, start: Any, limiters: Blocking) -> None:
    server = start(Server, load_module=False)
    limiter = limiters.from_url(server.url, policy=policy)
    for call in (lambda: limiter.check("rl:a", "5/m"), lambda: limiter.top(), lambda: limiter.mcheck({"rl:a": "5/m"})):
        with pytest.raises(ModuleMissingError, match="loadmodule"):
            call()
    assert limiter.outage is None


def test_a_cluster_without_the_module_is_told_apart(start: Any, limiters: Blocking) -> None:
    server = start(Server, "cluster-enabled yes", tcp=True, load_module=False)
    server.run("CLUSTER ADDSLOTSRANGE 0 16383")
    limiter = limiters.from_url(f"redis+cluster://127.0.0.1:{server.port}", policy="open", require_full_coverage=False)

    def asked() -> bool:
        with pytest.raises((ModuleMissingError, UnavailableError)) as caught:
            limiter.with_policy("raise").check("rl:a", "5/m")
        return isinstance(caught.value, ModuleMissingError)

    assert eventually(asked)


def test_a_state_of_a_newer_release_is_told_apart(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url, policy="open")
    limiter.check("rl:new", "5/m")
    # Magic, version: see src/limiter/encoding/.
    server.admin.setrange("rl:new", 2, b"\xc8")
    with pytest.raises(NewerStateError, match="newer redis-ratelimit"):
        limiter.check("rl:new", "5/m")


def test_every_exception_is_one_of_ours(server: Server, limiters: Blocking) -> None:
    limiter = limiters.from_url(server.url)
    server.admin.set("rl:text", "hello")
    with pytest.raises(RateLimitError):
        limiter.check("rl:text", "5/m")
    with pytest.raises(RateLimitError):
        limiter.check("rl:a", "5")
    # Arguments are ValueErrors, too.
    with pytest.raises(ValueError, match="not a rate"):
        limiter.check("rl:a", "5")


@pytest.mark.parametrize("reply", [None, 1, b"OK", [1, 2, 3, 4], [1, 2, 3, 4, b"5"], [[1, 2, 3, 4, 5]], {}])
def test_a_reply_that_is_none_is_not_taken_for_a_decision(reply: Any) -> None:
    with pytest.raises(ReplyError):
        commands.check("a", ["5/m"], 1, False, False, None).read([reply])
    for request in (commands.info("a"), commands.peek("a", 1)):
        if reply is not None:
            with pytest.raises(ReplyError):
                request.read([reply])
    for request in (commands.top(1), commands.mcheck({"a": "5/m", "b": "5/m"}, 1)):
        with pytest.raises(ReplyError):
            request.read([reply])


def test_a_reply_with_more_fields_than_this_release_knows_is_understood() -> None:
    assert commands.check("a", ["5/m"], 1, False, False, None).read([[1, 5, 4, 0, 60_000, 7]]).remaining == 4
    assert commands.top(1).read([[[b"a", 0, 3, 0, 9]]])[0].denials == 3
    known = {"limit": 5, "window": 60_000, "used": 1, "remaining": 4}
    window = {**known, "retry_after": 0, "next_after": 1, "reset_after": 1, "colour": 7}
    reply = {b"algorithm": b"gcra", b"blocked_for": 0, b"windows": [window], b"more": 1}
    assert commands.info("a").read([reply]).windows[0].used == 1
