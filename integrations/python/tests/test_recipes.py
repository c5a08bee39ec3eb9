"""The Python of docs/recipes.md does what is said there, on a real server."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kinds import PATIENCE
from servers import Server, eventually

ROOT = Path(__file__).parents[3]
BLOCKS = ["limiter", "gateway", "concurrency", "queue", "login", "priorities", "batch", "plan"]
Recipe = Callable[..., dict[str, Any]]


def test_every_block_of_python_is_run() -> None:
    text = (ROOT / "docs/recipes.md").read_text()
    assert re.findall(r"<!-- run by integrations/python/tests/test_recipes.py: (.+) -->\n```python", text) == BLOCKS
    assert text.count("```python") == len(BLOCKS)


@pytest.fixture
def recipe(server: Server) -> Recipe:
    """Run a block after the one that all of them need, with names that it leaves to the reader."""

    def run(name: str, old: str = "", new: str = "", **names: Any) -> dict[str, Any]:
        replacements = {"limiter": ("redis://localhost:6379/0", f"{server.url}?{PATIENCE}"), name: (old, new)}
        for block, (before, after) in replacements.items():
            command = [ROOT / "scripts/block", "docs/recipes.md", block]
            text = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
            if before:
                assert text.count(before) == 1
                text = text.replace(before, after)
            exec(text, names)
        return names

    return run


def used(server: Server, key: str) -> int:
    reply = server.run(f"RL.PEEK {key}")
    return 0 if reply is None else int(reply[1] - reply[2])


def test_a_gateway_charges_what_was_used_and_nothing_for_what_failed(recipe: Recipe, server: Server) -> None:
    keys = ["{acme}:ann:requests", "{acme}:ann:tokens", "{acme}:tokens", "{acme}:inflight"]

    def ask_model(prompt: str, max_tokens: int) -> tuple[str, int]:
        assert [used(server, key) for key in keys[:2]] == [1, 1010]
        assert used(server, keys[3]) == 1
        if prompt.startswith("fail"):
            raise ConnectionError
        return "fine", int(prompt.split()[0])

    complete = recipe("gateway", ask_model=ask_model)["complete"]
    for tokens in (400, 3000):
        assert complete("acme", "ann", f"{tokens}".ljust(40), 1000) == "fine"
        assert [used(server, key) for key in keys] == [1, tokens, tokens, 0]
        server.admin.flushall()
    with pytest.raises(ConnectionError):
        complete("acme", "ann", "fail".ljust(40), 1000)
    assert [used(server, key) for key in keys] == [0, 0, 0, 0]
    # The team has no room for Bob's, and so nothing of his own is charged.
    server.run("RL.CHECK {acme}:tokens 200000 1m COST 199999")
    wait = re.fullmatch(r"denied: try again in (.+) s", complete("acme", "bob", "400".ljust(40), 1000))
    assert wait is not None
    assert 0 < float(wait[1]) <= 60
    assert used(server, "{acme}:bob:requests") == 0


def test_a_holder_gives_its_place_back(recipe: Recipe, server: Server) -> None:
    names = recipe("concurrency", "30s", "1h")
    report = names["report"]
    # The second place is for the one in the first one's work; the third is busy.
    names["work"] = lambda row: report([row - 1]) if row else "done"
    assert report([0, 1]) == ["done", ["done"]]
    assert report([2]) == [["busy"]]
    assert used(server, "reports") == 0


def test_a_holder_whose_place_others_have_stops(recipe: Recipe, server: Server) -> None:
    names = recipe("concurrency", "30s", "1s")
    limiter, made = names["limiter"], []

    def lease(*arguments: Any, **options: Any) -> Any:
        made.append(limiter.lease(*arguments, **options))
        return made[-1]

    def work(row: int) -> None:
        # All renewals are denied from now on.
        server.run("RL.CHECK reports 1 1s BLOCK 1h")
        eventually(lambda: made[0].lost, what="it has noticed")

    names.update(limiter=SimpleNamespace(lease=lease), work=work)
    with pytest.raises(TimeoutError):
        names["report"]([1, 2])


def test_a_queue_is_worked_off_in_turns(recipe: Recipe, server: Server) -> None:
    called: list[tuple[str, float]] = []
    work_off = recipe("queue", call_api=lambda job: called.append((job, time.monotonic())))["work_off"]
    began = time.monotonic()
    assert work_off(["a", "b", "c"]) is None
    assert [job for job, _ in called] == ["a", "b", "c"]
    # Each waits for its turn, however fast the machine is.
    assert all(at - began >= turn / 10 - 0.01 for turn, (_, at) in enumerate(called))
    # A long queue is not waited for.
    server.admin.flushall()
    with server.admin.pipeline(transaction=False) as others:
        for _ in range(2_000):
            others.execute_command("RL.GCRA", "api.example.com", 10, "1s", "BURST", 1, "MAXWAIT", "1h")
        others.execute()
    jobs = ["d"]
    assert work_off(jobs) > 30
    assert jobs == ["d"]


def test_only_logins_that_fail_count(recipe: Recipe, server: Server) -> None:
    # Hours instead of minutes, in which the test is over.
    names = recipe("login", '"3/m", block="1m"', '"3/h", block="1h"')
    names["password_is_right"] = lambda account, password: password == "right"
    login = names["login"]
    assert [login("ann", "192.0.2.1", "right") for _ in range(5)] == ["welcome"] * 5
    assert [login("ann", "192.0.2.1", "?") for _ in range(3)] == ["wrong"] * 3
    for _ in range(2):
        wait = re.fullmatch(r"try again in (.+) s", login("ann", "192.0.2.1", "right"))
        assert wait is not None
        assert 3000 < float(wait[1]) <= 3600
    # From elsewhere nobody is locked out.
    assert login("ann", "192.0.2.2", "right") == "welcome"
    # The block is remembered for a day more.
    [key] = server.admin.keys("*192.0.2.1*")
    assert 24 * 3600 < server.admin.ttl(key) <= 25 * 3600 + 1


def test_free_searches_stop_first(recipe: Recipe, server: Server) -> None:
    search = recipe("priorities", find=lambda query: "found")["search"]
    for plan, granted in (("free", 6), ("trial", 2), ("paid", 2)):
        answers = [search(plan, "x") for _ in range(granted + 1)]
        assert answers[:-1] == ["found"] * granted
        assert answers[-1].startswith("try again in ")
    assert used(server, "search") == 10


def test_a_batch_takes_what_others_leave(recipe: Recipe, server: Server) -> None:
    send_some = recipe("batch", send=lambda letter: letter % 10 != 0)["send_some"]
    server.run("RL.CHECK mail 1000 1h COST 600")
    letters = list(range(500))
    assert send_some(letters) == 0
    # 30 of the 300 were not sent, and are free again, also for the next portion.
    assert letters == list(range(300, 500))
    assert used(server, "mail") == 870
    assert send_some(letters) == 0
    assert letters == list(range(330, 500))
    while (wait := send_some(letters)) == 0:
        pass
    assert 3000 < wait <= 3600
    assert used(server, "mail") == 900
    server.admin.flushall()
    letters = [1, 2]
    assert send_some(letters) == 0
    assert letters == []
    assert used(server, "mail") == 2


def test_a_plan_has_a_month_and_a_second(recipe: Recipe, server: Server) -> None:
    # An hour instead of a second, which may be over before the eleventh call.
    names = recipe("plan", '"10/s"', '"10/h"')
    call, used_this_month = names["call"], names["used_this_month"]
    assert used_this_month("ann") == 0
    assert [call("ann", "small") for _ in range(11)] == [True] * 10 + [False]
    assert used_this_month("ann") == 10
    assert call("ann", "large")
    eventually(lambda: names["limiter"].info("plan:ann").windows[0].used == 0, what="the second is over")
    assert used_this_month("ann") == 11
    server.run("RL.CHECK plan:bob 1000 30d COST 1000")
    assert not call("bob", "small")
    assert used_this_month("bob") == 1000
