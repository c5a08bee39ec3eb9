"""What is known of a limit after a reply, and for how long."""

from __future__ import annotations

import math
import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

from limits.util import WindowStats

from ..decision import NEVER, Decision


@dataclass(slots=True)
class LimitState:
    """A limit when the server replied. Nothing changes it."""

    allowed: bool
    """Whether the request was granted, or would have been."""
    used: int
    """Units in use."""
    resets_at: float
    """Time since the epoch, in seconds: when a denied request would be granted, else when the whole quota is back.

    What can never be granted has to wait for a whole window. In a request of Flask it is a whole second, rounded up,
    unless nothing is in use: Flask-Limiter cuts off fractions, and would tell clients to come back too early."""
    seen_at: float
    """When that was, by the monotonic clock."""
    request: Any
    """What stands for the request of Flask in which that was; None outside of one."""
    asked: bool
    """Whether it was only a question, not a hit."""

    def stats(self, limit: int) -> WindowStats:
        """Return the state as `limits` tells it."""
        return WindowStats(self.resets_at, max(0, limit - self.used))

    @classmethod
    def now(cls, allowed: bool, used: int, wait: float, asked: bool = False) -> LimitState:
        """Return a state of this moment, with the seconds to wait."""
        request = current_request()
        resets_at = time.time() + wait
        if request is not None and (used or not allowed):
            resets_at = math.ceil(resets_at)
        return cls(allowed, used, resets_at, time.monotonic(), request, asked)

    @classmethod
    def of(
        cls, decision: Decision | None, expiry: int = 0, *, allowed_if_unused: bool = True, asked: bool = False
    ) -> LimitState:
        """Read a reply; None is that of a limit of which nothing is in use.

        What can never be granted is told to wait for the whole window, `expiry` seconds: nobody should repeat it.
        """
        if decision is None:
            return cls.now(allowed_if_unused, 0, 0 if allowed_if_unused else expiry, asked)
        allowed = decision.allowed
        wait_ms = decision.reset_after_ms if allowed else decision.retry_after_ms
        if wait_ms == NEVER:
            wait_ms = max(decision.reset_after_ms, expiry * 1000)
        return cls.now(allowed, decision.limit - decision.remaining, wait_ms / 1000, asked)


def current_request() -> Any:
    """Return what stands for Flask's current request; None outside of one."""
    flask: Any = sys.modules.get("flask")
    if flask is None or not flask.has_request_context():
        return None
    return flask.request.environ.setdefault("redis_ratelimit.request", object())


FRESH = 1.0
"""Seconds for which a reply stands for a question after the window's stats, if a tenth of the window is not less."""
_PER_CONTEXT = 16
_DENIALS = 1024

_Replies: TypeAlias = "dict[tuple[ReplyCache, str], LimitState]"
# Of the thread or task, the oldest first. Never changed in place: a task starts with what its parent knows, and then
# goes its own way.
_replies: ContextVar[_Replies] = ContextVar("redis_ratelimit.limits")
_NONE: _Replies = {}


class ReplyCache:
    """Remembers the last replies, so that the headers of a response need no command of their own.

    Each request of Flask remembers its own; outside of one, each thread and task. There, denials are also remembered
    for all of them: slowapi runs a route in one thread, and makes the response for a request that it has denied in
    another.
    """

    def __init__(self) -> None:
        self._denials: dict[str, LimitState] = {}

    def keep(self, key: str, state: LimitState) -> None:
        """Remember a reply."""
        name = (self, key)
        replies = _replies.get(_NONE).copy()
        replies.pop(name, None)
        replies[name] = state
        if len(replies) > _PER_CONTEXT:
            del replies[next(iter(replies))]
        _replies.set(replies)
        if state.allowed:
            self._denials.pop(key, None)
        else:
            if len(self._denials) >= _DENIALS:
                self._denials.clear()
            self._denials[key] = state

    def has_hit(self, key: str) -> bool:
        """Whether the last reply is that to a hit of this request of Flask: what is asked now is for its headers."""
        state = _replies.get(_NONE).get((self, key))
        return (
            state is not None and not state.asked and state.request is not None and state.request is current_request()
        )

    def find(self, key: str, window: float, *, of_hits: bool = False) -> LimitState | None:
        """Return the last reply, if it is fresh enough for a window of so many seconds.

        With `of_hits`, outside of a request only the reply to a hit.
        """
        request = current_request()
        found = _replies.get(_NONE).get((self, key))
        if found is None and request is None:
            found = self._denials.get(key)
        elif found is not None and (found.request is not request or (of_hits and request is None and found.asked)):
            return None
        if found is None or time.monotonic() - found.seen_at > min(FRESH, window / 10):
            return None
        return found
