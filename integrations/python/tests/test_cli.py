"""The command `ratelimit`, as a process of its own, on real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from servers import RATE_LIMIT_ONLY, Cluster, Sentinels, Server, eventually

from redis_ratelimit import RateLimiter, cli, key
from redis_ratelimit.admin import Filter
from redis_ratelimit.escapes import printable, unprintable
from redis_ratelimit.multilevel import Level, MultiLevelLimiter

COMMAND = [sys.executable, "-m", "redis_ratelimit.cli"]
NASTY = b"rl:nasty:\x1b[2J\xff\r\n\\\xe2\x80\xae\xc2\x9b31m"


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REDIS_")}
    return {**kept, "COLUMNS": "200", **more}


def ratelimit(*words: str | bytes, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command; the keywords are its environment."""
    command = [*COMMAND, *words]
    return subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=60, check=False)


def done(*words: str | bytes, **more: str) -> str:
    """Run the command, which must succeed, and return what it prints."""
    result = ratelimit(*words, "--timeout", "20", **more)
    assert (result.stderr, result.returncode) == ("", 0)
    return result.stdout


def failed(*words: str | bytes, code: int = 1, **more: str) -> str:
    """Run the command, which must fail and say so in one line, and return that."""
    result = ratelimit(*words, **more)
    assert (result.stdout, result.returncode) == ("", code)
    assert re.fullmatch(r"ratelimit[^\n]*: [^\n]*\n", result.stderr)
    return result.stderr


@pytest.fixture
def traffic(start: Any) -> Server:
    """A server with limiters of several kinds, and denials."""
    server: Server = start(Server)
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        for number in range(1, 4):
            for _ in range(number + 1):
                limiter.check(key("login", f"192.0.2.{number}"), "1/h")
        limiter.check(key("login", "2001:db8:1:2::/64"), "1/h")
        limiter.check(key("api", "192.0.2.1"), "1/h", "9/d", block="2h")
        levels = MultiLevelLimiter(
            limiter, [Level("ip", "5/h"), Level("user", "5/h; 9/d")], scope="login", shard="{rl}"
        )
        levels.check({"ip": "192.0.2.1", "user": "ann"})
        for _ in range(9):
            limiter.gcra(NASTY, "5/h", burst=3)
    server.admin.set("rl:login:192.0.2.1:other", "not a limiter")
    return server


# Looking


def test_stats_are_the_counters_of_the_server(traffic: Server) -> None:
    text = done("stats", REDIS_URL=traffic.url)
    assert re.search(r"^denied +12$", text, re.MULTILINE)
    assert re.search(r"^check +11 +0 +5 +6 +0$", text, re.MULTILINE)
    found = json.loads(done("stats", "--json", "--url", traffic.url))
    assert found["servers"] == {traffic.socket: found["total"]}
    assert found["total"]["gcra_denied"] == 6
    assert found["total"]["mcheck_granted"] == 1


def test_stats_of_keys_are_their_windows(traffic: Server) -> None:
    text = done("stats", "--scope", "api", "--key", "192.0.2.1", REDIS_URL=traffic.url)
    lines = [re.split(r"  +", line) for line in text.splitlines()]
    assert [line[:5] for line in lines] == [
        ["key", "limit", "window", "used", "remaining"],
        ["rl:api:192.0.2.1", "1", "3600s", "1", "0"],
        ["rl:api:192.0.2.1", "9", "86400s", "1", "8"],
    ]
    found = json.loads(done("stats", "--json", "--scope", "login", REDIS_URL=traffic.url))
    assert [entry["key"] for entry in found["keys"]] == [
        "rl:login:192.0.2.1",
        "rl:login:192.0.2.2",
        "rl:login:192.0.2.3",
        "rl:login:2001%3Adb8%3A1%3A2%3A%3A/64",
        "rl:{rl}:login:ip:192.0.2.1",
        "rl:{rl}:login:user:ann",
        "rl:{rl}:login:user:ann:1h",
    ]
    assert done("stats", "--scope", "nobody", REDIS_URL=traffic.url) == "nothing in use\n"


