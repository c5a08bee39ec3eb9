"""The tests of `limits` itself, from its sources on PyPI, on our storages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sdists import sdist
from servers import Cluster, Sentinels, Server

TESTS = [
    "test_strategy.py",
    "test_storage.py",
    "storage/test_redis.py",
    "aio/test_strategy.py",
    "aio/test_storage.py",
    "aio/storage/test_redis.py",
    "integration/test_concurrency.py",
]


def run(storages: dict[str, str], *, ours: bool, directory: Path) -> int:
    """Run the suite, and return how many tests have passed."""
    sources = sdist("limits")
    (directory / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    settings = {"storages": list(storages.items()), "ours": ours}
    command = [sys.executable, "-m", "pytest", "-p", "limits_suite", "-p", "no:cacheprovider", "--noconftest"]
    command += ["-c", str(directory / "pytest.ini"), "--rootdir", str(sources), "-q", "-n", "8", "-W", "ignore"]
    done = subprocess.run(
        [*command, *(str(sources / "tests" / name) for name in TESTS)],
        cwd=directory,
        env={**os.environ, "LIMITS_SUITE": json.dumps(settings), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    assert "skipped" not in done.stdout
    return int(found[1])


# Tests of limits that concern one storage: of strategies, of storages, and of many threads and tasks at a time.
TESTS_OF_ONE_STORAGE = 58


@pytest.mark.timeout(900)
def test_the_tests_of_limits_pass_with_its_own_strategies(
    start: Callable[..., Any], cluster: Cluster, tmp_path: Path
) -> None:
    server = start(Server, tcp=True)
    storages = {
        "unix": server.url.replace("unix:", "rl+unix:"),
        "tcp": server.tcp_url.replace("redis:", "rl:"),
        "cluster": cluster.url().replace("redis+", "rl+"),
        "sentinel": start(Sentinels).url().replace("redis+", "rl+"),
    }
    assert run(storages, ours=False, directory=tmp_path) == len(storages) * TESTS_OF_ONE_STORAGE


@pytest.mark.timeout(900)
def test_the_tests_of_limits_pass_with_our_strategy(server: Server, tmp_path: Path) -> None:
    storages = {"unix": server.url.replace("unix:", "rl+unix:")}
    assert run(storages, ours=True, directory=tmp_path) == TESTS_OF_ONE_STORAGE
