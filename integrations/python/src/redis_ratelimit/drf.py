"""Throttles of Django REST framework, decided by the server: drop-ins for those in ``rest_framework.throttling``.

Rates, scopes and the methods to override (`get_cache_key`, `get_ident`, `parse_rate`, `get_rate`, `throttle_success`,
`throttle_failure`) are those of the framework. There are three Django settings:

- ``DISABLE_THROTTLING = True`` lets everything pass, and asks nothing. It is read at each request.
- ``THROTTLE_FAILURE_POLICY`` says what happens when there is no decision, because Redis is down or refuses the
  password: ``"open"`` lets requests pass, the default, since a throttle is there to keep an API working; ``"closed"``
  answers 429 with a second to wait; ``"raise"`` raises `UnavailableError`. The attribute `policy` of a class says it
  for that throttle alone: one on logins should be ``"closed"``.
- ``THROTTLE_OBSERVE = True`` decides and refuses nothing, see `RateLimiter`; for one throttle alone, its attribute
  `observe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from rest_framework import throttling
from rest_framework.settings import api_settings

from .client import RateLimiter
from .decision import Decision
from .django import connection
from .django.settings import setting
from .errors import ArgumentError
from .keys import client_ip, key
from .policy import Policy
from .rates import Rate
from .unusable import usable

if TYPE_CHECKING:
    # rest_framework.views imports this module, when the settings name it.
    from rest_framework.request import Request
    from rest_framework.views import APIView


def unusable_rate(throttle: type[SimpleRateThrottle], rate: object) -> str | None:
    """Return why the server has no such limit; None if it has, or if only the throttle itself can read it."""
    if not isinstance(rate, str) or throttle.parse_rate is not throttling.SimpleRateThrottle.parse_rate:
        return None
    try:
        limit, seconds = throttling.SimpleRateThrottle.parse_rate(throttle, rate)  # type: ignore[arg-type]
    except (KeyError, ValueError, IndexError):
        # Not the framework's format: it says so itself.
        return None
    try:
        if limit is not None and seconds is not None and limit > 0:
            Rate.of(limit, seconds)
    except ArgumentError as error:
        return str(error)
    return None


class SimpleRateThrottle(throttling.SimpleRateThrottle):
    """One ``RL.CHECK`` for each request, however many ask at a time: at most `num_requests` in any `duration`.

    `cache` is the cache whose connection is used, by default ``default`` in ``CACHES``. A throttle whose limit is 0
    always refuses. There is no `history`, no `now` and no `timer`; what the server said is in `decision`.
    """

    num_requests: int
    duration: float
    # The scope stands in the key whatever the format is.
    cache_format = "%(ident)s"

    key_prefix = "rl:throttle"
    """What all keys begin with: ``rl:throttle:<scope>:<what get_cache_key says>:<duration>``."""
    policy: Policy | None = None
    """What happens when there is no decision; None is what ``THROTTLE_FAILURE_POLICY`` says."""
    observe: bool | None = None
    """Whether nothing is refused; None is what ``THROTTLE_OBSERVE`` says."""
    decision: Decision | None = None
    """What the server said to the last request; None when it was not asked."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a `rate` that cannot be, when the class is declared."""
        super().__init_subclass__(**kwargs)
        if problem := unusable_rate(cls, cls.__dict__.get("rate")):
            raise ImproperlyConfigured(f"rate of {cls.__qualname__}: {problem}")

    def get_ident(self, request: Request) -> str:
        """Return the address that `NUM_PROXIES` makes out, without its port; IPv6 clients by their network, /64."""
        return client_ip(super().get_ident(request))

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Ask the server, unless nothing limits the request."""
        self.decision = None
        if getattr(settings, "DISABLE_THROTTLING", False) or self.rate is None:
            return True
        ident = self.get_cache_key(request, view)
        if ident is None:
            return True
        rate = self._usable() if self.num_requests > 0 else None
        if rate is None:
            return self._refuse_all()
        window = str(rate).partition("/")[2]
        scope = [str(self.scope)] if self.scope else []
        # The framework makes text of whatever its classes return: a UUID, a float, a tuple, a text to be translated.
        self.key = key(*scope, ident if isinstance(ident, str | bytes) else str(ident), window, prefix=self.key_prefix)
        with connection.explained:
            self.decision = self._limiter().check(self.key, rate)
        return self.throttle_success() if self.decision.allowed else self.throttle_failure()

    def throttle_success(self) -> bool:
        """Return the answer to a request that may go on; it has been counted."""
        return True

    def throttle_failure(self) -> bool:
        """Return the answer to a request that is refused; it was not counted."""
        return False

    def wait(self) -> float | None:
        """Return the seconds after which the request would pass. Nothing passes a limit of 0: the whole duration."""
        if self.decision is not None:
            return self.decision.retry_after
        return self.duration if self.rate is not None and (self.num_requests <= 0 or self._usable() is None) else None

    def _refuse_all(self) -> bool:
        """Return the answer to every request, if the limit is one of nothing."""
        if not (setting("THROTTLE_OBSERVE", False) if self.observe is None else self.observe):
            return self.throttle_failure()
        why = f"a limit of {self.num_requests} in {self.duration} s refuses every request"
        self._limiter()._observer.note(f"scope {self.scope!r}", why)
        return self.throttle_success()

    def _usable(self) -> Rate | None:
        return usable(self.num_requests, self.duration, f"scope {self.scope!r} of REST framework")

    def _limiter(self) -> RateLimiter:
        limiter = connection.limiter(self.cache)
        policy: Policy = self.policy or setting("THROTTLE_FAILURE_POLICY") or "open"
        try:
            limiter = limiter.with_policy(policy)
        except ArgumentError as error:
            raise ImproperlyConfigured(f"THROTTLE_FAILURE_POLICY: {error}") from error
        return connection.observing(limiter, "THROTTLE_OBSERVE", self.observe)


def check_rates(**_: object) -> list[checks.CheckMessage]:
    """Look whether the server has the limits that the settings name for throttles of this module: a system check."""
    found: dict[str, str] = {}
    throttles: list[Any] = list(api_settings.DEFAULT_THROTTLE_CLASSES)
    for throttle in throttles:
        if not issubclass(throttle, SimpleRateThrottle) or getattr(throttle, "rate", None):
            continue
        # Views name the scopes of a ScopedRateThrottle: it may be any.
        for scope in [throttle.scope] if throttle.scope else throttle.THROTTLE_RATES:
            if problem := unusable_rate(throttle, throttle.THROTTLE_RATES.get(scope)):
                found[scope] = problem
    return [
        checks.Error(f"DEFAULT_THROTTLE_RATES[{scope!r}] of REST_FRAMEWORK: {problem}", id="redis_ratelimit.E003")
        for scope, problem in found.items()
    ]


checks.register(check_rates)


class AnonRateThrottle(throttling.AnonRateThrottle, SimpleRateThrottle):
    """Limits those who are not logged in, by their address. Scope ``anon``."""


class UserRateThrottle(throttling.UserRateThrottle, SimpleRateThrottle):
    """Limits users by their primary key, and all others by their address. Scope ``user``."""


class ScopedRateThrottle(throttling.ScopedRateThrottle, SimpleRateThrottle):
    """Limits views that have a `throttle_scope`, for each user or address, by the rate of that scope."""
