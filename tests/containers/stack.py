"""One project of compose.yaml for tests: containers, networks and volumes with a name of their own, gone at the end."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
# What a person who runs the tests may have set for own projects.
SETTINGS = {"COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "MAXMEMORY", "REDIS_PASSWORD", "SECRET_KEY"}
PATIENCE = 60.0
"""Seconds that a busy machine gets for what is waited for."""

# What a reader types as `docker`, for readers without a terminal, for machines with the older docker-compose, and for
# packages of Valkey, whose client has another name.
DOCKER = r"""#!/bin/sh
set -eu
if [ "${1:-}" != compose ]; then exec "$REAL_DOCKER" "$@"; fi
shift
for word; do
    shift
    if [ "$word" = redis-cli ]; then word=$CLIENT; fi
    set -- "$@" "$word"
    if [ "$word" = exec ]; then set -- "$@" -T; fi
done
exec $COMPOSE "$@"
"""


def eventually(probe: Callable[[], T], what: str, *, seconds: float = PATIENCE) -> T:
    """Return the first true answer of `probe`; fail when there is none in time. A failed assertion counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        last: object
        try:
            last = answer = probe()
            if answer:
                return answer
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}: {last}")
        time.sleep(0.05)


def run(*command: str, check: bool = True, **options: object) -> str:
    """Run a program in the root of the repository, and return what it prints."""
    done = subprocess.run(  # type: ignore[call-overload]
        command,
        **{"cwd": ROOT, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **options},
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def docker(*words: str, check: bool = True) -> str:
    return run("docker", *words, check=check).strip()


def compose_program() -> list[str]:
    """Return `docker compose`, or docker-compose if there is only that."""
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    # By its path: what a reader types as `docker` is found first, and would call itself.
    return [shutil.which("docker") or "docker", "compose"] if found.returncode == 0 else ["docker-compose"]


@cache
def client_in(image: str) -> str:
    """Return the name of redis-cli in an image."""
    look = ["--entrypoint", "sh", image, "-c", "command -v redis-cli || command -v valkey-cli"]
    return Path(docker("run", "--rm", "--network", "none", *look)).name


def base_of(image: str) -> str:
    """Return the name of the server image that an image was made of."""
    label = '{{ index .Config.Labels "org.opencontainers.image.base.name" }}'
    return docker("image", "inspect", "--format", label, image)


class Stack:
    """A project of compose.yaml. `environment` is what it is told, beside what tests need."""

    def __init__(self, **environment: str) -> None:
        self.name = f"rl-test-{secrets.token_hex(4)}"
        self._compose = compose_program()
        self._programs = Path(tempfile.mkdtemp(prefix="rl"))
        shim = self._programs / "docker"
        shim.write_text(DOCKER)
        shim.chmod(0o755)
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in SETTINGS},
            "COMPOSE_PROJECT_NAME": self.name,
            # Any that is free.
            "PORT": "0",
            "FLASK_PORT": "0",
            "EXPORTER_PORT": "0",
            # Most likely, nobody else has it.
            "SENTINEL_NETWORK": f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}",
            **environment,
        }

    # Compose

    def compose(self, *words: str, profiles: str = "") -> str:
        return run(*self._compose, *words, env={**self._environment, "COMPOSE_PROFILES": profiles})

    def read(self, document: str, name: str) -> str:
        """Do what a block of a document says, as it is written, and return what that prints."""
        text = run("scripts/block", document, name)
        environment = {
            **self._environment,
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "REAL_DOCKER": shutil.which("docker") or "docker",
            "COMPOSE": " ".join(self._compose),
            "CLIENT": client_in(self._environment["RATELIMIT_IMAGE"]),
        }
        return run("bash", "-euo", "pipefail", "-c", text, env=environment)

    # Containers

    def network(self, name: str = "default") -> str:
        # That of the Sentinels has a name of its own.
        return (
            f"redis-ratelimit-{self._environment['SENTINEL_NETWORK']}" if name == "sentinel" else f"{self.name}_{name}"
        )

    def address(self, service: str, network: str = "default") -> str:
        return self.inspect(service, f'{{{{(index .NetworkSettings.Networks "{self.network(network)}").IPAddress}}}}')

    def containers(self, service: str | None = None) -> list[str]:
        """Return the containers of a service, or all; also those that have ended."""
        filters = [f"label=com.docker.compose.project={self.name}"]
        if service is not None:
            filters.append(f"label=com.docker.compose.service={service}")
        return docker("ps", "--all", "--quiet", *[word for one in filters for word in ("--filter", one)]).split()

    def container(self, service: str) -> str:
        [found] = self.containers(service)
        return found

    def inspect(self, service: str, template: str) -> str:
        return docker("inspect", "--format", template, self.container(service))

    def is_healthy(self, service: str) -> bool:
        return self.inspect(service, "{{.State.Health.Status}}") == "healthy"

    def published(self, service: str, port: int) -> tuple[str, int]:
        """Return the address and port on this machine at which a port of a service is published."""
        host, _, found = docker("port", self.container(service), f"{port}/tcp").rpartition(":")
        return host, int(found)

    def kill(self, service: str) -> None:
        docker("kill", self.container(service))

    def cli(self, service: str, *words: str, port: int = 6379, lines: str | None = None) -> str:
        """Ask a server by the redis-cli of its container; with `lines` for several commands."""
        client = client_in(self._environment["RATELIMIT_IMAGE"])
        command = ["docker", "exec", "--interactive", self.container(service), client, "-p", str(port), *words]
        return run(*command, stdin=None, input=lines or "").strip()

    def info(self, service: str, section: str, *, port: int = 6379) -> dict[str, str]:
        lines = self.cli(service, "INFO", section, port=port).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def states(self, service: str, keys: list[str]) -> list[str]:
        """Return the values and expiries of keys, as a server has them."""
        asked = "".join(f"GET {key}\nPEXPIRETIME {key}\n" for key in keys)
        # A replica in a cluster answers only after that; any other server refuses it.
        answers = self.cli(service, "--no-raw", lines=f"READONLY\n{asked}").splitlines()
        return [answer for answer in answers if answer][1:]

    def follows(self, service: str, primary: str, network: str = "default") -> bool:
        """Whether a server is a replica of the primary, and connected to it."""
        theirs, its = self.info(service, "replication"), self.info(primary, "replication")
        return (
            its["role"] == "master"
            and theirs["role"] == "slave"
            and theirs["master_host"] == self.address(primary, network)
            and theirs["master_link_status"] == "up"
        )

    def has_all(self, service: str, primary: str, network: str = "default") -> bool:
        """Whether a replica has all that its primary has. (Nobody asks the primary now.)"""
        theirs, its = self.info(service, "replication"), self.info(primary, "replication")
        return self.follows(service, primary, network) and theirs["slave_repl_offset"] == its["master_repl_offset"]

    # The end

    def beside(self, network: str, image: str, *command: str, options: Sequence[str] = ("--detach",)) -> list[str]:
        """Return the command that runs one more container in a network, gone when the project is."""
        mine = (f"--label=rl-test={self.name}", f"--network={self.network(network)}")
        return ["docker", "run", "--rm", *mine, *options, image, *command]

    def close(self, *, show: bool = False) -> None:
        """Remove all of it, as the document says, and by force what is left. With `show`, print the logs."""
        if show:
            for container in self.containers():
                print(docker("inspect", "--format", "{{.Name}}: {{.State.Status}} {{.State.ExitCode}}", container))
                print(run("sh", "-c", f"docker logs --tail 80 {container} 2>&1", check=False))
        for container in docker("ps", "--all", "--quiet", "--filter", f"label=rl-test={self.name}").split():
            docker("rm", "--force", "--volumes", container, check=False)
        try:
            self.read("docs/containers.md", "compose-remove")
        finally:
            left = self._remove_by_force()
            shutil.rmtree(self._programs)
        assert left == []

    def _remove_by_force(self) -> list[str]:
        """Return what was there."""
        left = self.containers()
        for container in left:
            docker("rm", "--force", "--volumes", container)
        for kind in ("network", "volume"):
            names = docker(kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
            for name in names:
                docker(kind, "rm", name)
            left += names
        return left
