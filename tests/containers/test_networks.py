"""Two projects on one machine with the same settings, such as two checkouts."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from stack import Stack, compose_program, docker


def networks(stack: Stack) -> set[str]:
    return {name for name in docker("network", "ls", "--format", "{{.Name}}").split() if name in named(stack)}


def named(stack: Stack) -> set[str]:
    return {stack.network(), stack.network("sentinel")}


def test_two_projects_with_the_same_settings_do_not_collide(start: Callable[..., Stack]) -> None:
    addresses = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}"
    projects = [start(SENTINEL_NETWORK=addresses) for _ in range(2)]
    for project in projects:
        project.compose("up", "--no-start")
        if compose_program()[-1] == "compose":
            # Version 1 makes the networks of all profiles.
            assert networks(project) == {project.network()}


def test_the_profile_sentinel_makes_its_network(start: Callable[..., Stack]) -> None:
    project = start()
    project.compose("up", "--no-start", profiles="sentinel")
    assert networks(project) == named(project)
