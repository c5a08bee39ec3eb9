"""docs/kubernetes.md: what its StatefulSet gives to a pod starts the image."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from stack import docker, eventually, run

PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    manifests = list(yaml.safe_load_all(run("scripts/block", "docs/kubernetes.md", "stateful-set")))
    [stateful_set] = [manifest for manifest in manifests if manifest["kind"] == "StatefulSet"]
    found: dict[str, Any] = stateful_set["spec"]["template"]["spec"]
    return found


@pytest.fixture
def name() -> Iterator[str]:
    name = f"rl-test-{secrets.token_hex(4)}"
    yield name
    docker("rm", "--force", "--volumes", name, check=False)


def test_the_pod_s_container_decides_and_is_ready(pod: dict[str, Any], name: str, server_image: str) -> None:
    [container] = pod["containers"]
    [variable] = container["env"]
    assert variable["valueFrom"]["secretKeyRef"]
    arguments = [word.replace(f"$({variable['name']})", PASSWORD) for word in container["args"]]
    of_pod, of_container = pod["securityContext"], container["securityContext"]
    assert of_container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    docker(
        *("run", "--detach", f"--name={name}", f"--env={variable['name']}={PASSWORD}"),
        *(f"--user={of_pod['runAsUser']}:{of_pod['runAsGroup']}", "--read-only", "--cap-drop=ALL"),
        *("--security-opt=no-new-privileges", f"--volume={container['volumeMounts'][0]['mountPath']}"),
        *(server_image, *arguments),
    )
    probe = container["readinessProbe"]["exec"]["command"]

    def is_ready() -> bool:
        return run("docker", "exec", name, *probe, check=False).strip() == "PONG"

    eventually(is_ready, "the pod is ready")
    client = 'exec $(command -v redis-cli || command -v valkey-cli) "$@"'
    ask = ("exec", name, "sh", "-c", client, "sh")
    assert docker(*ask, "RL.CHECK", "user:ann", "3", "60").split() == ["1", "3", "2", "0", "60000"]
    assert docker(*ask, "CONFIG", "GET", "maxmemory").split()[1] == "536870912"
