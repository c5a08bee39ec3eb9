"""What the documents tell those who do not want the image: the library in somebody else's."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from RAMP.unpacker import unpack

from conftest import is_here
from stack import ROOT, base_of, compose_program, docker, eventually, run

LIBRARY = "/usr/lib/redis/modules/libredis_ratelimit.so"
CLIENT = 'exec $(command -v redis-cli || command -v valkey-cli) "$@"'
FIRST_OF_THREE = ["1", "3", "2", "0", "60000"]


@pytest.fixture(scope="module")
def library(server_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of the image, in a directory that every user can read."""
    folder = tmp_path_factory.mktemp("library")
    for path in [folder, *folder.parents]:
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o755)
    container = docker("create", server_image)
    docker("cp", f"{container}:{LIBRARY}", str(folder))
    docker("rm", "--volumes", container)
    return folder / Path(LIBRARY).name


@pytest.fixture
def name() -> Iterator[str]:
    """A name for containers and volumes, which are gone at the end."""
    name = f"rl-test-{secrets.token_hex(4)}"
    with ExitStack() as end:
        end.callback(docker, "volume", "rm", name, check=False)
        end.callback(docker, "rm", "--force", "--volumes", name, check=False)
        yield name


def block(document: str, name: str) -> str:
    return run("scripts/block", document, name)


def can_be_had(image: str) -> bool:
    if not is_here(image):
        docker("pull", "--quiet", image, check=False)
    return is_here(image)


def decides(container: str) -> None:
    """Wait until the server in a container answers; it has the module once, and decides."""
    ask = ("exec", container, "sh", "-c", CLIENT, "sh")
    eventually(lambda: docker(*ask, "PING", check=False) == "PONG", "the server answers")
    assert docker(*ask, "MODULE", "LIST").split().count("ratelimit") == 1
    assert docker(*ask, "RL.CHECK", "user:ann", "3", "60").split() == FIRST_OF_THREE


def test_compose_mounts_the_library_into_an_image_on_alpine(library: Path, alpine_image: str) -> None:
    text = block("docs/containers.md", "recipe-compose").replace("127.0.0.1:6379:", "127.0.0.1::")
    official = yaml.safe_load(text)["services"]["redis"]["image"]
    if not can_be_had(official):
        text = text.replace(official, base_of(alpine_image))
    file = library.parent / "compose.yaml"
    file.write_text(text)
    project = f"rl-test-{secrets.token_hex(4)}"

    def compose(*words: str) -> str:
        return run(*compose_program(), "--file", str(file), "--project-name", project, *words).strip()

    try:
        compose("up", "--detach")
        decides(compose("ps", "--quiet", "redis"))
    finally:
        compose("down", "--volumes")


@pytest.mark.parametrize("recipe", ["recipe-redis", "recipe-valkey"])
def test_official_images_load_the_library(library: Path, name: str, recipe: str) -> None:
    text = block("docs/containers.md", recipe).strip()
    image = text.split()[-1]
    if not can_be_had(image):
        pytest.skip(f"{image} in a container: it cannot be pulled")
    text = text.replace("--name limits", f"--name {name}").replace("127.0.0.1:6379:", "127.0.0.1::")
    run("bash", "-euo", "pipefail", "-c", text, cwd=library.parent)
    decides(name)


def of_bitnami(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    assert values["master"] == values["replica"]
    [init] = values["master"]["initContainers"]
    [mount] = values["master"]["extraVolumeMounts"]
    return init, mount, values["master"]["extraFlags"]


def of_valkey(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    [init] = values["extraInitContainers"]
    [mount] = values["extraVolumeMounts"]
    # The chart writes it into the configuration file of the server.
    return init, mount, [f"--{values['valkeyConfig'].strip()}"]


@pytest.mark.parametrize(
    ("chart", "read", "user"), [("chart-bitnami", of_bitnami, 1001), ("chart-valkey", of_valkey, 1000)]
)
def test_a_chart_s_server_has_the_library_from_an_init_container(
    chart: str,
    read: Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Any], list[str]]],
    user: int,
    name: str,
    server_image: str,
    alpine_image: str,
) -> None:
    init, mount, flags = read(yaml.safe_load(block("docs/kubernetes.md", chart)))
    assert init["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    restricted = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    # An emptyDir belongs to the pod's group (fsGroup), which all its containers have.
    docker("volume", "create", name)
    prepare = f"chown 0:{user} /volume && chmod 2775 /volume"
    docker("run", "--rm", "--user=0", f"--volume={name}:/volume", server_image, "sh", "-c", prepare)
    [its_mount] = init["volumeMounts"]
    [program, *arguments] = init["command"]
    docker(
        *("run", "--rm", "--network=none", f"--user={user}:{user}", *restricted),
        *(f"--volume={name}:{its_mount['mountPath']}", f"--entrypoint={program}", server_image, *arguments),
    )
    docker(
        *("run", "--detach", f"--name={name}", f"--user={user}:{user}", *restricted, "--tmpfs=/data:mode=1777"),
        *(f"--volume={name}:{mount['mountPath']}:ro", base_of(alpine_image), *" ".join(flags).split()),
    )
    decides(name)


def test_the_package_for_redis_software_tells_what_the_module_registers(
    library: Path, name: str, server_image: str, tmp_path: Path
) -> None:
    text = block("docs/containers.md", "recipe-redis-software")
    for theirs, ours in (
        ("$(scripts/portable-library)", str(library)),
        (" redis-ratelimit.zip", f" {tmp_path}/module.zip"),
    ):
        assert text.count(theirs) == 1
        text = text.replace(theirs, ours)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = os.environ.get("REDIS_SERVER", "redis-server")
    run("bash", "-euo", "pipefail", "-c", text, env={**os.environ, "PATH": programs, "REDIS_PATH": server})

    package = tmp_path / "module.zip"
    with zipfile.ZipFile(package) as archive:
        assert sorted(archive.namelist()) == [library.name, "module.json"]
        assert archive.read(library.name) == library.read_bytes()
        told = json.loads(archive.read("module.json"))
    # Redis' own check of packages.
    with package.open("rb") as bundle:
        unpack(bundle)
    [version] = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert (told["module_name"], told["semantic_version"]) == ("ratelimit", version)
    assert told["sha256"] == hashlib.sha256(library.read_bytes()).hexdigest()
    assert told["version"] > 0
    assert told["min_redis_version"]
    assert told["capabilities"]

    docker("run", "--detach", f"--name={name}", server_image)
    decides(name)

    def ask(*words: str) -> list[str]:
        return docker("exec", name, "sh", "-c", CLIENT, "sh", *words).split()

    registered = ask("COMMAND", "LIST", "FILTERBY", "MODULE", "ratelimit")
    assert sorted(command["command_name"] for command in told["commands"]) == sorted(registered)
    for command in told["commands"]:
        keys = [str(command[field]) for field in ("command_name", "command_arity")]
        place = [str(command[field]) for field in ("first_key", "last_key", "step")]
        found = ask("COMMAND", "INFO", command["command_name"])
        flags = len(command["flags"])
        assert found[: 2 + flags + 3] == [*keys, *command["flags"], *place]
