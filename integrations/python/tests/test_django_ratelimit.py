"""A Django project with django-ratelimit and our app, on real servers."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django_project import DJANGO, DJANGO_REDIS, cache, using
from servers import RATE_LIMIT_ONLY, Certificates, Sentinels, Server, eventually
from test_outages import configured, key_forbidden, killed, loading, password_changed, password_wanted, paused

# After the settings.
import django_ratelimit.decorators  # isort: skip
import redis_ratelimit.django  # isort: skip
from django.contrib.auth.models import AnonymousUser  # isort: skip
from django.core.cache import caches as django_caches  # isort: skip
from django.core.checks import run_checks  # isort: skip
from django.core.exceptions import ImproperlyConfigured  # isort: skip
from django.test import AsyncClient, Client, RequestFactory, override_settings  # isort: skip
from django_ratelimit import core  # isort: skip
from django_ratelimit.core import get_usage, is_ratelimited  # isort: skip
from rest_framework.request import Request  # isort: skip
from redis_ratelimit import client_ip, unusable  # isort: skip
from redis_ratelimit.django import decided, http_headers, takeover  # isort: skip
from redis_ratelimit.django.connection import limiter  # isort: skip

BACKENDS = pytest.mark.parametrize("backend", [DJANGO_REDIS, DJANGO], ids=["django-redis", "Django's own"])
# What redis-py asks when it connects.
GREETINGS = {"hello", "auth", "select", "client|setinfo", "config|resetstat", "info", "flushall", "ping"}
# The user of Server(user=...), in a way that every release of django-redis knows.
APP = {"PASSWORD": "secret", "CONNECTION_POOL_KWARGS": {"username": "app"}}
factory = RequestFactory()


@pytest.fixture
def site(server: Server) -> Iterator[Client]:
    """The project, with an empty server as its cache."""
    with using(cache(server.url)):
        yield Client()


def statuses(client: Client, path: str, number: int) -> list[int]:
    return [client.get(path).status_code for _ in range(number)]


def commands(server: Server) -> dict[str, int]:
    """How often each command was called since the statistics were reset."""
    found = server.admin.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): row["calls"] for name, row in found.items()}
    return {name: number for name, number in calls.items() if name not in GREETINGS}


# What is decided, and by whom


def test_each_decorator_asks_one_command(site: Client, server: Server) -> None:
    server.admin.config_resetstat()
    assert statuses(site, "/", 5) == [200, 200, 200, 429, 429]
    assert commands(server) == {"rl.check": 5}
    assert site.post("/login", {"email": "ann@example.org"}).status_code == 200
    assert commands(server) == {"rl.check": 7}
    # Another method, and a look.
    site.get("/login")
    assert commands(server) == {"rl.check": 7}
    site.get("/usage")
    assert commands(server) == {"rl.check": 7, "rl.peek": 1}


def test_keys_can_be_read(site: Client, server: Server) -> None:
    site.get("/")
    site.post("/login", {"email": "ann:{}@example.org"})
    site.post("/login", {"email": "x" * 1000})
    site.get("/page")
    hashed = "%=44f8354494a5ba03ba1792a8d3e9c534c47a9181"
    assert set(server.admin.keys()) == {
        "rl:django_project.home:127.0.0.1:3/1m",
        "rl:django_project.login:127.0.0.1:5/1m:POST",
        "rl:login:ann%3A%7B%7D@example.org:10/1h:POST",
        f"rl:login:{hashed}:10/1h:POST",
        "rl:django_project.Page.Page.get:127.0.0.1:1/1m:GET",
    }


def test_a_refused_request_is_answered_by_the_view_for_it(site: Client) -> None:
    assert statuses(site, "/", 3) == [200, 200, 200]
    refused = site.get("/")
    assert (refused.status_code, refused.content) == (429, b"later")
    assert site.get("/", REMOTE_ADDR="192.0.2.9").status_code == 200


def test_the_view_for_it_can_say_when_to_come_back(site: Client) -> None:
    assert statuses(site, "/", 3) == [200, 200, 200]
    headers = site.get("/").headers
    assert 50 < int(headers["Retry-After"]) <= 60
    assert headers["X-RateLimit-Limit"] == "3"
    assert headers["X-RateLimit-Remaining"] == "0"
    assert headers["RateLimit-Policy"] == '"django_project.home";q=3;w=60'
    # Of several decorators, that which refused.
    for _ in range(6):
        headers = site.post("/login", {"email": "ann@example.org"}).headers
    assert 50 < int(headers["Retry-After"]) <= 60
    assert headers["X-RateLimit-Limit"] == "5"


def test_headers_are_of_what_was_decided_about_a_request(site: Client, server: Server) -> None:
    request = factory.get("/")
    assert http_headers(request) == {}
    is_ratelimited(request, group="unused", key="ip", rate="5/m")
    assert http_headers(request) == {}
    is_ratelimited(request, group="a:\u00e9", key="ip", rate="2/m", increment=True)
    is_ratelimited(request, group="b", key="ip", rate="1/h", increment=True)
    for _ in range(2):
        # A look, and a count: one limit.
        is_ratelimited(request, group="b", key="ip", rate="1/h")
        is_ratelimited(request, group="b", key="ip", rate="1/h", increment=True)
    assert [row.level for row in decided(request)] == ["a:?", "b"]
    headers = http_headers(request, reset="delta")
    assert headers["RateLimit-Policy"] == '"a:?";q=2;w=60, "b";q=1;w=3600'
    assert 3500 < int(headers["Retry-After"]) <= 3600
    # Of nothing there is never more.
    is_ratelimited(request, group="c", key="ip", rate="0/d", increment=True)
    assert http_headers(request)["Retry-After"] == "86400"
    request = factory.get("/")
    is_ratelimited(request, group="c", key="ip", rate="0/2m")
    assert http_headers(request) == {"Retry-After": "120"}
    # REST framework wraps requests.
    assert http_headers(Request(request)) == {"Retry-After": "120"}


def made(name: str) -> Any:
    """A module with views of the same names as another one's."""
    module = types.ModuleType(name)
    source = """
from django.views.generic import View
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django_ratelimit.decorators import ratelimit
from rest_framework.decorators import api_view, throttle_classes
from rest_framework.response import Response

class Answer(View):
    def get(self, request):
        return HttpResponse("welcome")

@method_decorator(ratelimit(key="ip", rate="1/m"), name="dispatch")
class Login(Answer):
    pass

class Outer:
    class Logout(Answer):
        pass

limit = ratelimit(key="ip", rate="1/m")
around = [limit(view.as_view()) for view in (Answer, Outer.Logout)]

@api_view()
@throttle_classes([])
def first(request):
    return Response("welcome")

@api_view()
@throttle_classes([])
def second(request):
    return Response("welcome")

around += [limit(first), limit(second)]
"""
    exec(source, vars(module))
    return module


