"""The API under gunicorn with several workers, driven over HTTP, on real servers."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import RATE_LIMIT_ONLY, Server, eventually
from serving import Site, at_once, before_the_switch, migrated, unmet_requirements
from test_outages import killed, password_changed, paused

HERE = Path(__file__).parents[1]
PASSWORD = "correct horse battery"
BOOKMARK = {"url": "https://example.org/", "title": "An example"}


class Api(Site):
    """The application with a copy of a database, in a folder of its own."""

    def __init__(self, redis_url: str, database: Path, folder: Path, *, code: Path = HERE, **environment: str) -> None:
        self._names = count()
        environment = {
            "REDIS_URL": redis_url,
            "REDIS_TIMEOUT": "20",
            "DATABASE": shutil.copy(database, folder / "copy"),
            **environment,
        }
        super().__init__(code, "config.wsgi", environment, ready="/health/")

    def user(self, address: str = "127.0.0.9") -> httpx.Client:
        """Somebody who has registered, and sends a token."""
        client = self.client(address)
        account = {"username": f"user{next(self._names)}", "password": PASSWORD}
        assert client.post("/api/register/", json=account).status_code == 201
        client.headers["Authorization"] = f"Token {client.post('/api/login/', json=account).json()['token']}"
        return client


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(HERE, tmp_path_factory.mktemp("api") / "database")


@pytest.fixture
def launch(database: Path, tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Start the application for one test alone: `launch(redis_url, DISABLE_THROTTLING="1")`."""
    with ExitStack() as stack:
        yield lambda redis_url, **options: stack.enter_context(Api(redis_url, database, tmp_path, **options))


@pytest.fixture(scope="module")
def shared_site(database: Path, shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(shared_server.url, database, tmp_path_factory.mktemp("shared")) as site:
        yield site


@pytest.fixture
def site(shared_site: Api, server: Server) -> Api:
    """The application, with an empty Redis. Users stay."""
    return shared_site


def limited(responses: list[httpx.Response], status: int) -> tuple[int, int]:
    """How many were answered with `status`, and how many with 429 and the time to wait."""
    assert {response.status_code for response in responses} <= {status, 429}
    refused = [response for response in responses if response.status_code == 429]
    assert all(int(response.headers["Retry-After"]) > 0 for response in refused)
    return len(responses) - len(refused), len(refused)


def asked(server: Server) -> set[str]:
    """The commands of rate limits that were called."""
    found = server.admin.info("commandstats")
    return {name.removeprefix("cmdstat_") for name in found if "rl." in name}


def wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, seconds=seconds + 30)


# What the application is for


def test_bookmarks_from_the_registration_to_the_search(site: Api) -> None:
    ann, bob, stranger = site.user(), site.user(), site.client()
    added = ann.post("/api/bookmarks/", json=BOOKMARK)
    assert added.status_code == 201
    path = f"/api/bookmarks/{added.json()['id']}/"
    assert stranger.get(path).json()["title"] == "An example"
    titles = ["Alpha", "Beta", "Better"]
    several = [{"url": f"https://example.org/{title}", "title": title} for title in titles]
    assert bob.post("/api/bookmarks/import/", json=several).json() == {"imported": 3}
    assert stranger.get("/api/bookmarks/").json()["count"] == 4
    found = stranger.get("/api/bookmarks/search/", params={"q": "beta"}).json()["results"]
    assert [one["title"] for one in found] == ["Beta"]
    assert stranger.get("/api/bookmarks/suggest/", params={"q": "bet"}).json() == ["Beta", "Better"]
    assert stranger.post("/api/bookmarks/", json=BOOKMARK).status_code == 401
    assert bob.delete(path).status_code == 403
    assert ann.delete(path).status_code == 204
    assert ann.get(path).status_code == 404


# Limits


@pytest.mark.parametrize(
    ("method", "path", "json", "limit", "status"),
    [
        ("GET", "/api/bookmarks/", None, 60, 200),
        ("GET", "/api/bookmarks/search/?q=a", None, 10, 200),
        ("POST", "/api/login/", {"username": "ann", "password": "wrong"}, 5, 400),
        ("POST", "/api/register/", {"username": "ann", "password": "short"}, 3, 400),
    ],
)
def test_exactly_the_limit_of_an_address_passes_with_all_workers_asked_at_once(
    method: str, path: str, json: dict[str, str] | None, limit: int, status: int, site: Api
) -> None:
    client = site.client("127.0.0.2")
    before = site.answered
    responses = at_once(limit + 24, lambda _: client.request(method, path, json=json))
    assert limited(responses, status) == (limit, 24)
    assert len(site.answered - before) > 1
    assert site.client("127.0.0.3").request(method, path, json=json).status_code == status


def test_exactly_the_limit_of_a_user_passes_wherever_they_are(site: Api) -> None:
    ann, bob = site.user(), site.user()
    clients = [site.client(f"127.0.0.{number}", headers=ann.headers) for number in (2, 3)]
    imports = at_once(16, lambda index: clients[index % 2].post("/api/bookmarks/import/", json=[BOOKMARK]))
    assert limited(imports, 201) == (3, 13)
    # All throttles are asked, so the imports that one refused have been counted by the other.
    lists = at_once(110, lambda index: clients[index % 2].get("/api/bookmarks/"))
    assert limited(lists, 200) == (100 - 16, 26)
    assert bob.get("/api/bookmarks/").status_code == 200


# How long to wait


