"""What a process leaves that is killed while it holds something: README.md, "What a killed process leaves"."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from holding import used
from servers import Server, eventually

from redis_ratelimit import Charge, RateLimiter

LEASE, REQUESTS, TOKENS, INFLIGHT = "rl:lease", "rl:{ann}:requests", "rl:{ann}:tokens", "rl:{ann}:inflight"


def charges(ttl: float) -> list[Charge]:
    """The same in every process."""
    return [
        Charge(REQUESTS, "10/h"),
        Charge(TOKENS, "1000/h", cost=300),
        Charge(INFLIGHT, (1, ttl), lease=True),
    ]


BLOCKING = r"""
import sys, time
from redis_ratelimit import RateLimiter
from test_process_death import LEASE, charges

url, ttl = sys.argv[1], float(sys.argv[2])
limiter = RateLimiter.from_url(url, timeout=20)
input("ready\n")
with limiter.lease(LEASE, 1, ttl), limiter.reserve(*charges(ttl)):
    print("holds", flush=True)
    time.sleep(3600)
"""
ASYNCIO = r"""
import asyncio, sys
from redis_ratelimit import AsyncRateLimiter
from test_process_death import LEASE, charges

url, ttl = sys.argv[1], float(sys.argv[2])
input("ready\n")

async def main():
    limiter = AsyncRateLimiter.from_url(url, timeout=20)
    async with limiter.lease(LEASE, 1, ttl), limiter.reserve(*charges(ttl)):
        print("holds", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.parametrize("program", [BLOCKING, ASYNCIO], ids=["blocking", "asyncio"])
def test_what_was_held_is_free_after_its_time_and_an_estimate_stays_charged(program: str, server: Server) -> None:
    with RateLimiter.from_url(server.url, timeout=20) as limiter:
        # If this machine stands still for so long, what was held is free before anybody looks, and it shows nothing.
        for ttl in (1, 4, 16):
            server.admin.flushall()
            began = kill_the_holder(program, server.url, ttl)
            lease, reservation = limiter.lease(LEASE, 1, ttl), limiter.reserve(*charges(ttl))
            denied = [not lease.acquire(), not reservation.acquire()]
            if time.monotonic() > began + ttl:
                continue
            assert denied == [True, True]
            # Then both are free, and nobody had to clean up.
            assert eventually(lease.acquire, seconds=60)
            assert eventually(reservation.acquire, seconds=60)
            lease.release()
            reservation.cancel()
            # What was estimated and never settled stays charged until it leaves its window.
            assert used(limiter, REQUESTS, TOKENS) == [1, 300]
            return
    pytest.fail("it took too long to tell")


def kill_the_holder(program: str, url: str, ttl: float) -> float:
    """Start a process, and kill it when it holds a lease and a reservation. Returns a time before that."""
    command = [sys.executable, "-c", program, url, str(ttl)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        began = time.monotonic()
        print(file=holder.stdin, flush=True)
        assert holder.stdout.readline() == "holds\n"
        holder.kill()
    return began
