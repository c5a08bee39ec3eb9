"""The Python in README.md of the repository and in docs/clients.md does what is said there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from kinds import PATIENCE
from servers import Server

ROOT = Path(__file__).parents[3]


def run(document: str, name: str, *replacements: tuple[str, str]) -> dict[str, Any]:
    """Run the lines under ``<!-- run by ...: name -->``, and return what they define."""
    command = [ROOT / "scripts/block", document, name]
    text = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    for old, new in replacements:
        assert text.count(old) == 1
        text = text.replace(old, new)
    names: dict[str, Any] = {"__name__": __name__}
    exec(text, names)
    return names


@pytest.fixture
def address(start: Callable[..., Server]) -> tuple[str, str]:
    """A server as in a container, instead of the one in the document."""
    server = start(Server, tcp=True, password="change-me")
    return ":change-me@localhost:6379", f":change-me@127.0.0.1:{server.port}/0?{PATIENCE}"


def test_a_login_in_flask(address: tuple[str, str]) -> None:
    client = run("README.md", "flask", address)["app"].test_client()

    def attempt(account: str, address: str) -> int:
        return client.post("/login", data={"email": account}, environ_base={"REMOTE_ADDR": address}).status_code

    # One account from many addresses, whatever its case; many accounts from one.
    accounts = ["ann@x"] * 3 + ["Ann@X"] * 3
    assert [attempt(account, f"192.0.2.{n}") for n, account in enumerate(accounts)] == [200] * 5 + [429]
    assert [attempt(f"{n}@x", "192.0.2.99") for n in range(21)] == [200] * 20 + [429]


def test_a_login_in_fastapi(address: tuple[str, str]) -> None:
    app = run("README.md", "fastapi", address)["app"]
    with TestClient(app, client=("192.0.2.1", 1)) as client:
        answers = [client.post("/login", json={"email": email}) for email in ["ann@x"] * 3 + ["Ann@X"] * 3]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        answers = [client.post("/login", json={"email": f"{number}@x"}) for number in range(15)]
    assert [answer.status_code for answer in answers] == [200] * 14 + [429]
    assert 14 * 60 < int(answers[-1].headers["Retry-After"]) <= 15 * 60


def test_any_client(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    run("docs/clients.md", "python", ("redis.Redis()", f"redis.Redis.from_url({server.url!r})"))
    assert capsys.readouterr().out == "go\n"
