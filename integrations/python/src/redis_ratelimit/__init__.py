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
    DeniedError,
    LeaseDeniedError,
    ModuleMissingError,
    NewerStateError,
    OptionError,
    PoolExhaustedError,
    RateLimitError,
    ReplyError,
    ReservationDeniedError,
    UnavailableError,
    WrongTypeError,
)
from .info import Info, TopKey, Window
from .keys import client_ip, key
from .leases import AsyncLease, Lease
from .policy import Policy
from .rates import Duration, Rate, RateLike
from .reservations import AsyncReservation, Charge, Reservation

__all__ = [
    "ArgumentError",
    "AsyncLease",
    "AsyncRateLimiter",
    "AsyncReservation",
    "Charge",
    "ConfigurationError",
    "CrossSlotError",
    "Decision",
    "Decisions",
    "DeniedError",
    "Duration",
    "Info",
    "Lease",
    "LeaseDeniedError",
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
    "Reservation",
    "ReservationDeniedError",
    "TopKey",
    "UnavailableError",
    "Window",
    "WrongTypeError",
    "client_ip",
    "key",
]
