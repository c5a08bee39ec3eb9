"""The lines of shell in the READMEs do what they say. The test of the documents sees that none is forgotten."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from servers import Server, eventually, free_ports

import redis_ratelimit

PACKAGE = Path(__file__).parent.parent
ROOT = PACKAGE.parent.parent
# Seconds in which a busy machine answers.
PATIENT = 60.0


def block(readme: Path, name: str) -> str:
    """Return the lines under ``<!-- run by ...: name -->`` of README.md."""
    return subprocess.run(
        [ROOT / "scripts/block", readme.relative_to(ROOT), name], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def environment(**more: str) -> dict[str, str]:
    """Return what a reader's shell has who has installed everything, so that pip only looks whether that is so."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_DRY_RUN": "1",
        "PIP_NO_INDEX": "1",
        # What pip reads as "off".
        "PIP_NO_BUILD_ISOLATION": "0",
        **more,
    }


def run(text: str, directory: Path, **more: str) -> str:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=directory,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10 * PATIENT,
    )
    assert result.returncode == 0, f"{text}\n{result.stdout}{result.stderr}"
    return result.stdout


@contextmanager
def running(text: str, directory: Path, url: str, log: Path, **more: str) -> Iterator[None]:
    """Run what goes on until it is ended, as soon as it answers at `url`."""
    with (
        open(log, "wb") as output,
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=directory,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):

        def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{text}\n{log.read_text()}")
            try:
                return httpx.get(url, timeout=PATIENT).status_code < 500
            except httpx.TransportError:
                return False

        try:
            eventually(answers, seconds=10 * PATIENT, what=text)
            yield
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)


@pytest.mark.parametrize("name", ["install", "install-flask"])
def test_the_package_is_installed(name: str) -> None:
    found = run(block(PACKAGE / "README.md", name), ROOT)
    assert f"Would install redis-ratelimit-{version('redis-ratelimit')}" in found


def test_the_command(server: Server) -> None:
    text = block(PACKAGE / "README.md", "command").replace("redis://localhost:6379/0", server.url)
    with redis_ratelimit.RateLimiter.from_url(server.url, timeout=PATIENT) as limiter:
        for _ in range(3):
            limiter.check(redis_ratelimit.key("login", "192.0.2.1"), "2/m")
        limiter.check(redis_ratelimit.key("login", "192.0.2.2"), "2/m")
    found = run(text, ROOT)
    assert "rl:login:192.0.2.1" in found
    assert server.admin.keys() == []


def test_the_exporter(server: Server, tmp_path: Path) -> None:
    [port] = free_ports(1)
    text = block(PACKAGE / "README.md", "exporter")
    assert "127.0.0.1:9478" in text
    url = f"http://127.0.0.1:{port}/metrics"
    text = text.replace(":9478", f":{port}")
    with running(text, ROOT, url, tmp_path / "log", REDIS_URL=server.url):
        assert re.search(r"^redis_ratelimit_up\{.*\} 1\.0$", httpx.get(url, timeout=PATIENT).text, re.MULTILINE)


EXAMPLES = {
    "django_accounts": None,
    "drf_api": "HTTP/1.1 429",
    "flask_login": "HTTP/1.1 401",
    "llm_gateway": '"total_tokens"',
    "multilevel": '"code"',
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_started_and_asked(name: str, start: Callable[..., Server], tmp_path: Path) -> None:
    folder = PACKAGE / "examples" / name
    [port, upstream] = free_ports(2)
    text = block(folder / "README.md", "start").replace("9000", str(upstream))
    assert "redis://localhost:6379/0" in text
    with running(
        text.replace("redis://localhost:6379/0", start(Server, tcp=True).tcp_url),
        folder,
        f"http://127.0.0.1:{port}/",
        tmp_path / "log",
        DATABASE=str(tmp_path / "database.sqlite3"),
        REDIS_TIMEOUT="20",
        GUNICORN_CMD_ARGS=f"--bind=127.0.0.1:{port} --no-control-socket",
        UVICORN_PORT=str(port),
    ):
        if answer := EXAMPLES[name]:
            ask = block(folder / "README.md", "ask")
            assert ":8000" in ask
            # What runs beside it may not answer yet.
            eventually(lambda: answer in run(ask.replace(":8000", f":{port}"), tmp_path), seconds=10 * PATIENT)
