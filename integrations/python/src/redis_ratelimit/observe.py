"""Observe mode: everything is decided, charged and counted, and nobody is refused.

What would have been refused is marked (`Decision.would_deny`), counted (`Limiter.would_deny_total`), and now and then
logged (``redis_ratelimit.observe``).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar

from .commands import Request
from .decision import Decision, Decisions
from .errors import PoolExhaustedError, RateLimitError, UnavailableError
from .forks import renew_in_child

T = TypeVar("T")

logger = logging.getLogger("redis_ratelimit.observe")

SAY_AGAIN_AFTER = 10.0
"""Seconds after which the log is told again."""


class Observer:
    """Counts what would have been refused, in this process. Safe for threads."""

    def __init__(self) -> None:
        self.total = 0
        self._begin()
        renew_in_child(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._said = float("-inf")
        self.total = 0

    def let_pass(self, request: Request[T], answer: T, *, count: bool = True) -> T:
        """Return the answer if all was granted that was asked for; else one that grants it."""
        if request.fallback is None:
            return answer
        passed: T = _granting(answer, request.fallback("open", ""))
        if passed is not answer and count:
            self.note(*_reason(request, answer))
        return passed

    def let_pass_failed(self, request: Request[T], error: RateLimitError, *, count: bool = True) -> T:
        """Return the answer that grants what the error would have kept from going on."""
        if request.fallback is None:
            raise error
        if count:
            self.note(_name(request.keys), f"it would raise {type(error).__name__}: {error}")
        passed: T = _marked(request.fallback("open", _code(error)))
        return passed

    def note(self, what: str, why: str) -> None:
        """Count a request, and log it unless another one was logged a moment ago."""
        now = monotonic()
        with self._lock:
            self.total += 1
            total = self.total
            if now - self._said < SAY_AGAIN_AFTER:
                return
            self._said = now
        logger.warning("observe mode lets pass what would be denied: %s, %s; %d so far", what, why, total)


def _granting(answer: Any, asked: Any) -> Any:
    if isinstance(answer, Decision):
        # With MAXWAIT it may be granted, and have to wait.
        if answer.granted >= asked.granted and not answer.retry_after_ms:
            return answer
        return replace(answer, granted=asked.granted, retry_after_ms=0, would_deny=True)
    if isinstance(answer, Decisions):
        if answer.allowed:
            return answer
        # Those that had room have nothing to wait for.
        return Decisions(
            {
                key: replace(row, granted=asked.rows[key].granted, retry_after_ms=0, would_deny=row.retry_after_ms != 0)
                for key, row in answer.rows.items()
            }
        )
    return answer


def _marked(answer: Any) -> Any:
    if isinstance(answer, Decisions):
        return Decisions({key: replace(row, would_deny=True) for key, row in answer.rows.items()})
    return replace(answer, would_deny=True)


def _code(error: RateLimitError) -> str:
    if isinstance(error, UnavailableError):
        return error.reason
    return "POOL" if isinstance(error, PoolExhaustedError) else type(error).__name__


def _reason(request: Request[Any], answer: Any) -> tuple[str, str]:
    keys = request.keys
    row = answer
    if isinstance(answer, Decisions):
        row = answer.binding
        keys = tuple(key for key, each in zip(keys, answer.rows.values(), strict=True) if each is row)
    if row.degraded:
        return _name(keys), f"the failure policy refuses it: {row.degraded}"
    if row.allowed and not row.retry_after_ms:
        return _name(keys), f"only {row.granted} granted"
    wait = "for ever" if row.never else f"for {row.retry_after_ms} ms"
    return _name(keys), f"limit {row.limit}, it would have to wait {wait}"


def _name(keys: tuple[bytes, ...]) -> str:
    # Of what the client has sent, nothing but printable characters; the log is for people.
    return ", ".join(repr(key.decode(errors="backslashreplace"))[:100] for key in keys[:3])