def test_top_lists_the_keys_denied_most(traffic: Server) -> None:
    lines = [re.split(r"  +", line, maxsplit=3) for line in done("top", REDIS_URL=traffic.url).splitlines()]
    assert lines[0] == ["denials", "error", "database", "key"]
    assert [(line[0], line[3]) for line in lines[1:]] == [
        ("6", printable(NASTY)),
        ("3", "rl:login:192.0.2.3"),
        ("2", "rl:login:192.0.2.2"),
        ("1", "rl:login:192.0.2.1"),
    ]
    found = json.loads(done("top", "--json", "--scope", "login", "--count", "2", REDIS_URL=traffic.url))
    assert found == {
        "keys": [
            {"key": "rl:login:192.0.2.3", "database": 0, "denials": 3, "error": 0},
            {"key": "rl:login:192.0.2.2", "database": 0, "denials": 2, "error": 0},
        ]
    }
    assert len(done("top", "--key", "192.0.2.2", REDIS_URL=traffic.url).splitlines()) == 2
    everything = done("top", REDIS_URL=traffic.url)
    assert done("top", "--database", "0", REDIS_URL=traffic.url) == everything
    assert len(done("top", "--database", "1", REDIS_URL=traffic.url).splitlines()) == 1


def test_nothing_in_a_key_reaches_the_terminal(traffic: Server) -> None:
    for command in (["top"], ["stats", "--scope", "nasty"], ["reset", "--scope", "nasty", "--all"]):
        text = done(*command, REDIS_URL=traffic.url)
        assert r"rl:nasty:\x1b[2J\xff\x0d\x0a\\\u202e\u009b31m" in text
        assert all(character == "\n" or character.isprintable() for character in text)


def test_a_key_that_is_no_text_is_also_in_hexadecimal(traffic: Server) -> None:
    [first, *_] = json.loads(done("top", "--json", REDIS_URL=traffic.url))["keys"]
    assert bytes.fromhex(first["key_hex"]) == NASTY


def test_what_a_terminal_cannot_show_is_escaped(traffic: Server) -> None:
    with RateLimiter.from_url(traffic.url, timeout=20) as limiter:
        limiter.check("rl:umlaut:ä", "5/h")
    words = ["stats", "--scope", "umlaut"]
    assert "rl:umlaut:ä" in done(*words, REDIS_URL=traffic.url, PYTHONIOENCODING="utf-8")
    assert r"rl:umlaut:\xe4" in done(*words, REDIS_URL=traffic.url, PYTHONIOENCODING="ascii")


@pytest.mark.parametrize(
    "text", [b"", b"plain", NASTY, "ä€😀\u2028\U000e0001".encode(), b"\\x1b", b"\xed\xa0\x80", bytes(range(256))]
)
def test_escapes_are_read_back(text: bytes) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert unprintable(shown) == text
    assert unprintable(os.fsencode(shown)) == text


@pytest.mark.parametrize(
    ("scope", "values", "found", "fits"),
    [
        ("login", ("192.0.2.1",), "rl:login:192.0.2.1", True),
        ("login", ("192.0.2.1",), "rl:login:192.0.2.10", False),
        ("login", ("192.0.2.1",), "rl:login:1192.0.2.1", False),
        ("login", ("192.0.2.1",), "rl:login:ip:192.0.2.1:1m", True),
        ("login:ip", ("192.0.2.1",), "rl:{rl}:login:ip:192.0.2.1:1m", True),
        ("log", (), "rl:login:192.0.2.1", False),
        ("login", ("login",), "rl:login:192.0.2.1", False),
        ("login", ("2001:db8::7",), "rl:login:2001%3Adb8%3A%3A/64", True),
        ("login", (64 * "é",), key("login", 64 * "é"), True),
        ("login", (b"\xff",), "rl:login:%FF", True),
        ("a" * 70, (), f"rl:{'a' * 70}:x", True),
        ("a" * 70, (), key("a" * 70, "x"), True),
        ("limits", ("192.0.2.1", "login"), "rl:limits:LIMITER/192.0.2.1/login/5/1/minute", True),
        ("limits", ("192.0.2.1", "logout"), "rl:limits:LIMITER/192.0.2.1/login/5/1/minute", False),
        (None, ("ann",), "rl:api:ann", True),
        (None, (), "other:api:ann", False),
    ],
)
def test_which_keys_are_meant(scope: str | None, values: Any, found: str, fits: bool) -> None:
    assert Filter("rl", scope, values).fits(found.encode()) is fits


# Resetting


