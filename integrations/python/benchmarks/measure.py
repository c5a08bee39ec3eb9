"""Rounds of slices, in processes that take turns, and what comes of them.

A slice of ours always stands between two of today, in the same process: what disturbs the machine for longer than a
slice disturbs both. What one process does is counted by its own processor time, whoever else is busy.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds, and half the distance between their quartiles."""

    median: float
    spread: float

    @classmethod
    def of(cls, rounds: list[float]) -> Ratio:
        first, _, third = statistics.quantiles(rounds, n=4) if len(rounds) > 1 else (rounds * 3)
        return cls(statistics.median(rounds), (third - first) / 2)

    def __str__(self) -> str:
        digits = 2 if self.median >= 0.1 else 3
        return f"{self.median:.{digits}f} ± {self.spread:.{digits}f}"


@dataclass
class Measured:
    """A row, in one process."""

    table: str
    name: str
    sides: list[str]
    cpu: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Processor time for each call, as a ratio to today's; of each side but today's, for each round."""
    rate: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Calls a second, as such a ratio."""


class Worker:
    """A process, with one of redis-py's parsers, and our package, or the one in another directory."""

    def __init__(self, parser: str, port: int, source: str | None = None) -> None:
        path = [*([source] if source else []), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", parser, str(port)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.parser, self.source = parser, source
        self.rows = [Measured(**row) for row in self._answer()]
        self._calls: dict[tuple[int, str], int] = {}

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process has ended with {self._process.wait()}")
        return json.loads(line)

    def _slice(self, number: int, side: str, calls: int) -> tuple[float, float]:
        assert self._process.stdin
        print(number, side, calls, file=self._process.stdin, flush=True)
        cpu, wall = self._answer()
        return cpu / calls, wall / calls

    def measure(self, number: int, seconds: float) -> None:
        """Measure a row once, in slices of so many seconds."""
        row = self.rows[number]
        for side in row.sides:
            if (number, side) not in self._calls:
                cpu, _ = self._slice(number, side, 8)
                self._calls[number, side] = max(8, int((5 if row.table == "threads" else 1) * seconds / cpu))
        before = self._slice(number, "today", self._calls[number, "today"])
        for side in row.sides[1:]:
            found = self._slice(number, side, self._calls[number, side])
            after = self._slice(number, "today", self._calls[number, "today"])
            row.cpu[side].append(2 * found[0] / (before[0] + after[0]))
            row.rate[side].append((before[1] + after[1]) / (2 * found[1]))
            before = after

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


def measure(workers: list[Worker], rounds: int, seconds: float) -> Iterator[int]:
    """Measure every row in each of the processes, so many times; tells each time how often that was."""
    for number in range(rounds):
        for row in range(len(workers[0].rows)):
            for worker in workers:
                worker.measure(row, seconds)
        yield number + 1
