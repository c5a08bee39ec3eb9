"""Throttles of REST framework in a Django project, on real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from django_project import DJANGO, DJANGO_REDIS, cache, using
from drf_project import Burst, Many, Ten, View
from servers import RATE_LIMIT_ONLY, Server, eventually
from test_django_ratelimit import BACKENDS, OUTAGES, commands

from redis_ratelimit import UnavailableError, unusable
from redis_ratelimit.drf import AnonRateThrottle, ScopedRateThrottle, SimpleRateThrottle, UserRateThrottle

# After the settings.
from django.core.checks import run_checks  # isort: skip
from django.core.cache import caches  # isort: skip
from django.core.exceptions import ImproperlyConfigured  # isort: skip
from django.test import Client, override_settings  # isort: skip
from django.utils.translation import gettext_lazy  # isort: skip
from rest_framework import throttling  # isort: skip
from rest_framework.request import Request  # isort: skip
from rest_framework.settings import api_settings  # isort: skip
from rest_framework.test import APIRequestFactory  # isort: skip
from redis_ratelimit.django.connection import limiter  # isort: skip

factory = APIRequestFactory()


@pytest.fixture(autouse=True)
def urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="drf_project"):
        yield


@pytest.fixture
def site(server: Server) -> Iterator[Client]:
    """The project, with an empty server as its cache."""
    with using(cache(server.url)):
        yield Client()


def statuses(client: Client, path: str, number: int, **headers: Any) -> list[int]:
    return [client.get(path, **headers).status_code for _ in range(number)]


def request(path: str = "/", **meta: Any) -> Request:
    return View().initialize_request(factory.get(path, **meta))


def ask(throttle: throttling.BaseThrottle, **meta: Any) -> bool:
    return throttle.allow_request(request(**meta), View())


def decided(throttle: SimpleRateThrottle) -> bool | None:
    """What the server itself says; None when it says nothing."""
    allowed = ask(throttle)
    assert throttle.decision is not None
    return None if throttle.decision.degraded else allowed


# Limits that there cannot be


def test_a_rate_that_the_module_does_not_have_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"rate of .*Endless: limit must be an integer from 1 to 4294967295"):

        class Endless(UserRateThrottle):
            rate = "99999999999/day"

    class Own(UserRateThrottle):
        rate = "endless"

        def parse_rate(self, rate: str) -> tuple[int, int]:
            return 1, 60

    assert Own().num_requests == 1


def test_rates_in_the_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[str]:
        return [error.msg for error in run_checks() if error.id == "redis_ratelimit.E003"]

    assert found() == []
    rates = {"anon": "99999999999/day", "user": "5/hour", "burst": "99999999999/day"}
    monkeypatch.setattr(throttling.SimpleRateThrottle, "THROTTLE_RATES", rates)
    # No default throttle has the scope of the last one.
    [message] = found()
    assert message.startswith("DEFAULT_THROTTLE_RATES['anon'] of REST_FRAMEWORK: limit must be an integer")
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_CLASSES", [ScopedRateThrottle])
    assert len(found()) == 2


def test_a_rate_that_shows_only_at_a_request_refuses_and_is_said_once(
    site: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unusable._told.clear()
    rates = {"anon": "99999999999/day", "user": "5/hour"}
    monkeypatch.setattr(throttling.SimpleRateThrottle, "THROTTLE_RATES", rates)
    for policy in ("open", "closed"):
        with override_settings(THROTTLE_FAILURE_POLICY=policy):
            response = site.get("/")
            assert response.status_code == 429
            assert int(response["Retry-After"]) == 86_400
    [line] = [record.message for record in caplog.records if record.name == "redis_ratelimit"]
    assert "scope 'anon' of REST framework" in line


# Drop-ins


def test_anonymous_and_users_are_limited_by_the_rates_in_the_settings(site: Client, server: Server) -> None:
    # Both throttles count those who are not logged in.
    assert statuses(site, "/", 5) == [200, 200, 200, 429, 429]
    assert statuses(site, "/", 7, headers={"x-user": "42"}) == [200] * 5 + [429] * 2
    assert statuses(site, "/", 1, headers={"x-user": "43"}) == [200]
    assert statuses(site, "/", 1, REMOTE_ADDR="192.0.2.9") == [200]
    assert set(server.admin.keys()) == {
        "rl:throttle:anon:127.0.0.1:1m",
        "rl:throttle:user:127.0.0.1:1h",
        "rl:throttle:user:42:1h",
        "rl:throttle:user:43:1h",
        "rl:throttle:anon:192.0.2.9:1m",
        "rl:throttle:user:192.0.2.9:1h",
    }


def test_scopes_are_those_of_the_views(site: Client, server: Server) -> None:
    assert statuses(site, "/upload", 3) == [200, 200, 429]
    assert statuses(site, "/upload", 1, headers={"x-user": "42"}) == [200]
    assert statuses(site, "/unscoped", 4) == [200] * 4
    assert statuses(site, "/unlimited", 4) == [200] * 4
    assert set(server.admin.keys()) == {"rl:throttle:uploads:127.0.0.1:1d", "rl:throttle:uploads:42:1d"}


def test_functions_are_limited(site: Client) -> None:
    assert statuses(site, "/login", 4) == [200, 200, 200, 429]


def test_ours_are_theirs() -> None:
    """For code that asks what a throttle is."""
    assert issubclass(AnonRateThrottle, throttling.AnonRateThrottle)
    assert issubclass(UserRateThrottle, (throttling.UserRateThrottle, SimpleRateThrottle))


def test_many_at_a_time_are_granted_exactly_the_limit(site: Client) -> None:
    barrier = threading.Barrier(64)

    def get(_: int) -> int:
        client = Client()
        barrier.wait()
        return client.get("/many").status_code

    with ThreadPoolExecutor(64) as threads:
        found = list(threads.map(get, range(64)))
    assert (found.count(200), found.count(429)) == (10, 54)


def test_each_throttle_asks_one_command(site: Client, server: Server) -> None:
    server.admin.config_resetstat()
    assert statuses(site, "/many", 12)[-1] == 429
    assert commands(server) == {"rl.check": 12}


def test_all_throttles_are_asked_and_the_longest_wait_counts(site: Client, server: Server) -> None:
    headers = {"x-user": "42"}
    assert 200 in statuses(site, "/", 5, headers=headers)
    server.admin.config_resetstat()
    refused = site.get("/several", headers=headers)
    # Burst had room, User had none, Anon does not look at users.
    assert refused.status_code == 429
    assert commands(server) == {"rl.check": 2}
    assert 1 < int(refused.headers["Retry-After"]) <= 3600


# How long to wait


def test_to_wait_as_long_as_it_says_is_enough(site: Client) -> None:
    throttle = Burst()
    assert [ask(throttle) for _ in range(2)] == [True, True]
    for _ in range(3):
        if ask(throttle):
            continue
        wait = throttle.wait()
        assert wait is not None
        assert 0 < wait <= 1
        time.sleep(wait)
        assert ask(throttle)


def test_the_wait_is_that_until_the_oldest_request_leaves_the_window(site: Client) -> None:
    throttle = Ten()
    assert throttle.wait() is None
    for _ in range(10):
        assert ask(throttle)
        assert throttle.wait() == 0
    # DRF's own would divide what is left of the hour by the requests that are not left.
    for _ in range(2):
        assert not ask(throttle)
        assert throttle.decision is not None
        assert throttle.decision.remaining == 0
        assert 3500 < (throttle.wait() or 0) <= 3600
    refused = Client().get("/many")
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert b"Expected available in 3" in refused.content


def test_a_limit_that_was_lowered_still_says_how_long(site: Client) -> None:
    class Fewer(Ten):
        rate = "2/hour"

    assert [ask(Ten()) for _ in range(5)] == [True] * 5
    throttle = Fewer()
    assert not ask(throttle)
    assert 3500 < (throttle.wait() or 0) <= 3600


def test_where_nothing_passes_the_wait_is_the_whole_duration(site: Client, server: Server) -> None:
    class Nothing(Ten):
        rate = "0/hour"

    server.admin.config_resetstat()
    throttle = Nothing()
    assert not ask(throttle)
    assert throttle.wait() == 3600
    assert commands(server) == {}
    Many.throttle_classes = (Nothing,)
    try:
        assert Client().get("/many").headers["Retry-After"] == "3600"
    finally:
        Many.throttle_classes = (Ten,)


# What subclasses may change


def test_the_methods_to_override_are_those_of_the_framework(site: Client, server: Server) -> None:
    told = []

    class Custom(SimpleRateThrottle):
        cache_format = "custom_%(scope)s_%(ident)s"
        scope = "mine"

        def get_rate(self) -> str:
            return "2/15m"

        def parse_rate(self, rate: str | None) -> tuple[int, int]:
            assert rate == "2/15m"
            return 2, 15 * 60

        def get_cache_key(self, request: Request, view: Any) -> str:
            return self.cache_format % {"scope": self.scope, "ident": "{a}:" + self.get_ident(request)}

        def throttle_success(self) -> bool:
            told.append("success")
            return super().throttle_success()

        def throttle_failure(self) -> bool:
            told.append("failure")
            return super().throttle_failure()

    assert [ask(Custom()) for _ in range(3)] == [True, True, False]
    assert told == ["success", "success", "failure"]
    assert server.admin.keys() == ["rl:throttle:mine:custom_mine_%7Ba%7D%3A127.0.0.1:15m"]


@pytest.mark.parametrize(
    ("ident", "expected"),
    [
        ("ann", "ann"),
        (b"ann", "ann"),
        ("j\u00fcrgen", "j\u00fcrgen"),
        (42, "42"),
        (4.5, "4.5"),
        (True, "True"),
        (UUID(int=7), str(UUID(int=7))),
        (("ann", 3), "('ann', 3)"),
        (gettext_lazy("a text"), "a text"),
        (date(2026, 1, 2), "2026-01-02"),
    ],
    ids=str,
)
def test_a_key_may_be_whatever_the_framework_takes(ident: Any, expected: str, site: Client, server: Server) -> None:
    class Mine(Ten):
        def get_cache_key(self, request: Request, view: Any) -> Any:
            return ident

    assert [ask(Mine()) for _ in range(11)] == [True] * 10 + [False]
    assert server.admin.keys() == [f"rl:throttle:{expected}:1h"]


def test_nobody_is_limited_without_a_key(site: Client, server: Server) -> None:
    assert statuses(site, "/many?free", 11) == [200] * 11
    assert server.admin.dbsize() == 0


def test_the_cache_may_be_another(server: Server) -> None:
    with override_settings(
        CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}, "other": cache(server.url)}
    ):

        class Other(Ten):
            cache = caches["other"]
            key_prefix = "rl:api"

        assert [ask(Other()) for _ in range(11)] == [True] * 10 + [False]
    assert server.admin.keys() == ["rl:api:everybody:1h"]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9:4711", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (None, "6.6.6.6, 203.0.113.9", "6.6.6.6,203.0.113.9"),
        (1, "2001:db8:1:2:3:4:5:6", "2001%3Adb8%3A1%3A2%3A%3A/64"),
    ],
)
def test_addresses_behind_proxies(
    proxies: int | None, forwarded: str, expected: str, site: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_settings, "NUM_PROXIES", proxies)
    assert ask(AnonRateThrottle(), REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=forwarded)
    assert server.admin.keys() == [f"rl:throttle:anon:{expected}:1m"]


# Settings


def test_throttling_can_be_disabled_at_any_time(site: Client, server: Server) -> None:
    assert statuses(site, "/login", 4)[-1] == 429
    server.admin.config_resetstat()
    with override_settings(DISABLE_THROTTLING=True):
        assert statuses(site, "/login", 4) == [200] * 4
        assert statuses(site, "/upload", 4) == [200] * 4
    assert commands(server) == {}
    assert statuses(site, "/login", 1) == [429]


def test_a_policy_that_is_none_is_a_mistake(site: Client) -> None:
    with (
        override_settings(THROTTLE_FAILURE_POLICY="perhaps"),
        pytest.raises(
            ImproperlyConfigured, match="THROTTLE_FAILURE_POLICY: policy must be 'open', 'closed' or 'raise'"
        ),
    ):
        site.get("/")


# When there is no decision


@pytest.mark.parametrize("policy", [None, "open", "closed", "raise"])
@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_is_no_500(name: str, policy: str | None, start: Any) -> None:
    breaks, lines, options = OUTAGES[name]
    server = start(Server, *lines, user=RATE_LIMIT_ONLY)
    client = Client()
    settings = {} if policy is None else {"THROTTLE_FAILURE_POLICY": policy}
    with using(cache(f"unix://{server.socket}", **options), **settings):
        assert eventually(lambda: ask(Burst()))
        with breaks(server):
            if policy == "raise":
                with pytest.raises(UnavailableError):
                    client.get("/")
            elif policy == "closed":
                refused = client.get("/")
                assert refused.status_code == 429
                assert refused.headers["Retry-After"] == "1"
            else:
                assert statuses(client, "/", 5) == [200] * 5
            # What that one throttle says.
            assert statuses(client, "/login", 2) == [429, 429]
        # It recovers by itself, and limits again.
        eventually(lambda: decided(UserRateThrottle()))
        eventually(lambda: decided(Ten()) is False)
        eventually(lambda: client.get("/many").status_code == 429)


@BACKENDS
def test_redis_stopped_started_and_with_another_password(backend: str, start: Any) -> None:
    server = start(Server, password="right")
    name = "PASSWORD" if backend == DJANGO_REDIS else "password"
    with using(cache(f"unix://{server.socket}", backend, **{name: "right"})):
        client = Client()
        assert statuses(client, "/many", 5) == [200] * 5
        server.kill()
        assert statuses(client, "/many", 20) == [200] * 20
        server.start()
        assert statuses(client, "/many", 11) == [200] * 10 + [429]
        server.admin.config_set("requirepass", "other")
        server.admin.client_kill_filter(skipme=True)
        assert statuses(client, "/many", 3) == [200] * 3
        server.admin.config_set("requirepass", "right")
        assert statuses(client, "/many", 1) == [429]
    with using(cache(f"unix://{server.socket}", backend, **{name: "wrong"})):
        assert statuses(client, "/many", 3) == [200] * 3


def test_a_server_without_the_module_is_a_mistake(start: Any) -> None:
    server = start(Server, load_module=False)
    with (
        using(cache(server.url, DJANGO)),
        pytest.raises(ImproperlyConfigured, match="lacks the redis-ratelimit module"),
    ):
        Client().get("/")


def test_what_is_no_redis_is_a_mistake() -> None:
    with (
        using({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}),
        pytest.raises(
            ImproperlyConfigured, match=r"CACHES\['default'\] is django\.core\.cache\.backends\.locmem\.LocMemCache"
        ),
    ):
        Client().get("/")


# Observe mode


def test_in_observe_mode_nothing_is_refused(site: Client) -> None:
    with override_settings(THROTTLE_OBSERVE=True):
        assert statuses(site, "/", 5) == [200] * 5
        assert limiter().would_deny_total == 2
        throttle = AnonRateThrottle()
        assert ask(throttle)
        assert throttle.decision is not None
        assert throttle.decision.would_deny
        assert throttle.wait() == 0
    assert statuses(site, "/", 1) == [429]


def test_one_throttle_may_observe_or_not(site: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for one, setting, expected in ((True, False, [200] * 5), (False, True, [200, 200, 200, 429, 429])):
        monkeypatch.setattr(AnonRateThrottle, "observe", one)
        limiter().reset("rl:throttle:anon:127.0.0.1:1m")
        with override_settings(THROTTLE_OBSERVE=setting):
            assert statuses(site, "/", 5) == expected


@pytest.mark.parametrize("rate", ["0/min", "99999999999/min"])
def test_in_observe_mode_a_limit_that_refuses_everything_does_not(
    rate: str, site: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling.SimpleRateThrottle, "THROTTLE_RATES", {"anon": rate, "user": "5/hour"})
    with override_settings(THROTTLE_OBSERVE=True):
        assert statuses(site, "/", 2) == [200, 200]
        assert limiter().would_deny_total == 2
    assert statuses(site, "/", 1) == [429]


@pytest.mark.parametrize("policy", ["open", "closed", "raise"])
def test_in_observe_mode_requests_pass_while_the_server_is_away(policy: str, start: Any) -> None:
    server = start(Server)
    with (
        using(cache(server.url)),
        override_settings(THROTTLE_OBSERVE=True, THROTTLE_FAILURE_POLICY=policy),
    ):
        server.kill()
        assert statuses(Client(), "/", 2) == [200, 200]
        # Two throttles were asked each time.
        assert limiter().would_deny_total == (0 if policy == "open" else 4)


def test_an_observe_mode_that_is_neither_is_refused(site: Client) -> None:
    with (
        override_settings(THROTTLE_OBSERVE="False"),
        pytest.raises(ImproperlyConfigured, match="THROTTLE_OBSERVE: observe must be True or False"),
    ):
        ask(Ten())