def test_reset_forgets_a_value_wherever_it_stands_in_the_scope(traffic: Server) -> None:
    dry = done("reset", "--scope", "login", "--key", "192.0.2.1", "--dry-run", REDIS_URL=traffic.url)
    assert dry == "rl:login:192.0.2.1\nrl:{rl}:login:ip:192.0.2.1\n2 would be forgotten\n"
    text = done("reset", "--scope", "login", "--key", "192.0.2.1", REDIS_URL=traffic.url)
    assert text == "rl:login:192.0.2.1\nrl:{rl}:login:ip:192.0.2.1\n2 forgotten\n"
    # What is no limiter is left alone, and so are others.
    assert traffic.admin.get("rl:login:192.0.2.1:other") == "not a limiter"
    assert traffic.admin.exists("rl:api:192.0.2.1", "rl:login:192.0.2.2") == 2
    # An address stands for its network.
    assert "1 forgotten" in done("reset", "--scope", "login", "--key", "2001:db8:1:2::9", REDIS_URL=traffic.url)
    assert done("reset", "--scope", "login", "--key", "nobody", REDIS_URL=traffic.url) == "0 forgotten\n"


def test_reset_forgets_a_whole_scope_only_when_told(traffic: Server) -> None:
    for words in ([], ["--scope", "login"], ["--all"]):
        assert "--key or --raw" in failed("reset", *words, code=2, REDIS_URL=traffic.url)
    found = json.loads(done("reset", "--json", "--scope", "login", "--all", REDIS_URL=traffic.url))
    assert found["reset"] == len(found["keys"]) == 7
    assert sorted(traffic.admin.keys("rl:[al]*")) == ["rl:api:192.0.2.1", "rl:login:192.0.2.1:other"]


def test_reset_takes_a_key_as_top_shows_it(traffic: Server) -> None:
    shown = done("top", "--count", "1", REDIS_URL=traffic.url).splitlines()[1].split("  ")[-1].strip()
    assert done("reset", "--raw", shown, REDIS_URL=traffic.url).endswith("\n1 forgotten\n")
    assert not traffic.admin.exists(NASTY)
    # So it does other bytes.
    with RateLimiter.from_url(traffic.url, timeout=20) as limiter:
        limiter.check(b"\xff", "5/h")
    assert done("reset", "--raw", b"\xff", REDIS_URL=traffic.url) == "\\xff\n1 forgotten\n"


def test_a_user_without_a_search_resets_exactly(start: Any) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    with RateLimiter.from_url(server.user_url, timeout=20) as limiter:
        limiter.check(key("login", "192.0.2.1"), "5/h")
    words = ["reset", "--scope", "login", "--key", "192.0.2.1"]
    assert "NOPERM" in failed(*words, "--timeout", "20", REDIS_URL=server.user_url)
    assert done(*words, "--exact", REDIS_URL=server.user_url) == "rl:login:192.0.2.1\n1 forgotten\n"


# Health


def test_health_says_what_works(start: Any) -> None:
    server = start(Server, tcp=True, password="pass%/@word")
    url = f"redis://127.0.0.1:{server.port}"
    line = done("health", REDIS_URL=url, REDIS_PASSWORD="pass%/@word")
    assert re.fullmatch(
        rf"ok 127\.0\.0\.1:{server.port}: role master, (redis|valkey) [0-9.]+, module [0-9.]+, latency [0-9.]+ ms\n",
        line,
    )
    [found] = json.loads(done("health", "--json", REDIS_URL=f"redis://:pass%25%2F%40word@127.0.0.1:{server.port}"))[
        "servers"
    ]
    assert (found["ok"], found["problem"], found["role"]) == (True, None, "master")
    # It has charged nothing, and nobody's denials are more.
    assert server.admin.dbsize() == 0
    assert server.admin.execute_command("RL.TOP") == []
    assert found["counted"] is False
    assert (counters(server)["decisions"], counters(server)["errors"]) == (0, 0)


def unhealthy(*words: str, **more: str) -> tuple[str, dict[str, Any]]:
    """Return what `health` says, as text and as JSON."""
    line = failed("health", *words, **more)
    result = ratelimit("health", "--json", *words, **more)
    assert (result.returncode, result.stderr) == (1, "")
    found = json.loads(result.stdout)
    assert found["ok"] is False
    [server] = found["servers"]
    assert f": {server['problem'].partition(':')[0]}:" in line
    return line, server