def test_views_of_one_name_count_for_themselves(site: Client, server: Server) -> None:
    for name in ("shop", "office"):
        module = made(name)
        for view in (module.Login.as_view(), *module.around):
            view(factory.get("/"))
    assert set(server.admin.keys()) == {
        f"rl:{name}.{view}:127.0.0.1:1/1m"
        for name in ("shop", "office")
        for view in ("Login.View.dispatch", "Answer", "Outer.Logout", "first", "second")
    }


def test_views_that_do_not_block_are_told(site: Client) -> None:
    assert [site.get("/soft").json() for _ in range(2)] == [{"limited": False}, {"limited": True}]


def test_methods_of_class_based_views(site: Client) -> None:
    assert statuses(site, "/page", 2) == [200, 429]


async def test_asynchronous_class_based_views(server: Server) -> None:
    with using(cache(server.url)):
        client = AsyncClient()
        assert [(await client.get("/async")).status_code for _ in range(2)] == [200, 429]


def test_many_at_a_time_are_granted_exactly_the_limit(site: Client) -> None:
    barrier = threading.Barrier(64)

    def ask(number: int) -> bool:
        request = factory.get("/", HTTP_X_CALLER=str(number))
        barrier.wait()
        return is_ratelimited(request, group="many", key="ip", rate="10/h", increment=True)

    with ThreadPoolExecutor(64) as threads:
        assert list(threads.map(ask, range(64))).count(False) == 10


