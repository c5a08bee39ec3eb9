"""What a rate limiter answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NEVER = -1
"""The value of `Decision.retry_after_ms` when no wait is long enough: the cost is above the limit."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request.

    Times are kept as the server sends them, in whole milliseconds rounded up (`retry_after_ms`, `reset_after_ms`), and
    given in seconds as well (`retry_after`, `reset_after`). A decision is true when something was granted:

    >>> decision = limiter.check("user:ann", "2/m")
    >>> decision.allowed, bool(decision), decision.remaining, decision.retry_after
    (True, True, 1, 0.0)
    >>> denied = limiter.check("user:ann", "2/m", cost=2)
    >>> denied.allowed, 0 < denied.retry_after <= 60
    (False, True)
    """

    granted: int
    """Units granted: the cost, or 0 when denied. With `at_most`, anything between."""
    limit: int
    """The most units that could be granted at once: the limit; for GCRA the burst. 0 in a degraded answer to `peek`."""
    remaining: int
    """Units left after this call, never below 0."""
    retry_after_ms: int
    """Milliseconds until the same request would be granted, if nobody else asks; 0 when granted, -1 for never.

    With `max_wait`, a request that is granted has to wait so long before it goes on.
    """
    reset_after_ms: int
    """Milliseconds until the whole quota is back."""
    degraded: str | None = None
    """Why the failure policy answered and not the server, as a code such as ``LOADING`` or ``TIMEOUT``.

    None for the server's own decision. Of a degraded decision only `allowed` means something.
    """
    receipt: int = 0
    """What to name when units of this very grant are given back; 0 if nothing was charged, or none was asked for."""
    would_deny: bool = False
    """Whether only observe mode has let this pass, see `RateLimiter`.

    Then `granted` is what was asked for, though no more was charged than without observe mode.
    """

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.granted > 0

    @property
    def never(self) -> bool:
        """Whether no wait is long enough, because the request costs more than the limit."""
        return self.retry_after_ms == NEVER

    @property
    def retry_after(self) -> float | None:
        """Seconds until the same request would be granted; 0.0 when granted, None for never.

        With `max_wait`, those to wait before going on.
        """
        return None if self.never else self.retry_after_ms / 1000

    @property
    def reset_after(self) -> float:
        """Seconds until the whole quota is back."""
        return self.reset_after_ms / 1000

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class Decisions(Mapping[str | bytes, Decision]):
    """The answer to one request on several keys, granted by all of them or by none: a mapping from key to `Decision`.

    >>> decisions = limiter.mcheck({"ip:192.0.2.1": "5/m", "mail:ann": "1/h"})
    >>> decisions.allowed, decisions["mail:ann"].remaining
    (True, 0)
    >>> decisions = limiter.mcheck({"ip:192.0.2.1": "5/m", "mail:ann": "1/h"})
    >>> decisions.allowed, decisions.refused
    (False, ('mail:ann',))
    """

    rows: dict[str | bytes, Decision]
    """The decision of each key, in the order in which they were named."""

    @property
    def allowed(self) -> bool:
        """Whether every key granted the request."""
        # All of them or none. A key that was asked for no units, by `costs`, has granted none in either case.
        return any(row.allowed for row in self.rows.values())

    @property
    def refused(self) -> tuple[str | bytes, ...]:
        """The keys that had no room, in order; empty when granted, and when the failure policy denied."""
        if self.allowed:
            return ()
        # In a denied call every row says 0 granted; those that had room have nothing to wait for.
        return tuple(key for key, row in self.rows.items() if row.retry_after_ms != 0 and not row.degraded)

    @property
    def binding(self) -> Decision:
        """The row that counts: when denied, the one with the longest wait; when granted, with the fewest remaining."""
        rows = self.rows.values()
        if self.allowed:
            return min(rows, key=lambda row: row.remaining)
        return max(rows, key=lambda row: (row.never, row.retry_after_ms))

    @property
    def never(self) -> bool:
        """Whether no wait is long enough."""
        return self.binding.never

    @property
    def retry_after(self) -> float | None:
        """Seconds until the same request would be granted by all; 0.0 when granted, None for never."""
        return self.binding.retry_after

    @property
    def degraded(self) -> str | None:
        """As `Decision.degraded`; it is the same for all keys."""
        return self.binding.degraded

    @property
    def would_deny(self) -> bool:
        """Whether only observe mode has let this pass; `Decision.would_deny` of each row says which had no room."""
        return any(row.would_deny for row in self.rows.values())

    def __getitem__(self, key: str | bytes) -> Decision:
        return self.rows[key]

    def __iter__(self) -> Iterator[str | bytes]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return self.allowed
