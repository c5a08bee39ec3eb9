"""Strategies for the blocking storage that tell a test, which is always asked, from what is told after a hit."""

from __future__ import annotations

from limits import RateLimitItem
from limits.storage import Storage
from limits.strategies import MovingWindowRateLimiter, RateLimiter
from limits.util import WindowStats

from .naming import GCRA
from .storage import RateLimitStorage


class SlidingWindowRateLimiter(RateLimiter):
    """A strict sliding window: never more than the limit in any interval as long as the window (RL.CHECK).

    `get_window_stats` after a hit or a test answers from the reply to it, for up to a second or a tenth of the window,
    whichever is less; else it asks the server (RL.PEEK). A test always asks.
    """

    gcra = False
    storage: RateLimitStorage

    def __init__(self, storage: Storage) -> None:
        if not isinstance(storage, RateLimitStorage):
            raise NotImplementedError(f"{type(self).__name__} needs a storage of an rl:// URI, not {type(storage)}")
        super().__init__(storage)

    @classmethod
    def by_name(cls, storage: Storage) -> RateLimiter:
        """Return what is looked up by name. For other storages, such as a fallback to memory, it is a moving window."""
        return cls(storage) if isinstance(storage, RateLimitStorage) else MovingWindowRateLimiter(storage)

    def key_for(self, item: RateLimitItem, identifiers: tuple[str, ...]) -> str:
        """Return what the storage calls a limit."""
        return item.key_for(*identifiers)

    def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Take `cost` units, all or none, and return whether they were granted."""
        key = self.key_for(item, identifiers)
        return self.storage.decide(key, item.amount, item.get_expiry(), cost, gcra=self.gcra).allowed

    def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Return whether `cost` units would be granted now. The server is always asked."""
        key = self.key_for(item, identifiers)
        return self.storage.look(key, item.amount, cost, item.get_expiry()).allowed

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """Return when to come back, and the units that remain.

        The time is when the request would be granted, if the last answer was a denial; else when the whole quota is
        back. What can never be granted has to wait for a whole window.
        """
        key = self.key_for(item, identifiers)
        return self.storage.stats(key, item.amount, item.get_expiry()).stats(item.amount)

    def clear(self, item: RateLimitItem, *identifiers: str) -> None:
        """Forget a limit."""
        self.storage.clear(self.key_for(item, identifiers))


class GcraRateLimiter(SlidingWindowRateLimiter):
    """A token bucket: the limit as a rate, and as a burst (RL.GCRA). Units come back one by one.

    The rate is exact over time; in a single window there may be up to twice the limit. Its keys are not those of the
    other strategies.
    """

    gcra = True

    def key_for(self, item: RateLimitItem, identifiers: tuple[str, ...]) -> str:
        """Return what the storage calls a limit."""
        return super().key_for(item, identifiers) + GCRA
