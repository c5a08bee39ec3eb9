"""The exporter for Prometheus as a service: what it serves is what the server has counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from stack import Stack, docker, eventually

PASSWORD = "correct-horse"


class Exporter:
    """The service, at its published address."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def samples(self) -> dict[str, float]:
        """Return what a metric is for the one server, by its name; those with more labels are left out."""
        host, port = self.stack.published("exporter", 9478)
        try:
            with urlopen(f"http://{host}:{port}/metrics", timeout=60) as response:
                text = response.read().decode()
        except (URLError, OSError):
            # Not listening yet.
            return {}
        return {
            name: float(value) for name, value in re.findall(r'^(\w+)\{server="[^"]*"\} (\S+)$', text, re.MULTILINE)
        }

    def is_up(self) -> bool:
        return self.samples().get("redis_ratelimit_up") == 1


@pytest.fixture(scope="module")
def exporter(start: Callable[..., Stack], exporter_image: str) -> Iterator[Exporter]:
    exporter = Exporter(start(REDIS_PASSWORD=PASSWORD, EXPORTER_IMAGE=exporter_image))
    exporter.stack.read("docs/containers.md", "compose-exporter")
    eventually(exporter.is_up, "the exporter reaches the server")
    return exporter


def test_decisions_are_served_as_the_document_asks_for_them(exporter: Exporter) -> None:
    before = exporter.samples()
    for _ in range(5):
        exporter.stack.cli("redis", "RL.CHECK", "user:ann", "3", "1h")
    after = exporter.samples()
    for name, more in (("decisions", 5), ("granted", 3), ("denied", 2)):
        metric = f"redis_ratelimit_{name}_total"
        assert after[metric] - before[metric] == more
    line = exporter.stack.read("docs/containers.md", "compose-exporter-ask")
    [sample] = [line for line in line.splitlines() if not line.startswith("#")]
    decisions = after["redis_ratelimit_decisions_total"]
    assert sample == f'redis_ratelimit_decisions_total{{server="redis:6379"}} {decisions:.1f}'


def test_it_is_published_to_this_machine_alone_and_healthy_as_nobody_special(exporter: Exporter) -> None:
    assert exporter.stack.published("exporter", 9478)[0] == "127.0.0.1"
    eventually(lambda: exporter.stack.is_healthy("exporter"), "the exporter is healthy")
    assert exporter.stack.inspect("exporter", "{{.Config.User}}") == "10001:10001"
    # Nor is the password among the words that everybody on the machine can see.
    assert PASSWORD not in docker("top", exporter.stack.container("exporter"))


def test_a_server_that_is_gone_is_served_as_down_until_it_is_back(exporter: Exporter) -> None:
    exporter.stack.kill("redis")
    eventually(lambda: exporter.samples().get("redis_ratelimit_up") == 0, "the server is down")
    exporter.stack.compose("up", "--detach", "redis")
    eventually(exporter.is_up, "the server is back")


def test_it_ends_when_it_is_told_to(exporter: Exporter) -> None:
    exporter.stack.compose("stop", "exporter", profiles="exporter")
    assert exporter.stack.inspect("exporter", "{{.State.ExitCode}}") == "0"


def test_the_image_is_the_command(exporter: Exporter) -> None:
    said = exporter.stack.compose("run", "--rm", "exporter", "--version", profiles="exporter")
    assert re.fullmatch(r"ratelimit \d+\.\d+\.\d+", said.strip())
    asked = exporter.stack.compose("run", "--rm", "exporter", "health", profiles="exporter")
    assert re.search("^ok redis:6379: role master, ", asked, re.MULTILINE)
