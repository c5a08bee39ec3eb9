"""What is answered when the server decides nothing."""

from __future__ import annotations

from typing import Literal, get_args

from .decision import Decision
from .errors import ArgumentError

Policy = Literal["open", "closed", "raise"]
"""``open`` lets requests pass, ``closed`` refuses them, ``raise`` leaves it to the caller of the limiter."""

_POLICIES: tuple[Policy, ...] = get_args(Policy)

CLOSED_RETRY_AFTER_MS = 1000
"""What a request refused by the policy ``closed`` is told to wait; nobody knows when the server is back."""


def checked(policy: str) -> Policy:
    """Return the policy, or raise `ArgumentError` if it is none."""
    for known in _POLICIES:
        if policy == known:
            return known
    raise ArgumentError(f"policy must be 'open', 'closed' or 'raise', not {policy!r:.80}")


def answer(policy: Literal["open", "closed"], reason: str, *, limit: int, cost: int) -> Decision:
    """Return the decision of the policy, which says so in `Decision.degraded`."""
    if policy == "open":
        return Decision(cost, limit, max(limit - cost, 0), 0, 0, degraded=reason)
    return Decision(0, limit, 0, CLOSED_RETRY_AFTER_MS, CLOSED_RETRY_AFTER_MS, degraded=reason)