# What usage says


def usage(increment: bool = True, **options: Any) -> Any:
    return get_usage(factory.get("/"), **{"group": "g", "key": "ip", "rate": "2/m", "increment": increment, **options})


def test_usage_counts_what_was_granted(site: Client, server: Server) -> None:
    assert usage(increment=False) == {"count": 0, "limit": 2, "should_limit": False, "time_left": 0}
    assert usage() == {"count": 1, "limit": 2, "should_limit": False, "time_left": 60}
    assert 0 < usage(increment=False).pop("time_left") <= 60
    assert usage(increment=False).pop("count") == 1
    assert usage().pop("count") == 2
    for _ in range(3):
        denied = usage()
        assert denied["count"] == 3
        assert denied["should_limit"]
        assert 0 < denied["time_left"] <= 60
    # To look is to ask whether a request would be denied.
    assert {**usage(increment=False), "time_left": 0} == {"count": 3, "limit": 2, "should_limit": True, "time_left": 0}
    info = limiter().info("rl:g:127.0.0.1:2/1m")
    assert info is not None
    assert info.windows[0].used == 2


def test_the_window_slides(site: Client) -> None:
    assert not usage(rate="1/s")["should_limit"]
    assert usage(rate="1/s")["time_left"] <= 1
    eventually(lambda: not usage(rate="1/s")["should_limit"])


def test_a_limit_of_nothing_asks_nobody(site: Client, server: Server) -> None:
    server.admin.config_resetstat()
    for increment in (True, False):
        for rate in ("0/s", (0, 1)):
            assert usage(increment, rate=rate) == {"count": 1, "limit": 0, "should_limit": True, "time_left": 1}
    assert commands(server) == {}


def test_rates_count_for_themselves(site: Client) -> None:
    """As decorators that are stacked need it: one warns, the other blocks."""
    soft = [usage(rate="1/m")["should_limit"] for _ in range(3)]
    hard = [usage(rate="2/m")["should_limit"] for _ in range(3)]
    assert (soft, hard) == ([False, True, True], [False, False, True])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": None}, "group"),
        ({"key": None}, "needs a key"),
        ({"key": "nonsense"}, "unknown key of a rate limit: 'nonsense'"),
        ({"key": "cookie:a.b"}, "unknown key of a rate limit: 'cookie:a.b'"),
        ({"rate": "often"}, "not a rate of django-ratelimit: 'often'"),
        ({"rate": "5/0s"}, "greater than 0"),
    ],
)
def test_mistakes_are_told(site: Client, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        usage(**options)


# Settings


def test_nothing_is_asked_when_it_is_turned_off(site: Client, server: Server) -> None:
    server.admin.config_resetstat()
    with override_settings(RATELIMIT_ENABLE=False):
        assert statuses(site, "/", 4) == [200] * 4
    assert commands(server) == {}


def test_prefix_and_hash(site: Client, server: Server) -> None:
    with override_settings(RATELIMIT_CACHE_PREFIX="rl:shop:", RATELIMIT_HASH_ALGORITHM="hashlib.sha1"):
        usage()
    assert server.admin.keys() == ["rl:shop:g:4b84b15bff6ee5796152495a230e45e3d7e947d9:2/1m"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "2001%3Adb8%3A%3A"),
        ({"RATELIMIT_IPV6_MASK": 128}, "2001%3Adb8%3A%3A1"),
        ({"RATELIMIT_IP_META_KEY": "HTTP_X_REAL_IP"}, "192.0.2.7"),
        ({"RATELIMIT_IP_META_KEY": "HTTP_X_REAL_IP", "RATELIMIT_IPV4_MASK": 24}, "192.0.2.0"),
        ({"RATELIMIT_IP_META_KEY": lambda request: request.headers["x-real-ip"]}, "192.0.2.7"),
        ({"RATELIMIT_IP_META_KEY": lambda request: client_ip("2001:db8:1:2::3")}, "2001%3Adb8%3A1%3A2%3A%3A"),
    ],
)
def test_addresses(site: Client, server: Server, settings: dict[str, Any], expected: str) -> None:
    request = factory.get("/", REMOTE_ADDR="2001:db8::1", HTTP_X_REAL_IP="192.0.2.7")
    with override_settings(**settings):
        get_usage(request, group="g", key="ip", rate="5/m", increment=True)
    assert server.admin.keys() == [f"rl:g:{expected}:5/1m"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.5:8080", "192.0.2.5"),
        ("[2001:db8:1:2::3]:443", "2001%3Adb8%3A1%3A2%3A%3A"),
        ("[2001:db8:1:2::3]", "2001%3Adb8%3A1%3A2%3A%3A"),
        # Of a server that listens to both kinds. Its network, /64, would be that of all of them.
        ("::ffff:192.0.2.5", "192.0.2.5"),
        ("fe80::1%eth0", "fe80%3A%3A"),
    ],
)
@pytest.mark.parametrize("key", ["ip", "user_or_ip"])
def test_addresses_as_servers_write_them(key: str, address: str, expected: str, site: Client, server: Server) -> None:
    request = factory.get("/", REMOTE_ADDR=address)
    request.user = AnonymousUser()
    get_usage(request, group="g", key=key, rate="5/m", increment=True)
    assert server.admin.keys() == [f"rl:g:{expected}:5/1m"]