def test_retry_after_is_what_the_server_says(site: Api, server: Server) -> None:
    client = site.client()
    assert limited(at_once(20, lambda _: client.get("/api/bookmarks/search/")), 200) == (10, 10)
    refused = client.get("/api/bookmarks/search/")
    left = server.admin.execute_command("RL.PEEK", "rl:throttle:search:127.0.0.1:1m")[3]
    retry_after = int(refused.headers["Retry-After"])
    # Asked a moment later.
    assert 0 <= retry_after - math.ceil(left / 1000) <= 5
    assert 0 < retry_after <= 60
    assert f"available in {retry_after} second" in refused.json()["detail"]
    # Of several throttles that refuse, the longest counts.
    assert limited(at_once(50, lambda _: client.get("/api/bookmarks/")), 200)[1] > 0
    assert 3000 < int(client.get("/api/bookmarks/search/").headers["Retry-After"]) <= 3600


def test_who_waits_as_long_as_it_says_is_let_in(site: Api) -> None:
    ann = site.user()

    def refusal() -> httpx.Response | None:
        responses = at_once(12, lambda _: ann.get("/api/bookmarks/suggest/"))
        return next((response for response in responses if response.status_code == 429), None)

    refused = eventually(refusal)
    assert refused.headers["Retry-After"] == "1"
    wait(1)
    assert ann.get("/api/bookmarks/suggest/").status_code == 200


def test_throttling_can_be_disabled(launch: Callable[..., Api], server: Server) -> None:
    server.admin.config_resetstat()
    client = launch(server.url, DISABLE_THROTTLING="1").client()
    assert limited(at_once(70, lambda _: client.get("/api/bookmarks/")), 200) == (70, 0)
    assert limited(at_once(8, lambda _: client.post("/api/login/", json={})), 400) == (8, 0)
    assert asked(server) == set()


# Without Redis


@contextmanager
def busy(client: httpx.Client) -> Iterator[list[httpx.Response]]:
    """Ask all the time meanwhile, and collect the answers."""
    over = threading.Event()
    responses: list[httpx.Response] = []

    def ask() -> None:
        while not over.is_set():
            responses.append(client.get("/api/bookmarks/"))

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask) for _ in range(2)]
        try:
            yield responses
        finally:
            over.set()
    for one in asking:
        one.result()


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_redis_stopped_restarted_hanging_and_with_another_password_is_no_500(
    policy: str, launch: Callable[..., Api], start: Any
) -> None:
    server = start(Server, tcp=True, user=RATE_LIMIT_ONLY)
    # Long enough for a busy machine, and short for a server that hangs.
    site = launch(f"redis://app:secret@127.0.0.1:{server.port}/0", REDIS_TIMEOUT="1", THROTTLE_FAILURE_POLICY=policy)
    known, new = site.client("127.0.0.2"), site.client("127.0.0.3")
    breaks: list[Callable[[Server], AbstractContextManager[None]]] = [killed, paused, password_changed]
    with busy(site.client("127.0.0.4")) as responses:
        for name in breaks:
            eventually(lambda: known.post("/api/register/", json={}).status_code == 429)
            with name(server):
                answers = [client.get("/api/bookmarks/") for client in (known, new)]
                assert limited(answers, 200) == ((2, 0) if policy == "open" else (0, 2))
                # Of those that guess passwords, none gets through in any case.
                answers.append(new.post("/api/login/", json={}))
                assert answers[-1].status_code == 429
                assert {answer.headers["Retry-After"] for answer in answers if answer.status_code == 429} == {"1"}
            # It recovers by itself: who had too many has, and who had not may go on.
            eventually(lambda: known.post("/api/register/", json={}).status_code == 429)
            server.admin.flushall()
            eventually(lambda: new.post("/api/login/", json={}).status_code == 400)
        # Whoever asks all the time is limited in the end, too.
        eventually(lambda: limited(list(responses), 200)[1] > 0)
    assert limited(responses, 200)[0] > 0


def test_a_wrong_password_from_the_start_is_no_500(launch: Callable[..., Api], start: Any) -> None:
    server = start(Server, tcp=True, password="right")
    site = launch(f"redis://:wrong@127.0.0.1:{server.port}/0")
    client = site.client()
    assert limited(at_once(70, lambda _: client.get("/api/bookmarks/")), 200) == (70, 0)
    assert client.post("/api/login/", json={}).headers["Retry-After"] == "1"
    assert "policy 'open' applies: WRONGPASS" in site.errors
    # Nothing else is worth a word.
    assert "Traceback" not in site.errors


# Users of Redis


@pytest.mark.parametrize("user", ["default", "app"])
def test_a_password_and_a_user_with_no_rights_but_to_limit(user: str, launch: Callable[..., Api], start: Any) -> None:
    server = start(Server, tcp=True, password="secret", user=RATE_LIMIT_ONLY)
    site = launch(f"redis://{user}:secret@127.0.0.1:{server.port}/0")
    client = site.client()
    assert limited(at_once(32, lambda _: client.get("/api/bookmarks/search/")), 200) == (10, 22)
    assert site.user().post("/api/bookmarks/", json=BOOKMARK).status_code == 201
    assert {row["user"] for row in server.admin.client_list() if row["cmd"] == "rl.check"} == {user}
    assert asked(server) == {"rl.check"}
    assert all(key.startswith("rl:throttle:") for key in server.admin.scan_iter())
    # redis-py says its name, and takes no for an answer.
    assert {row["object"] for row in server.admin.acl_log()} <= {"client|setinfo"}


# The switch


def test_before_the_switch_it_is_the_same_application(launch: Callable[..., Api], start: Any, tmp_path: Path) -> None:
    server = start(Server, load_module=False)
    client = launch(server.url, code=before_the_switch(HERE, tmp_path / "before")).client()
    eventually(lambda: client.get("/api/bookmarks/search/").status_code == 429)
    # The framework's own throttle keeps a list in the cache.
    assert any("throttle_search" in key for key in server.admin.scan_iter())


def test_the_requirements_are_those_that_are_tested() -> None:
    assert unmet_requirements(HERE) == []
