"""The app."""

from __future__ import annotations

import importlib
import importlib.util

from django.apps import AppConfig, apps
from django.core import checks


class RateLimitConfig(AppConfig):
    """Takes django-ratelimit over, if that is installed, and checks the cache that its limits are asked from."""

    name = "redis_ratelimit.django"
    label = "redis_ratelimit"
    verbose_name = "redis-ratelimit"

    def ready(self) -> None:
        """Django has loaded all apps."""
        # Without it, the app is there for its management command, and any cache will do.
        if importlib.util.find_spec("django_ratelimit") is not None:
            from .checks import check_cache
            from .takeover import take_over

            take_over()
            checks.register(check_cache, checks.Tags.caches)
        if apps.is_installed("rest_framework"):
            # It registers a check of the rates in the settings.
            importlib.import_module("redis_ratelimit.drf")