@pytest.mark.parametrize("address", ["", "unix:", "unix:/run/shop.sock", "unknown", "192.0.2.5, 198.51.100.1"])
def test_what_is_no_address_is_told_with_the_way_out(address: str, site: Client, server: Server) -> None:
    """All clients as one would lock each other out."""
    request = factory.get("/", REMOTE_ADDR=address, HTTP_X_REAL_IP=address)
    for settings in (
        {},
        {"RATELIMIT_IP_META_KEY": "HTTP_X_REAL_IP"},
        {"RATELIMIT_IP_META_KEY": "HTTP_X_MISSING"},
        {"RATELIMIT_IP_META_KEY": lambda request: address},
    ):
        with (
            override_settings(**settings),
            pytest.raises(ImproperlyConfigured, match=r"RATELIMIT_IP_META_KEY.*client_ip\(\) with trusted_proxies"),
        ):
            get_usage(request, group="g", key="ip", rate="5/m", increment=True)
    assert server.admin.dbsize() == 0


def test_the_functions_of_the_readme(site: Client, server: Server) -> None:
    text = Path(__file__).parent.with_name("README.md").read_text()
    section = text.partition("\n## django-ratelimit\n")[2].partition("\n## ")[0]
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE):
        exec(block, names)
    request = factory.get("/", REMOTE_ADDR="", HTTP_X_FORWARDED_FOR="6.6.6.6, 192.0.2.7:8080")
    with override_settings(RATELIMIT_IP_META_KEY=names["address"]):
        for _ in range(2):
            get_usage(request, group="g", key="ip", rate="1/m", increment=True)
    assert server.admin.keys() == ["rl:g:192.0.2.7:1/1m"]
    pages = {"django.template.loaders.locmem.Loader": {"429.html": "later"}}
    backend = "django.template.backends.django.DjangoTemplates"
    with override_settings(TEMPLATES=[{"BACKEND": backend, "OPTIONS": {"loaders": list(pages.items())}}]):
        refused = names["too_many_requests"](request, None).render()
    assert (refused.status_code, refused.content) == (429, b"later")
    assert 50 < int(refused.headers["Retry-After"]) <= 60


def test_another_cache_than_the_default(server: Server) -> None:
    caches = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "limits": cache(server.url),
    }
    with override_settings(CACHES=caches, RATELIMIT_USE_CACHE="limits"):
        usage()
    assert server.admin.dbsize() == 1


# Connections