def test_one_address_serves_the_application_and_the_command(traffic: Server) -> None:
    """An application that limits through `limits` has an rl:// address, perhaps an asynchronous one."""
    for scheme in ("rl+unix", "async+rl+unix"):
        url = traffic.url.replace("unix://", f"{scheme}://")
        assert json.loads(done("health", "--json", REDIS_URL=url))["ok"]
        assert done("stats", "--url", url) == done("stats", "--url", traffic.url)


@pytest.mark.parametrize(
    ("query", "text"),
    [("protocol=4", "protocol"), ("socket_timeout=-1", "socket_timeout"), ("colour=red", "colour"), ("db=x", "db")],
)
def test_an_option_that_cannot_be_used_is_wrong_usage(query: str, text: str) -> None:
    for scheme in ("redis", "rl", "redis+cluster"):
        line = failed("stats", "--url", f"{scheme}://app:hidden@localhost?{query}", code=2)
        assert text in line
        assert "hidden" not in line


@pytest.mark.parametrize(
    ("login", "more", "code"),
    [
        (":wrong-one@", {}, "WRONGPASS"),
        ("nobody:wrong-one@", {}, "WRONGPASS"),
        ("", {"REDIS_PASSWORD": "wrong-one"}, "WRONGPASS"),
        ("", {}, "NOAUTH"),
        ("app:secret@", {}, "NOPERM"),
    ],
)
def test_health_says_who_may_not(start: Any, login: str, more: dict[str, str], code: str) -> None:
    server = start(Server, tcp=True, password="password1", user="~rl:* -@all +rl.peek")
    line, found = unhealthy("--timeout", "20", REDIS_URL=f"redis://{login}127.0.0.1:{server.port}", **more)
    assert f"127.0.0.1:{server.port}: {code}: " in line
    assert "wrong-one" not in line
    assert found["role"] == ("master" if code == "NOPERM" else None)


def test_health_says_what_the_server_lacks(start: Any) -> None:
    server = start(Server)
    line, found = unhealthy("--timeout", "20", "--max-latency", "0.000001", REDIS_URL=server.url)
    assert "SLOW: a decision took" in line
    assert found["role"] == "master"
    server.admin.config_set("maxmemory", 1)
    assert "OOM: " in unhealthy("--timeout", "20", REDIS_URL=server.url)[0]
    server.admin.config_set("maxmemory", 0)
    server.run("REPLICAOF 127.0.0.1 1")
    line, found = unhealthy("--timeout", "20", REDIS_URL=server.url)
    assert "READONLY: " in line
    assert found["role"] == "replica"


def test_health_says_when_nobody_answers(start: Any) -> None:
    server = start(Server)
    with server.paused():
        assert "TIMEOUT: " in unhealthy("--timeout", "0.5", REDIS_URL=server.url)[0]
    server.kill()
    assert "CONNECTION: " in unhealthy(REDIS_URL=server.url)[0]


def test_health_without_the_module(start: Any) -> None:
    server = start(Server, load_module=False)
    line, found = unhealthy("--timeout", "20", REDIS_URL=server.url)
    assert "NOMODULE" in line
    assert "loadmodule" in line
    assert found["module_version"] is None
    assert "loadmodule" in failed("stats", "--timeout", "20", REDIS_URL=server.url)


def test_the_health_of_an_application_s_own_user(start: Any) -> None:
    server = start(Server, user=RATE_LIMIT_ONLY)
    told = r"ok .*socket: role master, (redis|valkey) [0-9.]+, module [0-9.]+, latency [0-9.]+ ms"
    assert re.fullmatch(rf"{told}\n", done("health", REDIS_URL=server.user_url))
    # Without the right for the question that counts as nothing, it asks for a decision, and says so.
    server.run("ACL SETUSER app -cl.throttle")
    assert re.fullmatch(rf"{told}, counted as impossible\n", done("health", REDIS_URL=server.user_url))
    assert counters(server)["impossible"] == 2
    server.run("ACL SETUSER app -rl.check")
    assert "NOPERM" in failed("health", REDIS_URL=server.user_url)


def counters(server: Server) -> dict[str, int]:
    fields = server.admin.execute_command("INFO", "ratelimit")
    return {name.removeprefix("ratelimit_"): number for name, number in fields.items()}


def test_the_health_of_a_server_without_cl_throttle(start: Any) -> None:
    server = start(Server, "ratelimit.cl-throttle no")
    assert done("health", REDIS_URL=server.url).endswith(" ms, counted as impossible\n")
    assert (counters(server)["impossible"], counters(server)["errors"]) == (2, 0)


