"""The exceptions of this package. All of them are `RateLimitError`."""

from __future__ import annotations

from typing import Any

from .decision import Decision, Decisions


class RateLimitError(Exception):
    """Anything that kept a call from being answered."""


class UnavailableError(RateLimitError):
    """There is no decision, and nothing that the caller did wrong: the failure policy applies.

    Raised with the policy ``raise``, and by the calls for which no answer can be made up. The exception of redis-py is
    its ``__cause__``.
    """

    def __init__(self, reason: str, message: str) -> None:
        # Both arguments, and no text made of them: they are what a copy, or another process, makes it of again.
        super().__init__(reason, message)
        self.reason = reason
        """The server's error code (``OOM``, ``LOADING``, …), or ``CONNECTION``, ``TIMEOUT``, ``PROTOCOL``."""
        self.message = message
        """What the server or the connection said."""

    def __str__(self) -> str:
        return f"no rate limit decision ({self.reason}): {self.message}"


class DeniedError(RateLimitError):
    """What ``with`` asked for was denied."""

    def __init__(self, decision: Decision | Decisions | Any) -> None:
        super().__init__(decision)
        self.decision: Any = decision
        """The answer."""

    def __str__(self) -> str:
        if self.decision.degraded:
            return f"denied, for there is no rate limit decision ({self.decision.degraded})"
        if self.decision.never:
            return "denied: it costs more than the limit"
        return f"denied: try again in {self.decision.retry_after} s"


class LeaseDeniedError(DeniedError):
    """There is no room for another lease."""

    decision: Decision
    """The answer."""


class ReservationDeniedError(DeniedError):
    """There is no room for a reservation on one of its keys at least.

    `decision` is a `Decisions`, or of `MultiLevelLimiter.reserve` a `MultiLevelDecision`: what had no room is
    `refused`.
    """


class PoolExhaustedError(RateLimitError):
    """All connections that may be open are in use, and none was free in time. Nothing was charged.

    That is no outage: the server answers, only too many ask at a time. So the policy ``open`` does not let the request
    pass, or whoever sends many requests at a time would not be limited at all.
    """


class ConfigurationError(RateLimitError):
    """The limiter is not set up as the server needs it, or the server is not what the client was told that it is."""


class ModuleMissingError(ConfigurationError):
    """The server does not know the command: the module is not loaded there, or is too old."""


class WrongTypeError(RateLimitError):
    """The key holds something else, or a limiter of the other algorithm. It was not touched."""


class NewerStateError(RateLimitError):
    """The key was written by a newer release of the module than the server has."""


class ArgumentError(RateLimitError, ValueError):
    """An argument was refused, here or by the server. Nothing was charged."""


class OptionError(ConfigurationError, ArgumentError):
    """The URL of a limiter, or an option of its connections, cannot be used. It repeats no user and no password."""


class CrossSlotError(ArgumentError):
    """In a Redis Cluster, the keys of one call lie in different slots. Nothing was charged."""


class ReplyError(RateLimitError):
    """The reply is none that this release understands."""
