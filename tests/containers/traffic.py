"""Load from a container in the network of a project: see load.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from stack import Stack, eventually

SOURCE = Path(__file__).with_name("load.py").read_text()
CONNECTIONS = 4
"""So many ask for each tag."""


class Load:
    """Begins with `with`, and ends with `end` or with the block."""

    def __init__(self, stack: Stack, network: str, image: str, url: str, *tags: str) -> None:
        command = ["python3", "-c", SOURCE, url, str(CONNECTIONS), *tags]
        self._process = subprocess.Popen(
            stack.beside(network, image, *command, options=["--interactive"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def state(self) -> dict[str, dict[str, Any]]:
        """Return what happened until now, by tag."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, dict[str, Any]]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the load has ended with {self._process.wait()}"
        found: dict[str, dict[str, Any]] = json.loads(line)
        return found

    def goes_on(self, number: int = 300) -> None:
        """Wait for so many more grants of each tag."""
        before = self.state()

        def more() -> bool:
            now = self.state()
            return all(now[tag]["granted"] >= before[tag]["granted"] + number for tag in before)

        eventually(more, f"{number} more grants of each of {list(before)}")

    def end(self) -> dict[str, dict[str, Any]]:
        """End it, and return the result."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        result = self._answer()
        assert self._process.wait(30) == 0
        return result

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        if self._process.poll() is None:
            # Its container is removed with the project.
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
