"""Denials that are remembered, so that nobody asks again for what the server has said when to come back for."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from time import monotonic_ns
from typing import TypeAlias, TypeVar

from .commands import Request
from .decision import Decision, Decisions
from .forks import renew_in_child

Answer: TypeAlias = Decision | Decisions
T = TypeVar("T")

_MILLISECOND = 1_000_000
_STRIPES = 64
# What they grant may be given back at any time, or they are told to wait though they were granted something.
_END_EARLY = frozenset({"RECEIPT", "RENEW", "MAXWAIT"})
_GIVE_BACK = frozenset({"RL.REFUND", "RL.RESET"})


@dataclass(frozen=True, slots=True)
class _Denial:
    answer: Answer
    keys: tuple[bytes, ...]
    since: int
    """When the answer came, in nanoseconds of the monotonic clock: who waits as long as it says from then on is never
    too early."""
    until: int


class Denials:
    """At most so many denials, by what was asked. Safe for threads; a forked process begins with none."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin()
        renew_in_child(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # In the order in which they came.
        self._denials: dict[Hashable, _Denial] = {}
        self._of_key: dict[bytes, set[Hashable]] = {}
        # How often keys have been forgotten, by their hashes.
        self._forgotten = [0] * _STRIPES

    def __len__(self) -> int:
        return len(self._denials)

    def find(self, name: Hashable) -> Answer | None:
        """Return what is still true of the answer to this question, if that was a denial; None if it is to be asked."""
        try:
            denial = self._denials.get(name)
        except TypeError:
            # Something in it has no hash: it is never remembered.
            return None
        if denial is None:
            return None
        now = monotonic_ns()
        if now >= denial.until:
            return None
        passed = now - denial.since
        if isinstance(denial.answer, Decision):
            return _later(denial.answer, passed)
        return Decisions({key: _later(row, passed) for key, row in denial.answer.rows.items()})

    def mark(self, request: Request[T]) -> int:
        """Return what changes when one of the keys is forgotten. To be taken before a request is sent."""
        return sum(self._forgotten[hash(key) % _STRIPES] for key in request.keys)

    def keep(self, name: Hashable, request: Request[T], mark: int, answer: object) -> None:
        """Remember the answer that has just come, if it is a denial that ends at a time that is known."""
        if not isinstance(answer, (Decision, Decisions)) or answer.allowed or answer.never:
            return
        if not _END_EARLY.isdisjoint(request.words):
            return
        wait = answer.retry_after_ms if isinstance(answer, Decision) else answer.binding.retry_after_ms
        now = monotonic_ns()
        denial = _Denial(answer, request.keys, now, now + wait * _MILLISECOND)
        try:
            hash(name)
        except TypeError:
            return
        with self._lock:
            # The server may have decided before a reset whose answer was here first.
            if self.mark(request) != mark:
                return
            self._drop(name)
            while len(self._denials) >= self._most:
                self._drop(next(iter(self._denials)))
            self._denials[name] = denial
            for key in request.keys:
                self._of_key.setdefault(key, set()).add(name)

    def forget_after(self, request: Request[T]) -> None:
        """Forget the keys of a request that gives something back."""
        if request.words[0] in _GIVE_BACK:
            self.forget(request.keys)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Forget all denials that concern one of the keys."""
        with self._lock:
            for key in keys:
                self._forgotten[hash(key) % _STRIPES] += 1
                for name in list(self._of_key.get(key, ())):
                    self._drop(name)

    def _drop(self, name: Hashable) -> None:
        denial = self._denials.pop(name, None)
        if denial is None:
            return
        for key in denial.keys:
            names = self._of_key[key]
            names.discard(name)
            if not names:
                del self._of_key[key]


def _later(denied: Decision, passed: int) -> Decision:
    """Return the decision so many nanoseconds later. The server's own denials have no more than these fields."""
    # All times are rounded up to a millisecond.
    retry = -((passed - denied.retry_after_ms * _MILLISECOND) // _MILLISECOND)
    reset = -((passed - denied.reset_after_ms * _MILLISECOND) // _MILLISECOND)
    return Decision(0, denied.limit, denied.remaining, max(0, retry), max(0, reset))
