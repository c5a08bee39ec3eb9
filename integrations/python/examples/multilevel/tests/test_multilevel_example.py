"""The link shortener under uvicorn with several workers, over HTTP, on real servers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import RATE_LIMIT_ONLY, Cluster, Server, eventually
from serving import WORKERS, AsyncSite, Site, at_once, unmet_requirements

FOLDER = Path(__file__).parent.parent
# The answer has to come; the machine is busy.
PATIENCE = "?socket_timeout=20&socket_connect_timeout=20"
OPERATOR = {"Authorization": "Bearer operator"}
# No window ends while the tests run.
PER_IP, PER_USER, PER_ENDPOINT = 20, 8, 50
LIMITS = {
    "LIMIT_PER_IP": f"{PER_IP}/hour; 100/day",
    "LIMIT_PER_USER": f"{PER_USER}/hour",
    "LIMIT_PER_ENDPOINT": f"{PER_ENDPOINT}/hour",
}


def links(redis_url: str, data: Path, **environment: str) -> Site:
    settings = {
        **LIMITS,
        "REDIS_URL": redis_url,
        "DATABASE": str(data / "links.sqlite3"),
        "TRUSTED_PROXIES": "1",
        "ADMIN_TOKEN": "operator",
    }
    # It is the application that knows about proxies.
    arguments = ["--factory", "--no-proxy-headers"]
    return AsyncSite(FOLDER, "links:create_app", {**settings, **environment}, *arguments, ready="/health/")


_numbers = itertools.count(1)


def address() -> str:
    """An address that nobody else in these tests has."""
    number = next(_numbers)
    return f"198.18.{number >> 8}.{number & 255}"


class Visitors:
    """Asks an application: as users at addresses, and as the operator."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def user(self) -> dict[str, str]:
        """Add a user, and return the name and the token."""
        response = self.client.post("/admin/users", json={"name": f"user {next(_numbers)}"}, headers=OPERATOR)
        assert response.status_code == 201
        found: dict[str, str] = response.json()
        return found

    def make(self, user: dict[str, str] | None, ip: str) -> httpx.Response:
        return self.client.post("/links", json={"url": "https://example.org/"}, headers=self._headers(user, ip))

    def make_all(self, who: list[tuple[dict[str, str] | None, str]]) -> list[httpx.Response]:
        """All at once."""
        return at_once(len(who), lambda index: self.make(*who[index]))

    def follow(self, code: str, ip: str) -> httpx.Response:
        return self.client.get(f"/{code}", headers=self._headers(None, ip))

    def used(self, level: str, value: str) -> list[int]:
        """What is in use of each rate."""
        response = self.client.get("/admin/limits", params={"level": level, "value": value}, headers=OPERATOR)
        assert response.status_code == 200
        return [rate["used"] for rate in response.json()["rates"]]

    def reset(self, level: str, value: str) -> Any:
        body = {"level": level, "value": value}
        return self.client.post("/admin/limits/reset", json=body, headers=OPERATOR).json()

    def _headers(self, user: dict[str, str] | None, ip: str) -> dict[str, str]:
        return {"X-Forwarded-For": ip, **({"Authorization": f"Bearer {user['token']}"} if user else {})}


@contextmanager
def visitors(site: Site) -> Iterator[Visitors]:
    with site.client() as client:
        yield Visitors(client)


def exactly(responses: list[httpx.Response], passes: int, level: str, limit: str, status: int = 201) -> None:
    """So many pass, and all others are told who has refused them and when to come back."""
    statuses = Counter(response.status_code for response in responses)
    assert statuses == {status: passes, 429: len(responses) - passes}
    for response in responses:
        if response.status_code == 429:
            body = response.json()
            wait = body.pop("retry_after")
            assert body == {"error": "too many requests", "level": level, "limit": limit, "refused": [level]}
            assert 1 <= wait <= 3600
            assert response.headers["Retry-After"] == str(wait)
            assert response.headers["X-RateLimit-Remaining"] == "0"


