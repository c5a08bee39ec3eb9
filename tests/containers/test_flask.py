"""The Flask example as a service, asked by many at once."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

import pytest

from stack import Stack, eventually

WORKERS = 4
# POST /auth/login: 5 per minute. POST /auth/password-reset: 3 per hour.
LOGINS, MINUTE = 5, 60
RESETS, HOUR = 3, 3600
WRONG_PASSWORD, ACCEPTED, TOO_MANY, NO_DECISION = 401, 202, 429, 503

_strangers = itertools.count(1)


def stranger() -> str:
    """Return an address that nobody else in these tests has, as a proxy names it."""
    number = next(_strangers)
    return f"198.18.{number >> 8}.{number & 255}"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: dict[str, object]


class Site:
    """The application, at its published address."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def ask(self, path: str, address: str | None = None) -> Answer:
        """Post to a path for a client at an address, or get it."""
        connection = HTTPConnection(*self.stack.published("flask", 8000), timeout=60)
        try:
            if address is None:
                connection.request("GET", path)
            else:
                body = json.dumps({"email": "ann@example.org", "password": "correct horse"})
                headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
                connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), json.loads(response.read()))
        finally:
            connection.close()

    def log_in(self, address: str) -> Answer:
        return self.ask("/auth/login", address)

    def reset(self, address: str) -> Answer:
        return self.ask("/auth/password-reset", address)

    def is_well(self) -> bool:
        try:
            return self.ask("/health").body == {"status": "ok", "rate_limits": "ok"}
        except (OSError, HTTPException, AssertionError, ValueError):
            # Not published yet, or not listening.
            return False

    def up(self) -> None:
        self.stack.read("docs/containers.md", "compose-flask")
        eventually(self.is_well, "the application answers, and has its limits")


@pytest.fixture(scope="module")
def site(start: Callable[..., Stack], flask_image: str) -> Iterator[Site]:
    # As behind a proxy that names the clients.
    site = Site(start(REDIS_PASSWORD="correct-horse", FLASK_IMAGE=flask_image, TRUSTED_PROXIES="1"))
    site.up()
    return site


def at_once(asking: list[Callable[[], Answer]]) -> list[Answer]:
    barrier = threading.Barrier(len(asking))

    def wait_and_ask(ask: Callable[[], Answer]) -> Answer:
        barrier.wait(60)
        return ask()

    with ThreadPoolExecutor(len(asking)) as threads:
        return list(threads.map(wait_and_ask, asking))


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def test_exactly_the_limit_of_logins_passes_through_all_workers(site: Site) -> None:
    for _ in range(3):
        addresses = [stranger() for _ in range(3)]
        began = time.monotonic()
        asked = addresses * (LOGINS + 7)
        answers = at_once([lambda address=address: site.log_in(address) for address in asked])  # type: ignore[misc]
        if time.monotonic() - began < MINUTE:
            break
        # Later, units come back.
    else:
        pytest.fail(f"the machine is too busy to ask {len(asked)} times in a minute")
    for address in addresses:
        of_one = [answer for answer, asking in zip(answers, asked, strict=True) if asking == address]
        assert statuses(of_one) == {WRONG_PASSWORD: LOGINS, TOO_MANY: 7}
        for answer in of_one:
            if answer.status == TOO_MANY:
                assert 1 <= int(answer.headers["Retry-After"]) <= MINUTE + 2
                assert answer.body["error"] == "too many requests"

    # A worker that denies says so in the log, with its process. After some time all of them have denied.
    def deniers() -> set[str]:
        at_once([lambda: site.log_in(addresses[0])] * (2 * WORKERS))
        log = site.stack.compose("logs", "--no-color", "flask", profiles="flask")
        return set(re.findall(r"(\d+) INFO flask-limiter: ratelimit .* exceeded", log))

    eventually(lambda: len(deniers()) == WORKERS, "every worker denies")


def test_the_documented_log_ins_are_answered(site: Site) -> None:
    answers = site.stack.read("docs/containers.md", "compose-flask-ask")
    assert re.findall(r"^HTTP/\S+ (\d+)", answers, re.MULTILINE) == ["401"] * LOGINS + ["429"]
    assert re.search(r"^Retry-After: [1-9]", answers, re.MULTILINE)


def test_the_limits_outlive_the_application(site: Site) -> None:
    address = stranger()
    assert site.reset(address).status == ACCEPTED
    site.stack.kill("flask")
    site.up()
    answers = at_once([lambda: site.reset(address)] * 10)
    assert statuses(answers) == {ACCEPTED: RESETS - 1, TOO_MANY: 10 - (RESETS - 1)}
    for answer in answers:
        if answer.status == TOO_MANY:
            assert HOUR - 300 <= int(answer.headers["Retry-After"]) <= HOUR + 2


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_the_limits_outlive_the_server_under_load(how: str, site: Site) -> None:
    spent, partly = stranger(), stranger()
    assert [site.reset(spent).status for _ in range(4)] == [ACCEPTED] * 3 + [TOO_MANY]
    assert site.reset(partly).status == ACCEPTED
    over = threading.Event()
    meanwhile: list[Answer] = []

    def keep_asking() -> None:
        while not over.is_set():
            meanwhile.append(site.reset(spent))

    with ThreadPoolExecutor(WORKERS) as threads:
        asking = [threads.submit(keep_asking) for _ in range(WORKERS)]
        try:
            if how == "restart":
                site.stack.compose("restart", "redis")
            else:
                site.stack.kill("redis")
                eventually(lambda: NO_DECISION in statuses(list(meanwhile)), "nobody decides")
                site.stack.compose("up", "--detach", "redis")
            eventually(site.is_well, "the application has its limits")
        finally:
            over.set()
        for one in asking:
            one.result()
    # Who had nothing left got nothing, and what was left is still there.
    assert set(statuses(meanwhile)) <= {TOO_MANY, NO_DECISION}
    for answer in meanwhile:
        assert int(answer.headers["Retry-After"]) >= 1
    answers = at_once([lambda: site.reset(partly)] * 10)
    assert statuses(answers) == {ACCEPTED: RESETS - 1, TOO_MANY: 10 - (RESETS - 1)}
    print(f"measured: {statuses(meanwhile)[NO_DECISION]} of {len(meanwhile)} requests without a decision")
