"""Asks for decisions all the time, over several connections, in a container beside the servers, and keeps count.

usage: python3 -c "$(cat load.py)" URL CONNECTIONS TAG...

For each tag, so many connections share keys ``{TAG}:0``, ``{TAG}:1`` and so on. They ask for one until it is denied,
then for the next, so that at any time all keys but the last are used up. Each line of input is answered by a line of
JSON: what happened until then. At the end of the input every key is asked once more until it is denied, and the last
line is the result.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter

from redis_ratelimit import RateLimiter, UnavailableError

LIMIT = 10
# A busy machine answers in a second; without a limit, servers and Sentinels would starve on a small one.
TIMEOUT = 1.0
PACE = 0.002
PATIENCE = 60.0


class Tag:
    """What is asked for under one tag."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last = 0
        self._lock = threading.Lock()
        self._granted: Counter[int] = Counter()
        self._unanswered: Counter[int] = Counter()
        self._decided = 0
        self._when = 0.0
        self._pause = 0.0

    def ask(self, limiter: RateLimiter, number: int) -> bool | None:
        """Ask for one unit of a key: whether it was granted, or None without an answer."""
        try:
            granted = limiter.check(f"{{{self.name}}}:{number}", f"{LIMIT}/h").allowed
        except UnavailableError:
            with self._lock:
                # It may have been charged.
                self._unanswered[number] += 1
            return None
        now = time.monotonic()
        with self._lock:
            self._decided += 1
            self._pause = max(self._pause, now - (self._when or now))
            self._when = now
            self._granted[number] += granted
            if not granted:
                self.last = max(self.last, number + 1)
        return granted

    def state(self) -> dict[str, float]:
        with self._lock:
            numbers = range(self.last)
            granted, unanswered = self._granted, self._unanswered
            return {
                "keys": len(numbers),
                "granted": sum(granted.values()),
                "decided": self._decided,
                "unanswered": sum(unanswered.values()),
                # Units granted beyond the limits, and units that nobody can have got.
                "over": sum(max(0, granted[number] - LIMIT) for number in numbers),
                "under": sum(max(0, LIMIT - granted[number] - unanswered[number]) for number in numbers),
                # The longest time without a decision.
                "pause": round(self._pause, 3),
            }

    def use_up(self, limiter: RateLimiter) -> None:
        deadline = time.monotonic() + PATIENCE
        for number in range(self.last + 1):
            while self.ask(limiter, number) is not False:
                if time.monotonic() > deadline:
                    sys.exit(f"not all keys of {self.name} are used up within {PATIENCE} s")


def main(url: str, connections: int, names: list[str]) -> None:
    tags = [Tag(name) for name in names]
    over = threading.Event()

    def keep_asking(tag: Tag) -> None:
        with RateLimiter.from_url(url, timeout=TIMEOUT) as limiter:
            while not over.is_set():
                tag.ask(limiter, tag.last)
                time.sleep(PACE)

    threads = [threading.Thread(target=keep_asking, args=[tag]) for tag in tags for _ in range(connections)]
    for thread in threads:
        thread.start()

    def report(found: dict[str, dict[str, float]]) -> None:
        print(json.dumps(found), flush=True)

    for _ in sys.stdin:
        report({tag.name: tag.state() for tag in tags})
    over.set()
    for thread in threads:
        thread.join()
    pauses = {tag.name: tag.state()["pause"] for tag in tags}
    with RateLimiter.from_url(url, timeout=TIMEOUT) as limiter:
        for tag in tags:
            tag.use_up(limiter)
    report({tag.name: {**tag.state(), "pause": pauses[tag.name]} for tag in tags})


main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