@pytest.fixture(scope="module")
def restricted() -> Iterator[Server]:
    """A server with a password, and a user who may do nothing but rate-limit, and see who is refused."""
    with Server(password="admin", user=f"{RATE_LIMIT_ONLY} +rl.top") as server:
        yield server


@pytest.fixture(scope="module")
def site(restricted: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The application, as that user."""
    with links(restricted.user_url + PATIENCE, tmp_path_factory.mktemp("links")) as site:
        yield site


@pytest.fixture
def all_of(site: Site, restricted: Server) -> Iterator[Visitors]:
    """Visitors of the application, to whom nothing is limited yet."""
    restricted.admin.flushall()
    with visitors(site) as found:
        yield found


# The limits


def test_a_user_has_one_limit_at_all_addresses(all_of: Visitors) -> None:
    ann = all_of.user()
    addresses = [address() for _ in range(6)]
    exactly(all_of.make_all([(ann, ip) for ip in addresses] * 5), PER_USER, "user", "8/1h")
    # Refused requests were charged on no level.
    used = [all_of.used("ip", ip) for ip in addresses]
    assert [sum(column) for column in zip(*used, strict=True)] == [PER_USER, PER_USER]
    assert all_of.used("user", ann["name"]) == all_of.used("endpoint", "POST /links") == [PER_USER]


def test_an_address_has_one_limit_for_all_users(all_of: Visitors) -> None:
    users = [all_of.user() for _ in range(10)]
    ip = address()
    exactly(all_of.make_all([(user, ip) for user in users] * 4), PER_IP, "ip", "20/1h")
    assert all_of.used("ip", ip) == [PER_IP, PER_IP]
    assert sum(all_of.used("user", user["name"])[0] for user in users) == PER_IP
    assert all_of.used("endpoint", "POST /links") == [PER_IP]


def test_an_endpoint_has_one_limit_for_all(all_of: Visitors) -> None:
    users = [all_of.user() for _ in range(10)]
    who = [(user, address()) for user in users for _ in range(7)]
    exactly(all_of.make_all(who), PER_ENDPOINT, "endpoint", "50/1h")
    assert all_of.used("endpoint", "POST /links") == [PER_ENDPOINT]
    assert sum(all_of.used("user", user["name"])[0] for user in users) == PER_ENDPOINT
    assert sum(all_of.used("ip", ip)[0] for _, ip in who) == PER_ENDPOINT
    # Another endpoint has its own.
    assert all_of.follow("nothing", address()).status_code == 404


def test_all_workers_answer(site: Site, all_of: Visitors, restricted: Server) -> None:
    for _ in range(50):
        restricted.admin.flushall()
        ip = address()
        responses = at_once(40, lambda _, ip=ip: all_of.follow("nothing", ip))
        exactly(responses, PER_IP, "ip", "20/1h", status=404)
        if len(site.answered) == WORKERS:
            return
    pytest.fail(f"only some workers answer: {site.answered}")


def test_who_has_no_token_is_limited_by_the_other_levels(all_of: Visitors, restricted: Server) -> None:
    ip = address()
    for token in (None, {"token": "invented"}):
        response = all_of.make(token, ip)
        assert response.status_code == 401
    assert sorted(restricted.admin.keys()) == sorted(
        [f"rl:links:ip:{ip}", f"rl:links:ip:{ip}:1h", "rl:links:endpoint:POST /links"]
    )
    assert all_of.used("ip", ip) == [2, 2]


def test_links_are_made_and_followed_with_headers(all_of: Visitors) -> None:
    ann = all_of.user()
    ip = address()
    made = all_of.make(ann, ip)
    assert made.json() == {"code": made.json()["code"], "url": "https://example.org/"}
    # Of the level with the fewest left, and of all.
    assert (made.headers["X-RateLimit-Limit"], made.headers["X-RateLimit-Remaining"]) == ("8", "7")
    for quota in ('"ip 20/1h";q=20;w=3600', '"ip 100/1d";q=100;w=86400', '"user";q=8;w=3600', '"endpoint";q=50;w=3600'):
        assert quota in made.headers["RateLimit-Policy"]
    followed = all_of.follow(made.json()["code"], ip)
    assert (followed.status_code, followed.headers["Location"]) == (307, "https://example.org/")
    mine = all_of.client.get("/links", headers={"Authorization": f"Bearer {ann['token']}"}).json()
    assert [link["code"] for link in mine] == [made.json()["code"]]
    assert all_of.client.post("/admin/users", json={"name": ann["name"]}, headers=OPERATOR).status_code == 409


def test_networks_of_ipv6_are_one_address(all_of: Visitors) -> None:
    responses = [all_of.follow("nothing", f"2001:db8:0:1::{number:x}") for number in range(1, PER_IP + 3)]
    exactly(responses, PER_IP, "ip", "20/1h", status=404)
    assert all_of.used("ip", "2001:db8:0:1::77") == all_of.used("ip", "2001:db8:0:1::/64") == [PER_IP, PER_IP]
    assert all_of.follow("nothing", "2001:db8:0:2::1").status_code == 404


# For operators


def test_a_reset_forgets_one_value_of_one_level(all_of: Visitors) -> None:
    ann, bob = all_of.user(), all_of.user()
    for user in (ann, bob):
        exactly(all_of.make_all([(user, address()) for _ in range(10)]), PER_USER, "user", "8/1h")
    assert all_of.reset("user", ann["name"]) == {"forgotten": 1}
    assert all_of.used("user", ann["name"]) == [0]
    assert all_of.make(bob, address()).status_code == 429
    exactly(all_of.make_all([(ann, address()) for _ in range(10)]), PER_USER, "user", "8/1h")
    ip = address()
    all_of.follow("nothing", ip)
    assert all_of.reset("ip", ip) == {"forgotten": 2}
    assert all_of.reset("ip", ip) == {"forgotten": 0}


def test_stats_tell_what_refuses_most(all_of: Visitors, restricted: Server) -> None:
    ann = all_of.user()
    # Starts afresh.
    restricted.admin.config_set("ratelimit.top-keys", 127)
    restricted.admin.config_set("ratelimit.top-keys", 128)
    all_of.make_all([(ann, address()) for _ in range(PER_USER + 3)])
    response = all_of.client.get("/admin/limits/stats", headers=OPERATOR)
    assert response.json() == {"refused_most": [{"key": f"rl:links:user:{ann['name']}", "refused": 3}]}


@pytest.mark.parametrize("token", [None, "wrong", "operator2", "\u00e9"])
def test_only_operators_see_and_reset(token: str | None, all_of: Visitors) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    target = {"level": "user", "value": "ann"}
    for response in (
        all_of.client.get("/admin/limits/stats", headers=headers),
        all_of.client.get("/admin/limits", params=target, headers=headers),
        all_of.client.post("/admin/limits/reset", json=target, headers=headers),
        all_of.client.post("/admin/users", json={"name": "eve"}, headers=headers),
    ):
        assert response.status_code == 401


def test_operators_who_mistype_are_told(all_of: Visitors) -> None:
    for target in ({"level": "planet", "value": "x"}, {"level": "ip"}, {"level": "ip", "value": ""}):
        assert all_of.client.get("/admin/limits", params=target, headers=OPERATOR).status_code == 422


# When Redis does not decide


def health(client: httpx.Client) -> tuple[int, str, list[str]]:
    response = client.get("/health/redis/")
    body = response.json()
    assert (body["latency_ms"] is not None) == (response.status_code == 200)
    return response.status_code, body["status"], body["problems"]


HEALTHY = (200, "ok", [])


def test_health_as_a_user_with_few_rights(all_of: Visitors, restricted: Server) -> None:
    assert health(all_of.client) == HEALTHY
    assert restricted.admin.dbsize() == 0


@pytest.mark.parametrize(("policy", "meanwhile"), [("open", 201), ("closed", 503), ("raise", 503)])
def test_an_outage_and_a_changed_password(
    policy: str, meanwhile: int, start: Callable[..., Any], tmp_path: Path
) -> None:
    server = start(Server, password="admin")
    with links(server.url + PATIENCE, tmp_path, RATELIMIT_POLICY=policy) as site, visitors(site) as found:
        ann = found.user()
        assert found.make(ann, address()).status_code == 201
        assert health(found.client) == HEALTHY

        server.kill()
        everyone_gets(found, ann, meanwhile)
        assert health(found.client) == (503, "down", ["CONNECTION"])
        assert found.client.get("/health/").status_code == 200
        assert found.client.get("/admin/limits/stats", headers=OPERATOR).status_code == 503
        server.start()
        assert health(found.client) == HEALTHY

        server.admin.config_set("requirepass", "another")
        server.run("CLIENT KILL TYPE normal SKIPME yes")
        everyone_gets(found, ann, meanwhile)
        assert health(found.client) == (503, "down", ["WRONGPASS"])
        server.admin.config_set("requirepass", "admin")
        assert health(found.client) == HEALTHY

        # Nothing was charged meanwhile.
        exactly(found.make_all([(ann, address()) for _ in range(12)]), PER_USER, "user", "8/1h")


def everyone_gets(found: Visitors, user: dict[str, str], status: int) -> None:
    responses = found.make_all([(user, address()) for _ in range(PER_USER + 4)])
    assert {response.status_code for response in responses} == {status}
    for response in responses:
        if status == 503:
            assert (response.json(), response.headers["Retry-After"]) == ({"error": "try again in a moment"}, "1")


def test_a_server_without_the_module(start: Callable[..., Any], tmp_path: Path) -> None:
    server = start(Server, load_module=False)
    with links(server.url + PATIENCE, tmp_path) as site, visitors(site) as found:
        ann = found.user()
        assert health(found.client) == (503, "down", ["NOMODULE"])
        # A mistake, and no outage that the policy is for.
        assert found.make(ann, address()).status_code == 503
        assert "loadmodule" in site.errors


# Where the limits are


def test_with_a_password(start: Callable[..., Any], tmp_path: Path) -> None:
    with links(start(Server, password="admin").url + PATIENCE, tmp_path) as site, visitors(site) as found:
        ann = found.user()
        exactly(found.make_all([(ann, address()) for _ in range(12)]), PER_USER, "user", "8/1h")


def test_a_user_who_may_only_limit_sees_no_stats(start: Callable[..., Any], tmp_path: Path) -> None:
    rights = "~rl:* -@all +ping +select +client|setname +rl.check +rl.mcheck +rl.info +rl.reset +cl.throttle"
    assert f">secret {rights}\n" in (FOLDER / "README.md").read_text()
    server = start(Server, user=rights)
    with links(server.user_url + PATIENCE, tmp_path) as site, visitors(site) as found:
        ann = found.user()
        assert found.client.get("/admin/limits/stats", headers=OPERATOR).status_code == 503
        exactly(found.make_all([(ann, address()) for _ in range(12)]), PER_USER, "user", "8/1h")
        assert found.reset("user", ann["name"]) == {"forgotten": 1}
        assert health(found.client) == HEALTHY


def test_in_a_cluster_all_levels_are_on_one_shard(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.url() + PATIENCE
    with links(url, tmp_path, RATELIMIT_SHARD="{links}") as site, visitors(site) as found:
        ann = found.user()
        ip = address()
        exactly(found.make_all([(ann, ip) for _ in range(12)]), PER_USER, "user", "8/1h")
        assert found.used("ip", ip) == [PER_USER, PER_USER]
        assert eventually(lambda: health(found.client) == HEALTHY)
        assert sum(node.admin.dbsize() > 0 for node in cluster.nodes) == 1


def test_the_requirements_are_met_by_what_is_tested() -> None:
    assert unmet_requirements(FOLDER) == []
