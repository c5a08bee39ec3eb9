"""The limits of each key, user and team, on requests, tokens and requests in flight: one command for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from redis_ratelimit import AsyncRateLimiter, AsyncReservation, Charge, Decision, Decisions, key
from redis_ratelimit.headers import openai, openai_duration

from .callers import Caller
from .errors import ApiError, no_decision
from .settings import Quota, Settings

Kind: TypeAlias = Literal["requests", "tokens", "in-flight"]

IN_FLIGHT_RETRY_MS = 1000
"""A place in flight is free when a request ends. Nobody knows when, and the reply tells the latest time."""


@dataclass(frozen=True)
class Limit:
    """One of the limits of a request."""

    level: str
    name: str
    kind: Kind
    charge: Charge

    def wait_ms(self, decision: Decision) -> int:
        """Return how long to wait; 0 if it had room."""
        return min(decision.retry_after_ms, IN_FLIGHT_RETRY_MS) if self.kind == "in-flight" else decision.retry_after_ms


class Reserved:
    """What is reserved for one request, until it is settled."""

    def __init__(self, limits: list[Limit], reservation: AsyncReservation[Decisions], decisions: Decisions) -> None:
        self.headers = headers(limits, decisions)
        self._reservation = reservation
        self._tokens = [limit.charge.key for limit in limits if limit.kind == "tokens"]

    async def settle(self, tokens: int | None) -> None:
        """End it, with the tokens that were used. None: nobody knows, so they stay charged as they were reserved."""
        await self._reservation.settle({} if tokens is None else dict.fromkeys(self._tokens, tokens))

    async def cancel(self) -> None:
        """End it as if it had never been."""
        await self._reservation.cancel()


class Limits:
    """Reserves for requests."""

    def __init__(self, limiter: AsyncRateLimiter, settings: Settings) -> None:
        self._limiter = limiter
        self._settings = settings

    def of(self, caller: Caller, tokens: int) -> list[Limit]:
        settings = self._settings
        found: list[Limit] = []
        quotas: list[tuple[str, str, Quota]] = [
            ("key", caller.key, settings.per_key),
            ("user", caller.user, settings.per_user),
            ("team", caller.team, settings.per_team),
        ]
        for level, name, quota in quotas:

            def charge(kind: Kind, level: str = level, name: str = name) -> str:
                # In a cluster, all keys of a request have to lie in one slot: that of the team.
                return key("llm", level, name, kind, tag=caller.team)

            found += [
                Limit(level, name, "requests", Charge(charge("requests"), quota.requests)),
                Limit(level, name, "tokens", Charge(charge("tokens"), quota.tokens, cost=tokens)),
                Limit(level, name, "in-flight", Charge(charge("in-flight"), quota.in_flight, lease=True)),
            ]
        return found

    async def reserve(self, caller: Caller, tokens: int) -> Reserved:
        """Reserve a request, its tokens and a place in flight, or raise what the caller is told."""
        limits = self.of(caller, tokens)
        # The heartbeat renews the place of a request that takes longer than the lease.
        reservation = self._limiter.reserve(*(limit.charge for limit in limits), heartbeat=True)
        decisions = await reservation.acquire()
        if not decisions:
            raise refusal(limits, decisions)
        return Reserved(limits, reservation, decisions)


def headers(limits: list[Limit], decisions: Decisions) -> dict[str, str]:
    """Return the headers of OpenAI: of requests and of tokens those of the level that has the fewest left."""
    requests, tokens = (
        [decisions[limit.charge.key] for limit in limits if limit.kind == kind] for kind in ("requests", "tokens")
    )
    return openai(requests=requests, tokens=tokens)


def refusal(limits: list[Limit], decisions: Decisions) -> ApiError:
    """Return what a client is told that has to wait: by which limit, and how long."""
    if decisions.degraded:
        # The policy "closed" has refused, not the server.
        return no_decision()
    never = [limit for limit in limits if decisions[limit.charge.key].never]
    limit = never[0] if never else max(limits, key=lambda one: one.wait_ms(decisions[one.charge.key]))
    what = f"Limit {limit.charge.rate}, requested {limit.charge.cost}"
    on = f"{limit.level} {limit.name} on {limit.kind.replace('-', ' ')}"
    kind = "tokens" if limit.kind == "tokens" else "requests"
    told = headers(limits, decisions)
    if never:
        text = f"Request too large for {on}: {what}."
        # OpenAI's clients repeat every 429 but one that says this.
        return ApiError(429, text, kind, "rate_limit_exceeded", {**told, "x-should-retry": "false"})
    wait = limit.wait_ms(decisions[limit.charge.key])
    text = f"Rate limit reached for {on}: {what}. Please try again in {openai_duration(wait)}."
    told |= {"retry-after": str(math.ceil(wait / 1000)), "retry-after-ms": str(wait)}
    return ApiError(429, text, kind, "rate_limit_exceeded", told)