@BACKENDS
@pytest.mark.parametrize("several", [False, True], ids=["one location", "several"])
def test_limits_are_where_the_cache_writes(backend: str, several: bool, start: Any) -> None:
    server = start(Server, "port 0", password="secret:/@")
    location: Any = f"unix://{server.socket}?db=3"
    location = [location, "redis://127.0.0.1:1/0"] if several else location
    name = "PASSWORD" if backend == DJANGO_REDIS else "password"
    with using(cache(location, backend, **{name: "secret:/@"})):
        assert statuses(Client(), "/", 4) == [200, 200, 200, 429]
    assert server.admin.info("keyspace").keys() == {"db3"}


@BACKENDS
def test_a_user_with_no_rights_but_to_limit(backend: str, start: Any) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    with using(cache(server.user_url, backend)):
        assert statuses(Client(), "/", 4) == [200, 200, 200, 429]
        assert Client().get("/usage").json()["limit"] == 2
        assert run_checks(tags=["caches"]) == []


@BACKENDS
def test_tls(backend: str, certificates: Certificates, start: Any) -> None:
    server = start(Server, certificates=certificates)
    with using(cache(server.tls_url, backend)):
        assert statuses(Client(), "/", 4) == [200, 200, 200, 429]


def test_options_of_the_connection_pool(start: Any) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    options = {"CONNECTION_POOL_KWARGS": {"max_connections": 2, "username": "app", "retry_on_timeout": True}}
    with using(cache(f"unix://{server.socket}", PASSWORD="secret", **options)):
        assert statuses(Client(), "/", 4) == [200, 200, 200, 429]


def test_caches_of_one_address_and_different_users(start: Any) -> None:
    """As if the limits have a user of their own."""
    server = start(Server, password="secret", user=RATE_LIMIT_ONLY)
    url = f"unix://{server.socket}"
    caches = {"default": cache(url, PASSWORD="secret"), "limits": cache(url, **APP)}
    with override_settings(CACHES=caches, RATELIMIT_USE_CACHE="limits"):
        django_caches["default"].set("something", "else")
        usage()
        users = [row["user"] for row in server.admin.client_list() if row["cmd"] == "rl.check"]
        assert users == ["app"]


@pytest.mark.parametrize("factory_in", ["settings", "options"])
def test_the_sentinel_client_of_django_redis_across_a_failover(factory_in: str, start: Any) -> None:
    group = start(Sentinels, password="secret", sentinel_password="sentinel", user=RATE_LIMIT_ONLY)
    factory = "django_redis.pool.SentinelConnectionFactory"
    entry = cache(
        "redis://mymaster/0",
        CLIENT_CLASS="django_redis.client.SentinelClient",
        SENTINELS=[("127.0.0.1", sentinel.port) for sentinel in group.sentinels],
        SENTINEL_KWARGS={"password": "sentinel"},
        USERNAME="app",
        PASSWORD="secret",
        **({"CONNECTION_FACTORY": factory} if factory_in == "options" else {}),
    )
    settings = {"DJANGO_REDIS_CONNECTION_FACTORY": factory} if factory_in == "settings" else {}
    with using(entry, **settings):
        assert statuses(Client(), "/", 2) == [200, 200]
        key = "rl:django_project.home:127.0.0.1:3/1m"
        before = group.primary
        eventually(lambda: all(server.admin.exists(key) for server in group.servers))
        group.fail_over()
        eventually(lambda: before.admin.info("replication")["role"] == "slave")
        with override_settings(RATELIMIT_FAIL_OPEN=True):
            # Whoever is asked now goes on where the other one was.
            assert eventually(lambda: statuses(Client(), "/", 2)[-1] == 429)
        assert group.primary.admin.info("commandstats")["cmdstat_rl.check"]["calls"] >= 2


# When there is no decision

OUTAGES: dict[str, tuple[Callable[[Server], AbstractContextManager[None]], list[str], dict[str, Any]]] = {
    "stopped": (killed, [], {}),
    "hanging": (paused, [], {"SOCKET_TIMEOUT": 0.5}),
    "loading": (loading, ["save 3600 1000000"], {}),
    "full": (configured("maxmemory", "1", "0"), [], {}),
    "password wanted": (password_wanted, [], {}),
    "wrong password": (password_changed, [], APP),
    "no rights": (key_forbidden, [], APP),
}


