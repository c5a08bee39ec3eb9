"""What the blocking and the asyncio limiter are both: a link, a policy, and a memory of outages."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

from .classify import classify
from .commands import Request
from .connection import Link
from .errors import UnavailableError
from .outage import Outages
from .policy import Policy, checked

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class Limiter:
    """The part of `RateLimiter` and `AsyncRateLimiter` that does not talk to a server."""

    def __init__(self, link: Link, policy: Policy) -> None:
        self._link = link
        self._policy = checked(policy)
        self._outages = Outages()

    @property
    def policy(self) -> Policy:
        """What is answered when the server decides nothing."""
        return self._policy

    @property
    def outage(self) -> str | None:
        """The reason of the outage that calls have met, such as ``TIMEOUT``; None while there are decisions."""
        return self._outages.current

    def with_policy(self, policy: Policy) -> Self:
        """Return a limiter on the same connections with another failure policy.

        >>> logins = limiter.with_policy("closed")
        >>> logins.policy, limiter.policy
        ('closed', 'raise')
        """
        other = copy.copy(self)
        other._policy = checked(policy)
        return other

    def _without_decision(self, request: Request[T], error: Exception) -> T:
        """Raise what the error means, or return what the policy says."""
        ours = classify(error)
        if not isinstance(ours, UnavailableError):
            raise ours from error
        # What has no other answer raises, whatever the policy is.
        policy: Policy = "raise" if request.otherwise is None else self._policy
        self._outages.failed(ours.reason, str(error) or type(error).__name__, policy)
        if policy == "raise" or request.otherwise is None:
            raise ours from error
        return request.otherwise(policy, ours.reason)
