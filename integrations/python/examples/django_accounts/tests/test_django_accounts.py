"""The application under gunicorn with several workers, driven over HTTP, on real servers."""

from __future__ import annotations

import email
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import RATE_LIMIT_ONLY, Server, eventually
from serving import Site, at_once, before_the_switch, migrated, unmet_requirements
from test_outages import killed, password_changed, paused

HERE = Path(__file__).parents[1]
PASSWORD = "correct horse battery"
LATER = "Please wait a while"
# Of an account that does not exist, for a password that nobody asked for.
LINK = "/reset/MQ/set-password/"


class Browser:
    """Somebody at an address, who sends forms."""

    def __init__(self, site: Site, address: str) -> None:
        self.http = site.client(address)
        self.http.get("/login/")

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.http.post(path, data=fields, headers={"X-CSRFToken": self.http.cookies["csrftoken"]})


class Accounts(Site):
    """The application with a copy of a database, in a folder of its own."""

    def __init__(self, redis_url: str, database: Path, folder: Path, *, code: Path = HERE, **environment: str) -> None:
        self.mails = folder / "mails"
        environment = {
            "REDIS_URL": redis_url,
            "REDIS_TIMEOUT": "20",
            "DATABASE": shutil.copy(database, folder / "copy"),
            "MAIL_DIRECTORY": str(self.mails),
            **environment,
        }
        super().__init__(code, "config.wsgi", environment, ready="/login/")

    def browser(self, address: str = "127.0.0.2") -> Browser:
        return Browser(self, address)

    def mail(self, to: str) -> str:
        """The text of the newest mail to somebody."""
        files = sorted(self.mails.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        found = [email.message_from_bytes(path.read_bytes()) for path in files]
        return str([message for message in found if message["To"] == to][-1].get_payload())

    def registered(self, name: str, address: str) -> Browser:
        """Somebody who has registered, and is logged in."""
        browser = self.browser(address)
        assert browser.post("/register/", email=name, password=PASSWORD).status_code == 302
        code = re.search(r"\d{6}", self.mail(name))
        assert code is not None
        assert browser.post("/verify/", email=name, code=code[0]).headers["location"] == "/settings/"
        return browser


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(HERE, tmp_path_factory.mktemp("accounts") / "database")


@pytest.fixture
def launch(database: Path, tmp_path: Path) -> Iterator[Callable[..., Accounts]]:
    """Start the application for one test alone: `launch(redis_url, RATELIMIT_FAIL_OPEN="1")`."""
    with ExitStack() as stack:
        yield lambda redis_url, **options: stack.enter_context(Accounts(redis_url, database, tmp_path, **options))


@pytest.fixture(scope="module")
def shared_site(database: Path, shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    with Accounts(shared_server.url, database, tmp_path_factory.mktemp("shared")) as site:
        yield site


@pytest.fixture
def site(shared_site: Accounts, server: Server) -> Accounts:
    """The application, with an empty Redis. Users stay."""
    return shared_site


def limited(responses: list[httpx.Response], status: int) -> tuple[int, int]:
    """How many were answered with `status`, and how many by the view for those that were too many."""
    assert {response.status_code for response in responses} <= {status, 429}
    refused = [response for response in responses if response.status_code == 429]
    assert all(LATER in response.text and int(response.headers["Retry-After"]) > 0 for response in refused)
    return len(responses) - len(refused), len(refused)


def asked(server: Server) -> set[str]:
    """The commands of rate limits that were called."""
    found = server.admin.info("commandstats")
    return {name.removeprefix("cmdstat_") for name in found if "rl." in name}


# What the application is for


def test_an_account_from_its_registration_to_another_password(site: Accounts) -> None:
    ann = site.browser()
    assert ann.post("/register/", email="Ann@example.org", password=PASSWORD).headers["location"] == "/verify/"
    assert ann.post("/login/", email="ann@example.org", password=PASSWORD).status_code == 200
    first = site.mail("ann@example.org")
    assert ann.post("/resend/", email="ann@example.org").headers["location"] == "/verify/"
    second = site.mail("ann@example.org")
    code = second[13:19]
    assert ann.post("/verify/", email="ann@example.org", code="wrong").status_code == 200
    if first != second:
        assert ann.post("/verify/", email="ann@example.org", code=first[13:19]).status_code == 200
    assert ann.post("/verify/", email="ann@example.org", code=code).headers["location"] == "/settings/"
    assert ann.post("/settings/", first_name="Ann", last_name="Lee").status_code == 302
    assert 'value="Ann"' in ann.get("/settings/").text
    assert ann.post("/logout/").status_code == 302
    assert ann.get("/settings/").headers["location"] == "/login/?next=/settings/"
    assert ann.post("/forgot/", email="ann@example.org").headers["location"] == "/login/"
    link = re.search(r"http://[^/]+(/reset/\S+)", site.mail("ann@example.org"))
    assert link is not None
    form = ann.get(link[1]).headers["location"]
    other = "another horse battery"
    assert ann.post(form, new_password1=other, new_password2=other).headers["location"] == "/login/"
    assert ann.post("/login/", email="ann@example.org", password=PASSWORD).status_code == 200
    assert ann.post("/login/", email="ann@example.org", password=other).headers["location"] == "/settings/"


# Limits


@pytest.mark.parametrize(
    ("path", "fields", "limit", "status"),
    [
        ("/register/", {"email": "bob{}@example.org", "password": PASSWORD}, 3, 302),
        ("/login/", {"email": "bob{}@example.org", "password": "wrong"}, 5, 200),
        ("/verify/", {"email": "bob@example.org", "code": "{}"}, 10, 200),
        ("/resend/", {"email": "bob@example.org"}, 1, 302),
        ("/forgot/", {"email": "bob{}@example.org"}, 3, 302),
        ("/reset/MQ/set-password/", {"new_password1": PASSWORD, "new_password2": PASSWORD}, 5, 200),
    ],
)
def test_exactly_the_limit_passes_with_all_workers_asked_at_once(
    path: str, fields: dict[str, str], limit: int, status: int, site: Accounts
) -> None:
    browser = site.browser()
    before = site.answered
    responses = at_once(
        32, lambda index: browser.post(path, **{name: text.format(index) for name, text in fields.items()})
    )
    assert limited(responses, status) == (limit, 32 - limit)
    assert len(site.answered - before) > 1
    # To look at the form is not limited.
    assert browser.get(path).status_code == 200
    # Others are not, if the limit is on the address; and if it is on the account, another one is not.
    fields = {name: text.format("other").replace("bob@", "eve@") for name, text in fields.items()}
    assert site.browser("127.0.0.3").post(path, **fields).status_code == status


def test_logins_are_limited_by_account_whatever_address_they_come_from(site: Accounts, server: Server) -> None:
    browsers = [site.browser(f"127.0.0.{number}") for number in range(2, 6)]
    names = ["ann@example.org", "Ann@Example.org"]
    responses = at_once(16, lambda index: browsers[index % 4].post("/login/", email=names[index % 2], password="wrong"))
    assert limited(responses, 200) == (10, 6)
    somewhere = site.browser("127.0.0.6")
    assert somewhere.post("/login/", email="ann@example.org", password="wrong").status_code == 429
    assert somewhere.post("/login/", email="bob@example.org", password="wrong").status_code == 200
    assert {key for key in server.admin.scan_iter() if "127" not in key} == {
        "rl:accounts.views.login:ann@example.org:10/1h:POST",
        "rl:accounts.views.login:bob@example.org:10/1h:POST",
    }


def test_settings_are_limited_by_user_and_for_others_by_address(site: Accounts) -> None:
    carol, dave = (site.registered(f"{name}@example.org", "127.0.0.2") for name in ("carol", "dave"))
    elsewhere = site.browser("127.0.0.3")
    elsewhere.http.cookies = carol.http.cookies
    carols = [carol, elsewhere]
    responses = at_once(80, lambda index: carols[index % 2].get("/settings/"))
    assert limited(responses, 200) == (60, 20)
    assert dave.get("/settings/").status_code == 200
    stranger = site.browser("127.0.0.2")
    assert limited(at_once(80, lambda _: stranger.get("/settings/")), 302) == (60, 20)
    assert site.browser("127.0.0.3").get("/settings/").status_code == 302


# Without Redis


@pytest.mark.parametrize("fail_open", [True, False], ids=["open", "closed"])
def test_without_redis_requests_pass_or_are_refused_as_configured(
    fail_open: bool, launch: Callable[..., Accounts], start: Any
) -> None:
    server = start(Server, tcp=True, user=RATE_LIMIT_ONLY)
    url = f"redis://app:secret@127.0.0.1:{server.port}/0"
    # Long enough for a busy machine, and short for a server that hangs.
    site = launch(url, REDIS_TIMEOUT="1", RATELIMIT_FAIL_OPEN=str(int(fail_open)))
    known, new = site.browser("127.0.0.2"), site.browser("127.0.0.3")
    login = {"email": "ann@example.org", "password": "wrong"}

    def forgot(browser: Browser) -> int:
        return browser.post("/forgot/", email="ann@example.org").status_code

    breaks: list[Callable[[Server], AbstractContextManager[None]]] = [killed, paused, password_changed]
    for name in breaks:
        eventually(lambda: forgot(known) == 429)
        with name(server):
            responses = [browser.post("/login/", **login) for browser in (known, new)]
            assert limited(responses, 200) == ((2, 0) if fail_open else (0, 2))
            assert [forgot(known), forgot(new)] == ([302, 302] if fail_open else [429, 429])
        # It recovers by itself: who had too many has, and who had not may go on.
        eventually(lambda: forgot(known) == 429)
        server.admin.flushall()
        eventually(lambda: forgot(new) == 302)


# Users of Redis


@pytest.mark.parametrize("user", ["default", "app"])
def test_a_password_and_a_user_with_no_rights_but_to_limit(
    user: str, launch: Callable[..., Accounts], start: Any
) -> None:
    server = start(Server, tcp=True, password="secret", user=RATE_LIMIT_ONLY)
    site = launch(f"redis://{user}:secret@127.0.0.1:{server.port}/0")
    browser = site.browser()
    responses = at_once(32, lambda _: browser.post("/forgot/", email="ann@example.org"))
    assert limited(responses, 302) == (3, 29)
    assert site.registered("ann@example.org", "127.0.0.3").get("/settings/").status_code == 200
    assert {row["user"] for row in server.admin.client_list() if row["cmd"] == "rl.check"} == {user}
    assert asked(server) == {"rl.check"}
    assert all(key.startswith("rl:") for key in server.admin.scan_iter())
    # redis-py says its name, and takes no for an answer.
    assert {row["object"] for row in server.admin.acl_log()} <= {"client|setinfo"}


# The switch


def test_before_the_switch_it_is_the_same_application(
    launch: Callable[..., Accounts], start: Any, tmp_path: Path
) -> None:
    server = start(Server, load_module=False)
    site = launch(server.url, code=before_the_switch(HERE, tmp_path / "before"))
    browser = site.browser()
    eventually(lambda: browser.post("/forgot/", email="ann@example.org").status_code == 429)
    refused = browser.post("/forgot/", email="ann@example.org")
    assert LATER in refused.text
    assert "Retry-After" not in refused.headers


def test_the_requirements_are_those_that_are_tested() -> None:
    assert unmet_requirements(HERE) == []
