"""The server that `docker compose up` starts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stack import Stack, docker, eventually, run

# What a first caller is answered.
FIRST_OF_THREE = "1\n3\n2\n0\n60000\n"


@pytest.fixture(scope="module")
def stack(start: Callable[..., Stack]) -> Iterator[Stack]:
    return start()


def client(stack: Stack, password: str | None) -> redis.Redis:
    host, port = stack.published("redis", 6379)
    assert host == "127.0.0.1"
    return redis.Redis(host, port, password=password, retry=Retry(NoBackoff(), 0), socket_timeout=20)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_the_first_command_of_the_readme_is_answered(stack: Stack) -> None:
    stack.read("README.md", "compose-up")
    # A reader is slower than this.
    eventually(lambda: "PONG" in stack.cli("redis", "PING"), "the server answers")
    assert stack.read("README.md", "first-command") == FIRST_OF_THREE


def test_the_documented_commands_are_answered(stack: Stack) -> None:
    stack.read("docs/containers.md", "compose-up")
    eventually(lambda: stack.is_healthy("redis"), "the health check is content")
    stack.cli("redis", "FLUSHALL")
    assert stack.read("docs/containers.md", "compose-ask") == FIRST_OF_THREE
    stack.cli("redis", "FLUSHALL")
    assert stack.read("docs/containers.md", "compose-ask-from-outside") == FIRST_OF_THREE


def test_the_password_is_demanded(stack: Stack) -> None:
    stack.read("docs/containers.md", "compose-up")
    for wrong in (None, "guessed"):
        with client(stack, wrong) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.execute_command("RL.CHECK", "user:ann", 3, 60)
    with client(stack, "change-me") as friend:
        assert friend.ping()


def test_limits_survive_a_kill(stack: Stack) -> None:
    stack.read("docs/containers.md", "compose-up")
    with client(stack, "change-me") as before:
        eventually(lambda: answers(before), "the server answers")
        assert before.execute_command("RL.CHECK", "killed", 3, "1h", "COST", 2)[:3] == [2, 3, 1]
        blocked = [before.execute_command("RL.CHECK", "blocked", 1, "1h", "BLOCK", "2h")[0] for _ in range(2)]
        assert blocked == [1, 0]
    keys = ["killed", "blocked"]
    states = stack.states("redis", keys)
    stack.kill("redis")
    stack.read("docs/containers.md", "compose-up")
    # Its port may be another now.
    with client(stack, "change-me") as after:
        eventually(lambda: answers(after), "the server answers")
        assert stack.states("redis", keys) == states
        granted = [after.execute_command("RL.CHECK", "killed", 3, "1h")[0] for _ in range(3)]
        assert granted == [1, 0, 0]
        assert after.execute_command("RL.PEEK", "blocked")[3] > 3_600_000


def test_nothing_but_the_named_port_and_the_documented_memory(stack: Stack) -> None:
    stack.read("docs/containers.md", "compose-up")
    assert stack.inspect("redis", "{{len .NetworkSettings.Ports}}") == "1"
    with client(stack, "change-me") as admin:
        eventually(lambda: answers(admin), "the server answers")
        found = admin.config_get("maxmemory*", "append*")
    wanted = {
        "maxmemory": "536870912",
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }
    assert {name: found[name] for name in wanted} == wanted


def test_an_upgrade_replaces_the_container_and_keeps_limits_and_blocks(server_image: str) -> None:
    name = f"rl-test-{secrets.token_hex(4)}"
    docker("tag", server_image, name)
    stack = Stack(RATELIMIT_IMAGE=name)
    try:
        stack.read("docs/containers.md", "compose-up")
        with client(stack, "change-me") as before:
            eventually(lambda: answers(before), "the server answers")
            assert before.execute_command("RL.CHECK", "kept", 3, "1h", "COST", 2)[:3] == [2, 3, 1]
            assert [before.execute_command("RL.CHECK", "blocked", 1, "1h", "BLOCK", "2h")[0] for _ in range(2)] == [
                1,
                0,
            ]
        keys = ["kept", "blocked"]
        states, old = stack.states("redis", keys), stack.inspect("redis", "{{.Image}}")
        # The new release.
        run("docker", "build", "--tag", name, "-", stdin=None, input=f"FROM {server_image}\nLABEL release={name}\n")
        stack.read("docs/containers.md", "compose-upgrade")
        assert stack.inspect("redis", "{{.Image}}") != old
        with client(stack, "change-me") as after:
            eventually(lambda: answers(after), "the server answers")
            assert stack.states("redis", keys) == states
            assert [after.execute_command("RL.CHECK", "kept", 3, "1h")[0] for _ in range(2)] == [1, 0]
            assert after.execute_command("RL.PEEK", "blocked")[3] > 3_600_000
    finally:
        stack.close()
        docker("image", "rm", "--force", name, check=False)


# The last: the password stays.
def test_another_password_replaces_the_first_and_limits_stay(stack: Stack) -> None:
    stack.read("docs/containers.md", "compose-up")
    with client(stack, "change-me") as before:
        eventually(lambda: answers(before), "the server answers")
        assert before.execute_command("RL.CHECK", "kept", 3, "1h", "COST", 3)[0] == 3
    stack.read("docs/containers.md", "compose-password")
    with client(stack, "correct-horse") as after:
        eventually(lambda: answers(after), "the server answers")
        assert after.execute_command("RL.CHECK", "kept", 3, "1h")[0] == 0
    with client(stack, "change-me") as before, pytest.raises(redis.AuthenticationError):
        before.ping()
