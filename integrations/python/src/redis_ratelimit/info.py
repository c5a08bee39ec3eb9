"""What RL.INFO and RL.TOP tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a limiter. Times are milliseconds, rounded up."""

    limit: int
    """Units per window."""
    window_ms: int
    """Length of the window."""
    burst: int | None
    """GCRA: the most units at once. None for a sliding window."""
    used: int
    """Units in use; more than the limit in debt, or after the limit was lowered."""
    remaining: int
    """Units left."""
    retry_after_ms: int
    """Until one unit would be granted."""
    next_after_ms: int
    """Until there are more remaining; 0 when all are there."""
    reset_after_ms: int
    """Until the whole quota is back."""


@dataclass(frozen=True, slots=True)
class Info:
    """One limiter in full.

    >>> limiter.check("user:ann", "2/m;10/h") and None
    >>> info = limiter.info("user:ann")
    >>> info.algorithm, [(window.limit, window.used) for window in info.windows]
    ('sliding-window', [(2, 1), (10, 1)])
    """

    algorithm: str
    """``sliding-window`` (`check`, `mcheck`) or ``gcra``."""
    blocked_for_ms: int
    """Milliseconds until the block is over; 0 without one."""
    windows: tuple[Window, ...]
    """The windows in force, in the order in which they were named last."""
    blocks: int = 0
    """How many blocks there were in a row, see `upto` of `RateLimiter.check`."""

    @property
    def blocked_for(self) -> float:
        """Seconds until the block is over; 0.0 without one."""
        return self.blocked_for_ms / 1000


@dataclass(frozen=True, slots=True)
class TopKey:
    """A key that has been denied often lately."""

    key: bytes
    """The key; of a long one the first 128 bytes."""
    database: int
    """The number of its database."""
    denials: int
    """How often it was denied; never too low. They fade: one counts half after ``ratelimit.top-half-life`` seconds."""
    error: int
    """By how much `denials` may be too high."""

    @property
    def name(self) -> str:
        """The key as text, for people: what is no UTF-8 is written with backslashes."""
        return self.key.decode("utf-8", "backslashreplace")
