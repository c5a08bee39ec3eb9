"""What the documents say removes the images, removes all of them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import DOCKERFILE, EXPORTER_DOCKERFILE
from stack import ROOT, docker, run

# Shaped as the images are: a base, a stage that compiles, and the image itself, which has two more names.
SMALL = """
FROM {base} AS build
LABEL {label}=build
COPY source compiled /

FROM {base}
COPY --from=build /compiled /
LABEL {label}=server
"""


@pytest.fixture
def label() -> Iterator[str]:
    """A label, which is also the name of images, that nobody else has."""
    name = f"rl-test-{secrets.token_hex(4)}"
    yield name
    left = docker("image", "ls", "--quiet", "--filter", f"label={name}").split()
    for image in dict.fromkeys(left):
        docker("image", "rm", "--force", image, check=False)


def test_the_documented_commands_remove_every_image_under_all_its_names(label: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(SMALL.format(base=f"{label}-base:some", label=label))
    for name in ("base", "source", "compiled"):
        (tmp_path / name).write_text(f"{name} of {label}")
    archives = tmp_path / "images"
    archives.mkdir()
    run("tar", "-C", str(tmp_path), "-cf", str(archives / "some.tar"), "base")
    docker("import", "--change", f"LABEL {label}=base", str(archives / "some.tar"), f"{label}-base:some")
    docker("build", "--force-rm", "--tag", f"{label}:1", str(tmp_path))
    docker("tag", f"{label}:1", f"{label}:1-of-some")
    docker("tag", f"{label}:1", label)

    def images() -> list[str]:
        return docker(
            "image", "ls", "--all", "--filter", f"label={label}", "--format", "{{.Repository}}:{{.Tag}}"
        ).split()

    assert {f"{label}:1", f"{label}:1-of-some", f"{label}:latest", f"{label}-base:some"} <= set(images())
    text = run("scripts/block", "docs/containers.md", "images-remove")
    assert text.count("label=redis-ratelimit") == text.count("target/images") == 1
    text = text.replace("label=redis-ratelimit", f"label={label}").replace("target/images", str(archives))
    run("bash", "-euo", "pipefail", "-c", text)
    assert images() == []
    assert not archives.exists()


@pytest.mark.parametrize("dockerfile", ["deploy/image/Dockerfile", DOCKERFILE, EXPORTER_DOCKERFILE])
def test_every_stage_of_an_image_has_the_label(dockerfile: str) -> None:
    stages = re.split(r"^FROM ", (ROOT / dockerfile).read_text(), flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    for stage in stages:
        assert re.search(r"^LABEL redis-ratelimit=", stage, re.MULTILINE), stage


def test_the_images_have_the_label(server_image: str, flask_image: str, exporter_image: str) -> None:
    label = '{{ index .Config.Labels "redis-ratelimit" }}'
    assert docker("image", "inspect", "--format", label, server_image) == "server"
    assert docker("image", "inspect", "--format", label, flask_image) == "flask"
    assert docker("image", "inspect", "--format", label, exporter_image) == "exporter"
