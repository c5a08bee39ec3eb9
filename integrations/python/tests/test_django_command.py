"""`manage.py ratelimit`, on a cache's connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import django_project  # noqa: F401 - the settings
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from servers import Server

from redis_ratelimit import RateLimiter, key


def caches(url: str) -> dict[str, Any]:
    return {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "limits": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url},
    }


@pytest.fixture
def limited(start: Any) -> Iterator[Server]:
    server = start(Server, tcp=True, password="hunter22")
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        for _ in range(3):
            limiter.check(key("login", "192.0.2.1"), "1/h")
    with override_settings(CACHES=caches(f"{server.tcp_url}?socket_timeout=20")):
        yield server


def ratelimit(*words: str) -> str:
    out = StringIO()
    call_command("ratelimit", *words, stdout=out)
    return out.getvalue()


def test_it_does_what_the_console_script_does(limited: Server) -> None:
    assert json.loads(ratelimit("--cache", "limits", "stats", "--json"))["total"]["denied"] == 2
    assert "rl:login:192.0.2.1" in ratelimit("--cache", "limits", "top")
    assert ratelimit("--cache", "limits", "health").startswith(f"ok 127.0.0.1:{limited.port}: role master")
    words = ("--cache", "limits", "reset", "--scope", "login", "--key", "192.0.2.1")
    assert ratelimit(*words) == "rl:login:192.0.2.1\n1 forgotten\n"


def test_what_cannot_be_done_is_a_command_error(limited: Server) -> None:
    with pytest.raises(CommandError, match="django_redis"):
        ratelimit("stats")
    with pytest.raises(CommandError, match="--key or --raw"):
        ratelimit("--cache", "limits", "reset")
    limited.kill()
    with pytest.raises(CommandError, match="CONNECTION"):
        ratelimit("--cache", "limits", "stats")
    err = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("ratelimit", "--cache", "limits", "health", stderr=err)
    assert failed.value.returncode == 1
    assert f"127.0.0.1:{limited.port}: CONNECTION" in err.getvalue()
    assert "hunter22" not in err.getvalue()
