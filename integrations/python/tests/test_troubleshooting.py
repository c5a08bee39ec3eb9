"""What docs/troubleshooting.md says of Python is what is said, and what helps."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django_project import cache, using
from django_ratelimit.decorators import ratelimit
from django_ratelimit.exceptions import Ratelimited
from servers import RATE_LIMIT_ONLY, Server, eventually, module
from test_shell_blocks import ROOT, block

import redis_ratelimit.limits
from redis_ratelimit import ModuleMissingError, RateLimiter, UnavailableError, admin

DOCUMENT = ROOT / "docs/troubleshooting.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE))


def quotes(section: str, said: str) -> bool:
    """Whether a code span of the section is this text; `…` in it is anything."""
    spans = re.findall("`([^`]+)`", " ".join(SECTIONS[section].split()))
    patterns = (".*".join(re.escape(part.strip()) for part in span.split("…")) for span in spans if " " in span)
    return any(re.search(pattern, said) for pattern in patterns)


def test_an_address_without_the_import() -> None:
    script = "from limits.storage import storage_from_string; storage_from_string('rl://:hunter22@localhost')"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    said = result.stderr.splitlines()[-1]
    assert said.startswith("limits.errors.ConfigurationError: ")
    assert quotes("unknown storage scheme", said)
    # As the document warns.
    assert "hunter22" in said


def test_the_import_and_a_password_beside_the_address(start: Callable[..., Server]) -> None:
    server = start(Server, tcp=True, password="secret")
    text = block(DOCUMENT, "scheme")
    names: dict[str, Any] = {}
    exec(text.replace("localhost:6379", f"127.0.0.1:{server.port}").replace('"secret"', '"secret", timeout=20'), names)
    assert names["storage"].check()
    assert isinstance(names["storage"], redis_ratelimit.limits.RateLimitStorage)


def test_wherever_a_document_shows_the_address_it_shows_the_import() -> None:
    shown = 0
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    for path in listed.stdout.split():
        for fence in re.findall(r"^```(?:python|diff)\n(.*?)^```", (ROOT / path).read_text(), re.DOTALL | re.MULTILINE):
            # Limiters of our own know the address without it.
            if re.search(r"(storage_uri=|storage_from_string\()\"(async\+)?rl", fence):
                assert re.search(r"^\+?import redis_ratelimit\.limits$", fence, re.MULTILINE), path
                shown += 1
    assert shown >= 4


def test_a_new_primary_without_the_module(start: Callable[..., Server]) -> None:
    primary = start(Server, tcp=True)
    replica = start(
        Server, f"replicaof 127.0.0.1 {primary.port}", "enable-module-command local", tcp=True, load_module=False
    )
    with RateLimiter.from_url(primary.url, timeout=20) as before:
        assert before.check("rl:a", "2/h").remaining == 1
    eventually(lambda: replica.admin.exists("rl:a"))
    primary.kill()
    replica.run("REPLICAOF NO ONE")
    with RateLimiter.from_url(replica.url, policy="open", timeout=20) as after:
        with pytest.raises(ModuleMissingError) as caught:
            after.check("rl:a", "2/h")
        assert quotes("The server lacks the module", str(caught.value))
        assert [health.problem.partition(":")[0] for health in admin.health(after)] == ["NOMODULE"]
        replica.run(f"MODULE LOAD {module()}")
        # The limit goes on where it was.
        assert [after.check("rl:a", "2/h").allowed for _ in range(2)] == [True, False]


def test_a_database_that_the_user_may_not_select(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    url = f"{server.user_url}{'&' if '?' in server.user_url else '?'}db=1"
    with RateLimiter.from_url(url, timeout=20) as limiter:
        with pytest.raises(UnavailableError, match="NOPERM") as caught:
            limiter.check("rl:a", "5/m")
        assert quotes("NOPERM select", str(caught.value))
    caplog.clear()
    with RateLimiter.from_url(url, policy="open", timeout=20) as limiter:
        assert [limiter.check("rl:a", "1/m").degraded for _ in range(3)] == ["NOPERM"] * 3
        [line] = caplog.messages
        assert quotes("NOPERM select", line)
        server.run("ACL SETUSER app +select")
        assert [limiter.check("rl:a", "1/m").allowed for _ in range(2)] == [True, False]


THREE = 3


def elapsed(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    ask()
    return time.monotonic() - began


@pytest.mark.parametrize("fail_open", [True, False], ids=["open", "closed"])
def test_stacked_decorators_wait_one_after_the_other_when_redis_hangs(
    fail_open: bool, start: Callable[..., Server]
) -> None:
    server = start(Server)
    hangs = 0.5

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("welcome")

    for name in range(THREE):
        view = ratelimit(key="ip", rate="5/m", group=f"stacked {name}")(view)
    with using(cache(f"unix://{server.socket}", SOCKET_TIMEOUT=hangs), RATELIMIT_FAIL_OPEN=fail_open):
        assert view(RequestFactory().get("/")).status_code == 200
        with server.paused():

            def ask() -> None:
                with nullcontext() if fail_open else pytest.raises(Ratelimited):
                    view(RequestFactory().get("/"))

            assert elapsed(ask) >= (THREE if fail_open else 1) * hangs
    # A cache of its own for limits.
    caches = {
        "default": cache(f"unix://{server.socket}", SOCKET_TIMEOUT=60),
        "limits": cache(f"unix://{server.socket}", SOCKET_TIMEOUT=0.05),
    }
    with override_settings(CACHES=caches, RATELIMIT_USE_CACHE="limits", RATELIMIT_FAIL_OPEN=True), server.paused():
        assert elapsed(lambda: view(RequestFactory().get("/"))) < 60