@pytest.mark.parametrize("fail_open", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("name", OUTAGES)
def test_fail_open_means_what_it_says(name: str, fail_open: bool, start: Any) -> None:
    breaks, lines, options = OUTAGES[name]
    server = start(Server, *lines, user=RATE_LIMIT_ONLY)
    client = Client()
    with using(cache(f"unix://{server.socket}", **options), RATELIMIT_FAIL_OPEN=fail_open):
        assert eventually(lambda: usage(group="before")) is not None
        with breaks(server):
            assert statuses(client, "/", 5) == ([200] * 5 if fail_open else [429] * 5)
            assert client.get("/soft").json() == {"limited": not fail_open}
            closed = {"count": 0, "limit": 0, "should_limit": True, "time_left": 1}
            assert usage() == (None if fail_open else closed)
            # What is refused may still be looked at if there is no room.
            if name != "full":
                assert usage(increment=False) == (None if fail_open else closed)
        # It recovers by itself, and limits again.
        eventually(lambda: (usage(group="after") or {}).get("count"))
        eventually(lambda: statuses(client, "/", 4)[-1] == 429)


@pytest.mark.parametrize("fail_open", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("rate", ["99999999999/d", "1/99999d"])
def test_a_limit_that_the_module_does_not_have_is_refused_and_said_once(
    rate: str, fail_open: bool, site: Client, caplog: pytest.LogCaptureFixture
) -> None:
    unusable._told.clear()
    with override_settings(RATELIMIT_FAIL_OPEN=fail_open):
        for increment in (True, False, True):
            found = usage(rate=rate, increment=increment)
            assert found["should_limit"]
            assert found["time_left"] >= 86_400
    [line] = caplog.messages
    assert "group 'g' of django-ratelimit" in line


@pytest.mark.parametrize("fail_open", [True, False], ids=["open", "closed"])
def test_a_wrong_password_from_the_start(fail_open: bool, start: Any) -> None:
    server = start(Server, password="right")
    with using(cache(f"unix://{server.socket}", PASSWORD="wrong"), RATELIMIT_FAIL_OPEN=fail_open):
        assert statuses(Client(), "/", 1) == ([200] if fail_open else [429])
        [warning] = run_checks(tags=["caches"])
        assert warning.id == "redis_ratelimit.W001"
        assert "WRONGPASS" in warning.msg


# What is no Redis, or not ours


@pytest.mark.parametrize("fail_open", [True, False], ids=["open", "closed"])
def test_a_server_without_the_module_is_a_mistake(fail_open: bool, start: Any) -> None:
    server = start(Server, load_module=False)
    with using(cache(server.url), RATELIMIT_FAIL_OPEN=fail_open):
        for increment in (True, False):
            with pytest.raises(ImproperlyConfigured, match=r"lacks the redis-ratelimit module.*loadmodule"):
                usage(increment)
        [error] = run_checks(tags=["caches"])
        assert error.id == "redis_ratelimit.E002"
        assert "loadmodule" in error.msg


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "LocMemCache, not django_redis.cache.RedisCache",
        ),
        (cache(["redis://a", "redis://b"], CLIENT_CLASS="django_redis.client.ShardClient"), "several servers"),
        (cache("http://127.0.0.1"), r"CACHES\['default'\]: "),
        (cache("redis://127.0.0.1", DJANGO, socket_timeout=-1), r"CACHES\['default'\]: timeout must be"),
    ],
    ids=["memory", "shards", "address", "timeout"],
)
def test_what_is_no_redis_is_a_mistake(entry: dict[str, Any], message: str) -> None:
    with using(entry, RATELIMIT_FAIL_OPEN=True):
        with pytest.raises(ImproperlyConfigured, match=message):
            usage()
        errors = [error for error in run_checks(tags=["caches"]) if error.id.startswith("redis_ratelimit")]
        assert [error.id for error in errors] == ["redis_ratelimit.E001"]
        with override_settings(RATELIMIT_ENABLE=False):
            assert not [error for error in run_checks(tags=["caches"]) if error.id.startswith("redis_ratelimit")]


