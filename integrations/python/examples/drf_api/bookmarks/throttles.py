from redis_ratelimit.drf import AnonRateThrottle, ScopedRateThrottle, UserRateThrottle

__all__ = ["AnonRateThrottle", "LoginRateThrottle", "ScopedRateThrottle", "UserRateThrottle"]


class LoginRateThrottle(AnonRateThrottle):
    """Passwords are not to be guessed."""

    scope = "login"
    policy = "closed"
