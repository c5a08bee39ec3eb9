"""The Python of docs/migrating.md runs, before and after, on a real server."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from servers import Server, eventually

DOCUMENT = Path(__file__).parents[3] / "docs" / "migrating.md"
MARK = re.compile(r"^<!-- run by (\S+): ([^\n]+?) -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# By the names in the document. What is before, and what is after.
SWITCHES = {
    "before INCR": "after INCR",
    "before ZADD": "after INCR",
    "before Lua": "after Lua",
    "before limits": "after limits",
}
OTHERS = {"side by side", "taken over", "before script", "after script"}
LIMIT = 5


def blocks() -> dict[str, str]:
    found = MARK.findall(DOCUMENT.read_text())
    assert {file for file, _, _ in found} == {"integrations/python/tests/test_migrating.py"}
    return {name: text for _, name, text in found}


@pytest.fixture(scope="module")
def tcp() -> Any:
    """A server on a port, as the documents have it."""
    with Server(tcp=True) as server:
        yield server


def run(name: str, server: Server, **names: Any) -> dict[str, Any]:
    """Run a block with the addresses of the server in it, and return what it defines."""
    text = blocks()[name].replace("redis.Redis(", f"redis.Redis(port={server.port}, ")
    found = dict(names)
    exec(text.replace("//localhost:6379", f"//localhost:{server.port}"), found)
    return found


def test_every_block_of_python_is_run() -> None:
    assert set(blocks()) == {*SWITCHES, *SWITCHES.values(), *OTHERS}
    assert DOCUMENT.read_text().count("```python") == len(blocks())


@pytest.mark.parametrize("before", SWITCHES)
def test_both_grant_the_limit_and_nothing_of_the_old_one_is_touched(before: str, tcp: Server) -> None:
    tcp.admin.flushall()
    allowed = run(before, tcp)["allowed"]
    assert [allowed("ann") for _ in range(LIMIT + 3)] == [True] * LIMIT + [False] * 3
    old = set(tcp.admin.keys())
    allowed = run(SWITCHES[before], tcp)["allowed"]
    assert [allowed("ann") for _ in range(LIMIT + 3)] == [True] * LIMIT + [False] * 3
    new = set(tcp.admin.keys()) - old
    assert len(new) == 1
    assert new.pop().startswith("rl:")
    assert old <= set(tcp.admin.keys())
    # And back.
    allowed = run(before, tcp)["allowed"]
    assert not allowed("ann")
    assert allowed("bob")


def test_denials_were_counted_and_are_not(tcp: Server) -> None:
    tcp.admin.flushall()
    for name in ("before INCR", "before ZADD", "after INCR"):
        allowed = run(name, tcp)["allowed"]
        for _ in range(LIMIT + 4):
            allowed("ann")
    assert tcp.admin.get("hits:ann") == str(LIMIT + 4)
    assert tcp.admin.zcard("log:ann") == LIMIT + 4
    reply = tcp.run("RL.PEEK rl:hits:ann")
    assert reply[1] - reply[2] == LIMIT


def test_asked_side_by_side_the_new_limiter_knows_what_the_old_one_granted(tcp: Server) -> None:
    tcp.admin.flushall()
    old = run("before INCR", tcp)
    allowed = run("side by side", tcp, allowed_before=old["allowed"], r=old["r"])["allowed"]
    assert [allowed("ann") for _ in range(LIMIT + 2)] == [True] * LIMIT + [False] * 2
    # At a boundary the old one grants more than the new one would, and that is charged, too.
    tcp.admin.delete("hits:ann")
    assert allowed("ann")
    assert not run("after INCR", tcp)["allowed"]("ann")
    assert run("after INCR", tcp)["allowed"]("bob")


def test_counters_taken_over_are_granted_already(tcp: Server) -> None:
    tcp.admin.flushall()
    allowed = run("before INCR", tcp)["allowed"]
    for user, times in (("ann", 3), ("bob", LIMIT + 4)):
        for _ in range(times):
            allowed(user)
    run("taken over", tcp)
    allowed = run("after INCR", tcp)["allowed"]
    assert [allowed("ann") for _ in range(3)] == [True, True, False]
    assert not allowed("bob")
    assert allowed("eve")


def test_a_script_that_reads_counters(tcp: Server) -> None:
    tcp.admin.flushall()
    hits = {"before limits": "before script", "after limits": "after script"}
    for application, script in hits.items():
        allowed = run(application, tcp)["allowed"]
        for user in ("ann", "ann", "bob"):
            assert allowed(user)
        found = run(script, tcp)["used"]
        assert sorted(found.values()) == [1, 2]
        assert all("LIMITER" in name for name in found)
    # What a script that stays as it was would meet.
    [name, *_] = tcp.admin.keys("rl:limits:*ann*")
    with pytest.raises(UnicodeDecodeError):
        tcp.admin.get(name)
    assert tcp.admin.delete(name) == 1
    assert run("after limits", tcp)["allowed"]("ann")


def test_the_names_of_keys_do_not_meet(tcp: Server) -> None:
    """What one has stored is an error for the other, not a wrong decision."""
    tcp.admin.flushall()
    tcp.run("RL.CHECK hits:ann 5 60")
    tcp.run("RL.CHECK log:ann 5 60")
    tcp.run("RL.CHECK gcra:ann 5 60")
    for name in ("before INCR", "before ZADD", "before Lua"):
        with pytest.raises(redis.ResponseError):
            run(name, tcp)["allowed"]("ann")


def test_a_fixed_window_lets_twice_the_limit_pass_around_its_boundary(tcp: Server) -> None:
    tcp.admin.flushall()
    before, after = run("before INCR", tcp)["allowed"], run("after INCR", tcp)["allowed"]
    assert all(allowed("ann") for allowed in (before, after) for _ in range(LIMIT))
    # The window of the counter ends.
    tcp.admin.pexpire("hits:ann", 1)
    eventually(lambda: not tcp.admin.exists("hits:ann"))
    began = time.monotonic()
    assert all(before("ann") for _ in range(LIMIT))
    assert not any(after("ann") for _ in range(LIMIT))
    assert time.monotonic() - began < 60