@BACKENDS
def test_a_redis_with_the_module_has_no_complaints(backend: str, server: Server) -> None:
    with using(cache(server.url, backend)):
        assert run_checks(tags=["caches"]) == []


# Taking over


def test_another_release_of_django_ratelimit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django_ratelimit, "VERSION", (5, 0, 0))
    monkeypatch.setattr(django_ratelimit, "__version__", "5.0.0")
    with pytest.raises(ImproperlyConfigured, match=r"knows django-ratelimit 4\.1, not 5\.0\.0"):
        takeover.take_over()


@pytest.mark.parametrize("other", [lambda request: None, lambda *words, **named: get_usage(*words, **named), print])
def test_a_release_that_something_else_has_changed_is_refused(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "get_usage", other)
    with pytest.raises(ImproperlyConfigured, match="has been replaced already"):
        takeover.take_over()


# What is imported here is imported before the apps are ready.
EARLY = """
import django
from django.conf import settings
settings.configure(CACHES={"default": %r}, INSTALLED_APPS=%r)
import django_ratelimit.core
from django_ratelimit.core import get_usage, is_ratelimited
from django_ratelimit.decorators import ratelimit
theirs = [get_usage, is_ratelimited, ratelimit]
code = [function.__code__ for function in theirs]
@ratelimit(key="ip", rate="5/m")
def view(request):
    return request.limited
"""


def test_names_that_were_imported_before_the_apps_are_ours_as_well(server: Server) -> None:
    program = f"""
{EARLY % (cache(server.url), ["redis_ratelimit.django"])}
import logging
logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level="INFO")
django.setup()
django.apps.apps.get_app_config("redis_ratelimit").ready()
from django.test import RequestFactory
request = RequestFactory().get("/")
asked = dict(request=request, group="early", key="ip", rate="5/m", increment=True)
print(view(request), is_ratelimited(**asked), get_usage(**asked)["count"], get_usage.ALL == ratelimit.ALL)
# No function was altered.
print([function.__code__ for function in theirs] == code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False 2 True\nTrue\n"
    assert done.stderr == (
        "INFO redis_ratelimit redis_ratelimit.django has replaced __main__.get_usage, "
        "django_ratelimit.checks.SUPPORTED_CACHE_BACKENDS, django_ratelimit.core.get_usage\n"
    )
    assert set(server.admin.keys()) == {"rl:__main__.view:127.0.0.1:5/1m", "rl:early:127.0.0.1:5/1m"}


def test_one_changed_import_is_enough_and_changes_nothing_of_django_ratelimit(server: Server) -> None:
    program = f"""
{EARLY % (cache(server.url), [])}
django.setup()
from redis_ratelimit.django import ALL, UNSAFE, Ratelimited, get_usage, is_ratelimited, ratelimit
import django_ratelimit.exceptions
from django.test import RequestFactory
request = RequestFactory().get("/")
@ratelimit(key="ip", rate="1/m")
def view(request):
    return request.limited
asked = dict(request=request, group="early", key="ip", rate="5/m", increment=True)
print(view(request), is_ratelimited(**asked), get_usage(**asked)["count"], ratelimit.UNSAFE is UNSAFE)
try:
    view(request)
except django_ratelimit.exceptions.Ratelimited:
    print(request.limited)
