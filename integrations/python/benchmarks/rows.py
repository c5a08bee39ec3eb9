"""What is measured: each row is a request as it is made today, and the same through redis-ratelimit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]
"""One request. Returns its answer, or if it is asynchronous something to await for it."""

MANY = 1_000_000
"""A limit that is not reached."""
DAY = 24 * 3600
CLIENTS = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(1000)]
"""Addresses of those whose requests are granted: each comes up again after all others."""
DENIED = "192.0.2.1"
"""Whose requests are denied."""


@dataclass(frozen=True)
class Row:
    """One comparison."""

    table: str
    name: str
    answer: Any
    """What every call has to return; one without a limit returns 200."""
    today: Call
    ours: Call
    unlimited: Call | None = None
    """The same view without a limit."""
    threads: int = 1


def in_turn(function: Callable[..., Any], *lists: Sequence[Any]) -> Call:
    """Return a call of the function with one argument of each list after the other."""
    turns = itertools.cycle(list(zip(*lists, strict=True)))
    return lambda: function(*next(turns))


def all_rows(port: int) -> list[Row]:
    """Return all rows, on a server that listens on this port."""
    from . import client, storages, views

    return [row for module in (storages, views, client) for row in module.rows(port)]