# Many servers


def test_a_cluster_is_asked_as_a_whole(start: Any) -> None:
    cluster = start(Cluster, "cluster-require-full-coverage no", nodes=3)
    url = cluster.url()
    with RateLimiter.from_url(url, timeout=20) as limiter:
        for number in range(20):
            for _ in range(2):
                limiter.check(key("login", number), "1/h")
    found = json.loads(done("stats", "--json", "--url", url))
    assert found["total"]["denied"] == 20
    assert sorted(found["servers"]) == sorted(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    assert len(json.loads(done("top", "--json", "--count", "100", "--url", url))["keys"]) == 20
    assert len(json.loads(done("stats", "--json", "--scope", "login", "--url", url))["keys"]) == 20
    assert len(done("health", "--url", url).splitlines()) == 3
    assert "1 forgotten" in done("reset", "--scope", "login", "--key", "7", "--url", url)
    assert "19 forgotten" in done("reset", "--scope", "login", "--all", "--url", url)
    cluster.nodes[1].kill()
    result = ratelimit("health", "--timeout", "20", "--url", url)
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 2
    assert f"127.0.0.1:{cluster.nodes[1].port}: " in result.stderr
    for node in cluster.nodes:
        node.kill()
    assert failed("health", "--timeout", "20", "--url", url).startswith("ratelimit: cluster: ")


def test_the_primary_of_sentinels_is_asked(start: Any) -> None:
    sentinels = start(Sentinels, password="password1")
    with RateLimiter.from_url(sentinels.url(), timeout=20) as limiter:
        limiter.check(key("login", "ann"), "1/h")
    assert re.match("ok mymaster: role master", done("health", "--url", sentinels.url()))
    assert "1 forgotten" in done("reset", "--scope", "login", "--key", "ann", "--url", sentinels.url())


# Usage


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["health", "--url", "redis://:hunter22@{at}"], {}),
        (["health", "--url", "redis://:hunter22@127.0.0.1:1"], {}),
        (["stats", "--url", "redis://:hunter22@127.0.0.1:hunter22"], {}),
        (["stats", "--url", "http://:hunter22@127.0.0.1"], {}),
        (["stats", "--ur", "redis://:hunter22@127.0.0.1"], {}),
        (["stats", "--password", "hunter22"], {}),
        (["stats", "--password=hunter22"], {}),
        (["redis://:hunter22@127.0.0.1"], {}),
        (["stats", "--count", "redis://:hunter22@127.0.0.1"], {}),
        (["stats"], {"REDIS_URL": "redis://{at}?password=hunter22"}),
        (["stats"], {"REDIS_URL": "redis://:hunter22@no.such.host.invalid"}),
        (["stats"], {"REDIS_URL": "redis://{at}", "REDIS_PASSWORD": "hunter22", "REDIS_USERNAME": "me"}),
    ],
)
def test_secrets_are_never_shown(start: Any, words: list[str], more: dict[str, str]) -> None:
    server = start(Server, tcp=True, password="s3cret")
    at = f"127.0.0.1:{server.port}"
    result = ratelimit(
        *(word.replace("{at}", at) for word in words),
        **{name: value.replace("{at}", at) for name, value in more.items()},
    )
    assert result.returncode in (1, 2)
    assert len(result.stderr.splitlines()) == 1
    assert "hunter22" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["unknown"],
        ["stats", "--unknown"],
        ["top", "--count", "0"],
        ["top", "--count", "1001"],
        ["top", "--database", "x"],
        ["health", "--max-latency", "fast"],
        ["stats", "--url", "localhost"],
        ["stats", "--timeout", "-1"],
        ["reset", "--raw", "a", "--key", "b"],
        ["reset", "--exact", "--key", "b"],
        ["exporter", "--listen", "9478"],
        ["exporter", "--listen", "127.0.0.1:99999"],
        ["exporter", "--top", "-1"],
    ],
)
def test_wrong_usage_is_one_line_and_another_code(words: list[str]) -> None:
    failed(*words, code=2)


def test_the_script_is_installed() -> None:
    [script] = entry_points(group="console_scripts", name="ratelimit")
    assert script.load() is cli.main


def test_help_is_there() -> None:
    for words in (["--help"], ["reset", "--help"]):
        result = ratelimit(*words)
        assert result.returncode == 0
        assert result.stdout.startswith("usage: ratelimit")
    assert "exit codes" in ratelimit("--help").stdout


