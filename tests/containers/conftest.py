"""Images, and projects that are removed whatever happens. scripts/test-container runs these tests."""

from __future__ import annotations

import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from stack import ROOT, Stack, docker, run

CONTEXT = "integrations/python"
DOCKERFILE = f"{CONTEXT}/examples/flask_login/Dockerfile"
EXPORTER_DOCKERFILE = f"{CONTEXT}/Dockerfile"


def pytest_configure() -> None:
    # If they are told to end, they clean up, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def named(variable: str) -> str:
    name = os.environ.get(variable)
    if not name:
        pytest.fail(f"{variable} must name an image with the module: run 'make test-container', or set it")
    docker("image", "inspect", name)
    return name


@pytest.fixture(scope="session")
def server_image() -> str:
    """The image under test."""
    return named("RATELIMIT_IMAGE")


@pytest.fixture(scope="session")
def alpine_image() -> str:
    """The image under test that is on Alpine, or has at least musl, as Alpine has."""
    return named("ALPINE_IMAGE")


def is_here(image: str) -> bool:
    return bool(docker("image", "ls", "--quiet", image))


@pytest.fixture(scope="session")
def python_image() -> Iterator[str]:
    """PYTHON_IMAGE, or what the Dockerfile names, or one made of Debian's packages if that cannot be had."""
    [default] = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", (ROOT / DOCKERFILE).read_text(), re.MULTILINE)
    name = os.environ.get("PYTHON_IMAGE", default)
    was_here = is_here(name)
    if not was_here:
        docker("pull", "--quiet", name, check=False)
    if "PYTHON_IMAGE" not in os.environ and not is_here(name):
        was_here = is_here("redis-ratelimit-base:python")
        name = run("scripts/base-image", "python").splitlines()[-1]
    yield name
    if not was_here:
        docker("image", "rm", name, check=False)


def built(dockerfile: str, python_image: str) -> Iterator[str]:
    """Build an image for these tests, and remove it in the end."""
    name = f"rl-test-{secrets.token_hex(4)}"
    # Without a name, the stage that builds would stay behind.
    stages = {"build": f"{name}:build", "": f"{name}:whole"}
    try:
        for stage, tag in stages.items():
            target = ["--target", stage] if stage else []
            argument = f"PYTHON_IMAGE={python_image}"
            docker("build", "--tag", tag, *target, "--build-arg", argument, "--file", str(ROOT / dockerfile), CONTEXT)
        yield stages[""]
    finally:
        for tag in reversed(stages.values()):
            docker("image", "rm", "--force", tag, check=False)


@pytest.fixture(scope="session")
def flask_image(python_image: str) -> Iterator[str]:
    """The image of the Flask example."""
    yield from built(DOCKERFILE, python_image)


@pytest.fixture(scope="session")
def exporter_image(python_image: str) -> Iterator[str]:
    """The image of the command `ratelimit`."""
    yield from built(EXPORTER_DOCKERFILE, python_image)


@pytest.fixture(scope="module")
def start(server_image: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Stack]]:
    """Make projects of compose.yaml for the tests of a file: `start(REDIS_PASSWORD="x")`. Nothing runs yet."""
    failed = request.session.testsfailed
    with ExitStack() as projects:

        def start(**environment: str) -> Stack:
            project = Stack(RATELIMIT_IMAGE=server_image, **environment)
            projects.callback(lambda: project.close(show=request.session.testsfailed > failed))
            return project

        yield start
