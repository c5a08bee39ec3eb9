"""Since when there have been no decisions: a log line for each policy that applies, and one when it is over."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger("redis_ratelimit")

SETTLED_AFTER = 1.0
"""Seconds without a failure, after which a success ends an outage: in a cluster, some keys may fail and others not."""


class Outages:
    """Counts failures and says when they begin and end. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._told: set[str] = set()
        self._failures = 0
        self._began = 0.0
        self._last = 0.0

    @property
    def current(self) -> str | None:
        """The code of what the outage began with, or None while decisions are made."""
        return self._reason

    def failed(self, reason: str, message: str, policy: str) -> None:
        """Note that there was no decision, and what a call is answered instead. Each policy is told once."""
        now = time.monotonic()
        with self._lock:
            if self._reason is None:
                self._reason, self._failures, self._began = reason, 0, now
                self._told.clear()
            self._failures += 1
            self._last = now
            tell = policy not in self._told
            self._told.add(policy)
        if tell:
            logger.warning("rate limiting has failed, policy %r applies: %s: %s", policy, reason, message)

    def succeeded(self) -> None:
        """Note that there was one."""
        # Without the lock: the usual case, and a missed end is found by the next call.
        if self._reason is None:
            return
        now = time.monotonic()
        with self._lock:
            if self._reason is None or now - self._last < SETTLED_AFTER:
                return
            failures, seconds = self._failures, now - self._began
            self._reason = None
        logger.warning("rate limiting works again, after %d failures in %.1f s", failures, seconds)