def test_it_says_its_release() -> None:
    result = ratelimit("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"ratelimit {version('redis-ratelimit')}\n", "")
    failed("--version=1", code=2)


def test_a_reader_that_has_had_enough_is_no_error(traffic: Server) -> None:
    with subprocess.Popen(
        [*COMMAND, "stats", "--json"],
        env=environment(REDIS_URL=traffic.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


# The exporter


@contextmanager
def exporter(*words: str, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve the counters, and return the address and the process."""
    process = subprocess.Popen(
        [*COMMAND, "exporter", "--listen", "127.0.0.1:0", *words],
        env=environment(**more),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def samples(url: str) -> dict[str, float]:
    response = httpx.get(url, timeout=60)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(response.text):
        assert re.fullmatch("redis_ratelimit_[a-z_]+", family.name)
        assert family.documentation
        # In the text format the name of a counter ends as that of its samples.
        assert family.type == ("counter" if family.samples[0].name.endswith("_total") else "gauge")
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_the_exporter_serves_the_counters(traffic: Server) -> None:
    with exporter("--top", "2", "--timeout", "20", REDIS_URL=traffic.url) as (url, process):
        server = f'{{server="{traffic.socket}"}}'
        found = samples(url)
        assert found[f"redis_ratelimit_up{server}"] == 1
        assert found[f"redis_ratelimit_denied_total{server}"] == 12
        assert found[f"redis_ratelimit_gcra_denied_total{server}"] == 6
        assert found[f"redis_ratelimit_server_evicted_keys_total{server}"] == 0
        assert found[f"redis_ratelimit_server_used_memory_bytes{server}"] > 100_000
        assert found[f"redis_ratelimit_server_snapshot_ok{server}"] == 1
        command = f'{{command="rl.check",server="{traffic.socket}"}}'
        assert found[f"redis_ratelimit_command_calls_total{command}"] == 11
        assert found[f"redis_ratelimit_command_rejected_total{command}"] == 0
        assert 0 < found[f"redis_ratelimit_command_seconds_total{command}"] < 10
        top = [name for name in found if name.startswith("redis_ratelimit_key_denials")]
        assert top[1] == 'redis_ratelimit_key_denials{database="0",key="rl:login:192.0.2.3"}'
        assert top[0].startswith(r'redis_ratelimit_key_denials{database="0",key="rl:nasty:\x1b[2J\xff')
        assert httpx.get(url.removesuffix("metrics") + "other").status_code == 404
        # A server that is gone, and comes back.
        traffic.kill()
        assert samples(url) == {f"redis_ratelimit_up{server}": 0}
        traffic.start()
        assert eventually(lambda: samples(url)[f"redis_ratelimit_up{server}"] == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_exporter_tells_what_a_server_refuses(start: Any) -> None:
    server: Server = start(Server, "maxmemory-policy noeviction", "maxmemory 1")
    with exporter("--timeout", "20", REDIS_URL=server.url) as (url, _):
        for _ in range(3):
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                server.run("RL.CHECK k 1 1h")
        found = samples(url)
        labels = f'server="{server.socket}"'
        # It answers, but decides nothing.
        assert found[f"redis_ratelimit_up{{{labels}}}"] == 1
        assert found[f'redis_ratelimit_command_rejected_total{{command="rl.check",{labels}}}'] == 3
        assert found[f'redis_ratelimit_command_calls_total{{command="rl.check",{labels}}}'] == 0
        assert found[f"redis_ratelimit_decisions_total{{{labels}}}"] == 0


def test_the_exporter_says_what_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ModuleNotFoundError")
    assert "install the extra 'exporter'" in failed("exporter", PYTHONPATH=str(tmp_path))


def test_the_exporter_names_no_keys_unless_told(traffic: Server) -> None:
    with exporter("--timeout", "20", REDIS_URL=traffic.url) as (url, _):
        assert not [name for name in samples(url) if "key=" in name]


def test_the_exporter_says_when_it_cannot_listen(traffic: Server) -> None:
    with exporter(REDIS_URL=traffic.url) as (url, _):
        port = re.search(r":([0-9]+)/", url)
        assert port is not None
        assert "cannot listen" in failed("exporter", "--listen", f"127.0.0.1:{port[1]}", REDIS_URL=traffic.url)
