"""Rate limits decided inside Redis and Valkey, by the redis-ratelimit module.

>>> decision = limiter.check("user:carol", "100/m")
>>> "go" if decision.allowed else f"wait {decision.retry_after} s"
'go'
"""

from .aio import AsyncRateLimiter
from .client import RateLimiter
from .decision import Decision, Decisions
from .errors import (
    ArgumentError,
    ConfigurationError,
    CrossSlotError,
    ModuleMissingError,
    NewerStateError,
    OptionError,
    PoolExhaustedError,
    RateLimitError,
    ReplyError,
    UnavailableError,
    WrongTypeError,
)
from .info import Info, TopKey, Window
from .keys import client_ip, key
from .policy import Policy
from .rates import Duration, Rate, RateLike

__all__ = [
    "ArgumentError",
    "AsyncRateLimiter",
    "ConfigurationError",
    "CrossSlotError",
    "Decision",
    "Decisions",
    "Duration",
    "Info",
    "ModuleMissingError",
    "NewerStateError",
    "OptionError",
    "Policy",
    "PoolExhaustedError",
    "Rate",
    "RateLike",
    "RateLimitError",
    "RateLimiter",
    "ReplyError",
    "TopKey",
    "UnavailableError",
    "Window",
    "WrongTypeError",
    "client_ip",
    "key",
]
