"""What the tests of leases and of reservations share."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import types
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from servers import Server, eventually


def used(limiter: Any, *keys: str) -> Any:
    """How many units are in use on a key; of several, a list."""
    found = [info.windows[0].used if (info := limiter.info(key)) else 0 for key in keys]
    return found[0] if len(keys) == 1 else found


def calls(server: Server) -> dict[str, int]:
    """How often the module's commands were called since the last CONFIG RESETSTAT, without RL.INFO."""
    found = server.admin.info("commandstats")
    names = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in found.items()}
    return {name: number for name, number in names.items() if name.startswith("rl.") and name != "rl.info"}


def heartbeats(loop: asyncio.AbstractEventLoop | None = None) -> int:
    """How many heartbeats there are: threads, or tasks of this loop."""
    gc.collect()
    if loop is None:
        return sum("heartbeat" in thread.name for thread in threading.enumerate())
    return sum("_beat_in_task" in repr(task) for task in asyncio.all_tasks(loop))


@types.coroutine
def _cancelled_at(coroutine: Coroutine[Any, Any, Any], points: set[int]) -> Any:
    """Run a coroutine, whose task is cancelled while it waits for the n-th time, and so on."""
    task = asyncio.current_task()
    assert task is not None
    error: BaseException | None = None
    point = 0
    while True:
        try:
            waits_for = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as done:
            return done.value
        if point in points:
            asyncio.get_running_loop().call_soon(task.cancel)
        point += 1
        error = None
        try:
            yield waits_for
        except BaseException as caught:
            error = caught


async def cancelled_at_every_point(hold: Callable[[], Coroutine[Any, Any, None]], clean: Callable[[], Any]) -> int:
    """Cancel the task of `hold` wherever it waits, once and twice, and wait until nothing is left.

    Returns how many points there were.
    """
    point = 0
    while True:
        for points in ({point}, {point, point + 1}):
            task = asyncio.ensure_future(_cancelled_at(hold(), points))
            await asyncio.wait({task})
            deadline = asyncio.get_running_loop().time() + 30
            while not await clean():
                assert asyncio.get_running_loop().time() < deadline, f"cancelled at {points}, something is left"
                await asyncio.sleep(0.005)
            if not task.cancelled():
                task.result()
                return point
        point += 1


def in_a_child(function: Callable[[], None]) -> None:
    """Fork, call the function in the child, and fail if it fails."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            # Nothing that is the parent's is ended or written here.
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def expiry(server: Server, key: str) -> int:
    """When the key ends, in milliseconds since the epoch."""
    return int(server.admin.execute_command("PEXPIRETIME", key))


def eventually_free(limiter: Any, *keys: str) -> None:
    """Wait until nothing is in use on the keys."""
    eventually(lambda: all(limiter.info(key) is None for key in keys), what=f"{keys} are free")


forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
