"""Django's settings as adapters read them: once, and again when tests override them.

To ask Django for a setting that is not there takes two exceptions, and a limit has many that hardly anybody sets.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed


@cache
def setting(name: str, default: Any = None) -> Any:
    """Return a setting, or the default if it is not there."""
    return getattr(settings, name, default)


def _forget(**_: object) -> None:
    setting.cache_clear()


setting_changed.connect(_forget)
