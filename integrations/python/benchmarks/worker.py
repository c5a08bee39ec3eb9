"""A process in which slices are measured, one at a time, as its parent says. See `measure`.

usage: python -m benchmarks.worker python|hiredis PORT
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import sys
import threading
import time
from typing import Any

PARSER, PORT = sys.argv[1], int(sys.argv[2])
if PARSER == "python":
    # redis-py takes it if it is there.
    sys.modules["hiredis"] = None  # type: ignore[assignment]

from .rows import Call, Row, all_rows  # noqa: E402

_loop = asyncio.new_event_loop()


class Subject:
    """One side of a row."""

    def __init__(self, name: str, call: Call, answer: Any, threads: int) -> None:
        self._name, self._call, self._answer, self._threads = name, call, answer, threads
        self._asynchronous = False
        # Whoever is to be denied is granted something before.
        if self._once() != answer:
            self.check()

    def _once(self) -> Any:
        answer = self._call()
        self._asynchronous = inspect.isawaitable(answer)
        return _loop.run_until_complete(answer) if self._asynchronous else answer

    def check(self) -> None:
        """Look at one answer."""
        answer = self._once()
        if answer != self._answer:
            raise AssertionError(f"{self._name}: {answer!r} instead of {self._answer!r}")

    def slice(self, calls: int) -> tuple[float, float]:
        """Return the processor's time and the time that so many calls took."""
        self.check()
        if self._threads > 1:
            taken = self._in_threads(calls)
        elif self._asynchronous:
            taken = _loop.run_until_complete(self._await(calls))
        else:
            taken = self._in_turn(calls)
        self.check()
        return taken

    def _in_turn(self, calls: int) -> tuple[float, float]:
        call = self._call
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            call()
        return time.process_time() - cpu, time.perf_counter() - wall

    async def _await(self, calls: int) -> tuple[float, float]:
        call = self._call
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            await call()
        return time.process_time() - cpu, time.perf_counter() - wall

    def _in_threads(self, calls: int) -> tuple[float, float]:
        def work() -> None:
            for _ in range(calls // self._threads):
                self._call()

        threads = [threading.Thread(target=work) for _ in range(self._threads)]
        cpu, wall = time.process_time(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.process_time() - cpu, time.perf_counter() - wall


def subjects_of(row: Row) -> dict[str, Subject]:
    found = {"today": (row.today, row.answer), "ours": (row.ours, row.answer)}
    if row.unlimited is not None:
        found["unlimited"] = (row.unlimited, 200)
    return {side: Subject(f"{row.name}, {side}", call, answer, row.threads) for side, (call, answer) in found.items()}


def main() -> None:
    rows = all_rows(PORT)
    subjects = [subjects_of(row) for row in rows]
    # What was imported is not looked through again and again.
    gc.collect()
    gc.freeze()
    described = [
        {"table": row.table, "name": row.name, "sides": list(sides)} for row, sides in zip(rows, subjects, strict=True)
    ]
    print(json.dumps(described), flush=True)
    for line in sys.stdin:
        number, side, calls = line.split()
        print(json.dumps(subjects[int(number)][side].slice(int(calls))), flush=True)


if __name__ == "__main__":
    main()
