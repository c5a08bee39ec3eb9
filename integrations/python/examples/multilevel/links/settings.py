"""The settings, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from redis_ratelimit import Policy


@dataclass(frozen=True)
class Settings:
    """What README.md describes."""

    redis_url: str
    policy: Policy
    per_ip: str
    per_user: str
    per_endpoint: str
    shard: str | None
    trusted_proxies: int
    database: str
    admin_token: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        return cls(
            redis_url=environment.get("REDIS_URL", "redis://localhost:6379/0"),
            policy=cast(Policy, environment.get("RATELIMIT_POLICY", "open")),
            per_ip=environment.get("LIMIT_PER_IP", "60/minute; 1000/day"),
            per_user=environment.get("LIMIT_PER_USER", "20/minute; 200/day"),
            per_endpoint=environment.get("LIMIT_PER_ENDPOINT", "600/minute"),
            shard=environment.get("RATELIMIT_SHARD"),
            trusted_proxies=int(environment.get("TRUSTED_PROXIES", "0")),
            database=environment.get("DATABASE", "links.sqlite3"),
            admin_token=environment["ADMIN_TOKEN"],
        )
