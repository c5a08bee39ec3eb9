"""What is known of a limit after a reply, and for how long."""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass

from limits.util import WindowStats

from ..decision import Decision


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a limit stood when the server replied."""

    allowed: bool
    """Whether the request was granted, or would have been."""
    used: int
    """Units in use."""
    resets_at: float
    """Time since the epoch, in seconds: when a denied request would be granted, else when the whole quota is back.

    What can never be granted has to wait for a whole window."""
    seen_at: float
    """When that was, by the monotonic clock."""

    def stats(self, limit: int) -> WindowStats:
        """Return the standing as `limits` tells it.

        The time is a whole second, rounded up, unless nothing is in use: Flask-Limiter cuts off fractions, and would
        tell clients to come back too early.
        """
        reset_time = math.ceil(self.resets_at) if self.used or not self.allowed else self.resets_at
        return WindowStats(reset_time, max(0, limit - self.used))

    @classmethod
    def of(cls, decision: Decision | None, expiry: int = 0, *, allowed_if_unused: bool = True) -> Standing:
        """Read a reply; None is that of a limit of which nothing is in use.

        What can never be granted is told to wait for the whole window, `expiry` seconds: nobody should repeat it.
        """
        now = time.time()
        seen_at = time.monotonic()
        if decision is None:
            return cls(allowed_if_unused, 0, now if allowed_if_unused else now + expiry, seen_at)
        waits = not decision.allowed and not decision.never
        wait_ms = decision.retry_after_ms if waits else decision.reset_after_ms
        if decision.never:
            wait_ms = max(wait_ms, expiry * 1000)
        return cls(decision.allowed, decision.limit - decision.remaining, now + wait_ms / 1000, seen_at)


FRESH = 1.0
"""Seconds for which a reply stands for a question after the window's stats, if a tenth of the window is not less."""
_PER_CONTEXT = 16
_DENIALS = 1024

# Of the thread or task. Never changed in place: a task starts with what its parent knows, and then goes its own way.
_seen: ContextVar[tuple[tuple[Recent, str, Standing], ...]] = ContextVar("redis_ratelimit.limits", default=())


class Recent:
    """Remembers the last replies, so that the headers of a response need no command of their own.

    Each thread and task remembers its own. Denials are also remembered for all of them: slowapi runs a route in one
    thread, and makes the response for a request that it has denied in another.
    """

    def __init__(self) -> None:
        self._denials: dict[str, Standing] = {}

    def keep(self, key: str, standing: Standing) -> None:
        """Remember a reply."""
        others = (entry for entry in _seen.get() if entry[0] is not self or entry[1] != key)
        _seen.set(((self, key, standing), *list(others)[: _PER_CONTEXT - 1]))
        if standing.allowed:
            self._denials.pop(key, None)
        else:
            if len(self._denials) >= _DENIALS:
                self._denials.clear()
            self._denials[key] = standing

    def find(self, key: str, window: float) -> Standing | None:
        """Return the last reply, if it is fresh enough for a window of so many seconds."""
        own = (standing for recent, name, standing in _seen.get() if recent is self and name == key)
        found = next(own, None) or self._denials.get(key)
        if found is None or time.monotonic() - found.seen_at > min(FRESH, window / 10):
            return None
        return found