print(theirs[0] is django_ratelimit.core.get_usage, [function.__code__ for function in theirs] == code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False 2 True\nTrue\nTrue True\n"
    assert set(server.admin.keys()) == {"rl:__main__.view:127.0.0.1:1/1m", "rl:early:127.0.0.1:5/1m"}


@pytest.mark.parametrize("name", ["get_usage", "is_ratelimited", "ratelimit"])
def test_the_functions_take_what_those_of_django_ratelimit_take(name: str) -> None:
    theirs = getattr(django_ratelimit.decorators if name == "ratelimit" else core, name)
    ours = getattr(redis_ratelimit.django, name)
    assert [
        (parameter.name, parameter.kind, parameter.default) for parameter in inspect.signature(ours).parameters.values()
    ] == [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(theirs).parameters.values()
    ]
    assert (ours.ALL, ours.UNSAFE) == (theirs.ALL, theirs.UNSAFE)


def test_the_app_needs_no_django_ratelimit(server: Server) -> None:
    """A project may have it for the throttles of REST framework alone."""
    program = f"""
import sys
sys.modules.update(django_ratelimit=None, django_redis=None)
import django
from django.conf import settings
settings.configure(CACHES={{"default": {cache(server.url, DJANGO)!r}}}, INSTALLED_APPS=["redis_ratelimit.django"])
django.setup()
from redis_ratelimit.django.connection import limiter
print(limiter().check("rl:a", "5/m").remaining)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "4\n"


# Observe mode


def test_in_observe_mode_nothing_is_limited(site: Client, server: Server) -> None:
    with override_settings(RATELIMIT_OBSERVE=True):
        assert statuses(site, "/", 5) == [200] * 5
        assert limiter().would_deny_total == 2
        request = factory.get("/")
        for _ in range(2):
            assert not is_ratelimited(request, group="a", key="ip", rate="1/h", increment=True)
        assert not is_ratelimited(request, group="a", key="ip", rate="1/h")
        assert [row.decision.would_deny for row in decided(request)] == [True]
        assert "Retry-After" not in http_headers(request)
        usage = get_usage(request, group="a", key="ip", rate="1/h", increment=True)
        assert usage is not None
        assert (usage["count"], usage["limit"], usage["should_limit"]) == (1, 1, False)
        assert limiter().would_deny_total == 5
    # What it has counted holds when it is over.
    assert statuses(site, "/", 1) == [429]
    assert is_ratelimited(factory.get("/"), group="a", key="ip", rate="1/h")


@pytest.mark.parametrize("rate", ["0/m", "99999999999/m"])
def test_in_observe_mode_a_limit_that_refuses_everything_does_not(
    rate: str, site: Client, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    request = factory.get("/")
    with override_settings(RATELIMIT_OBSERVE=True):
        usage = get_usage(request, group="a", key="ip", rate=rate, increment=True)
        assert usage is not None
        assert not usage["should_limit"]
        assert limiter().would_deny_total == 1
        assert "group 'a'" in next(record.getMessage() for record in caplog.records if "observe" in record.name)
    assert http_headers(request) == {}
    assert is_ratelimited(request, group="a", key="ip", rate=rate, increment=True)


@pytest.mark.parametrize("fail_open", [True, False])
def test_in_observe_mode_requests_pass_while_the_server_is_away(fail_open: bool, start: Any) -> None:
    server = start(Server)
    with using(cache(server.url)), override_settings(RATELIMIT_OBSERVE=True, RATELIMIT_FAIL_OPEN=fail_open):
        server.kill()
        assert statuses(Client(), "/", 5) == [200] * 5
        assert limiter().would_deny_total == (0 if fail_open else 5)


@pytest.mark.parametrize("wrong", ["False", "", 1, None])
def test_an_observe_mode_that_is_neither_is_refused(site: Client, wrong: Any) -> None:
    for rate in ("5/m", *(["0/m"] if wrong else [])):
        with (
            override_settings(RATELIMIT_OBSERVE=wrong),
            pytest.raises(ImproperlyConfigured, match="RATELIMIT_OBSERVE: observe must be True or False"),
        ):
            is_ratelimited(factory.get("/"), group="a", key="ip", rate=rate)


def test_denials_are_remembered_if_the_settings_say_so(site: Client, server: Server) -> None:
    with override_settings(RATELIMIT_CACHE_DENIALS=100):
        assert statuses(site, "/", 4) == [200, 200, 200, 429]
        server.admin.config_resetstat()
        assert statuses(site, "/", 4) == [429] * 4
        assert commands(server) == {}
    assert statuses(site, "/", 1) == [429]
    assert commands(server) == {"rl.check": 1}
    with override_settings(RATELIMIT_CACHE_DENIALS="many"), pytest.raises(ImproperlyConfigured, match="cache_denials"):
        limiter()
