"""The settings, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from redis_ratelimit import Policy, Rate


@dataclass(frozen=True)
class Quota:
    """What one key, user or team may use."""

    requests: Rate
    tokens: Rate
    in_flight: Rate

    @classmethod
    def of(cls, level: str, default: tuple[str, str, str], lease: str, environment: Mapping[str, str]) -> Quota:
        requests, tokens, in_flight = default
        return cls(
            Rate.parse(environment.get(f"{level}_REQUESTS", requests)),
            Rate.parse(environment.get(f"{level}_TOKENS", tokens)),
            Rate.of(int(environment.get(f"{level}_IN_FLIGHT", in_flight)), lease),
        )


@dataclass(frozen=True)
class Settings:
    """What README.md describes."""

    redis_url: str
    policy: Policy
    upstream_url: str
    upstream_key: str
    upstream_timeout: float
    keys: str
    per_key: Quota
    per_user: Quota
    per_team: Quota
    max_tokens: int
    bytes_per_token: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        lease = environment.get("LEASE", "10m")
        return cls(
            redis_url=environment.get("REDIS_URL", "redis://localhost:6379/0"),
            policy=cast(Policy, environment.get("RATELIMIT_POLICY", "raise")),
            upstream_url=environment["UPSTREAM_URL"],
            upstream_key=environment["UPSTREAM_KEY"],
            upstream_timeout=float(environment.get("UPSTREAM_TIMEOUT", "300")),
            keys=environment["KEYS"],
            per_key=Quota.of("KEY", ("60/m", "40000/m", "4"), lease, environment),
            per_user=Quota.of("USER", ("100/m", "60000/m", "6"), lease, environment),
            per_team=Quota.of("TEAM", ("500/m", "200000/m", "20"), lease, environment),
            max_tokens=int(environment.get("DEFAULT_MAX_TOKENS", "1024")),
            bytes_per_token=float(environment.get("BYTES_PER_TOKEN", "1")),
        )
