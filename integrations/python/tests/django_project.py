"""A Django project for tests: its settings, which are those of the process, and its views.

Import it before anything that needs settings. `CACHES` is for each test to set, with `cache` and `override_settings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings
from django.test import override_settings

if not settings.configured:
    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF="django_project",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework",
            "django_ratelimit",
            "redis_ratelimit.django",
        ],
        MIDDLEWARE=["django_ratelimit.middleware.RatelimitMiddleware"],
        RATELIMIT_VIEW="django_project.too_many",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        USE_TZ=True,
        # Of drf_project.py.
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "DEFAULT_THROTTLE_CLASSES": [
                "redis_ratelimit.drf.AnonRateThrottle",
                "redis_ratelimit.drf.UserRateThrottle",
            ],
            "DEFAULT_THROTTLE_RATES": {
                "anon": "3/min",
                "user": "5/hour",
                "burst": "2/s",
                "uploads": "2/day",
                "off": None,
            },
        },
    )
    django.setup()

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.generic import View
from django_ratelimit.core import get_usage
from django_ratelimit.decorators import ratelimit

from redis_ratelimit.django import http_headers

DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
# Servers on a busy machine take their time.
PATIENT = 20


def cache(location: Any, backend: str = DJANGO_REDIS, **options: Any) -> dict[str, Any]:
    """An entry of `CACHES`. Its prefix and version would show if they were used."""
    if backend == DJANGO_REDIS:
        options = {"SOCKET_TIMEOUT": PATIENT, "SOCKET_CONNECT_TIMEOUT": PATIENT, **options}
    else:
        options = {"socket_timeout": PATIENT, **options}
    return {"BACKEND": backend, "LOCATION": location, "KEY_PREFIX": "site", "VERSION": 7, "OPTIONS": options}


@contextmanager
def using(entry: dict[str, Any], **others: Any) -> Iterator[None]:
    """`CACHES` with this entry as default, and other settings."""
    with override_settings(CACHES={"default": entry}, **others):
        yield


def too_many(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("later", status=429, headers=http_headers(request))


@ratelimit(key="ip", rate="3/m")
def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("welcome")


@ratelimit(key="ip", rate="5/m", method="POST")
@ratelimit(key="post:email", rate="10/h", method="POST", group="login")
def login(request: HttpRequest) -> HttpResponse:
    return HttpResponse("welcome")


@ratelimit(key="ip", rate="1/h", block=False)
def soft(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"limited": request.limited})


def usage(request: HttpRequest) -> HttpResponse:
    return JsonResponse(get_usage(request, group="usage", key="ip", rate="2/m", increment="count" in request.GET) or {})


class Page(View):
    @method_decorator(ratelimit(key="ip", rate="1/m", method="GET"))
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("welcome")


class AsyncPage(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("welcome")


async_page = ratelimit(key="ip", rate="1/m", group="async")(AsyncPage.as_view())
assert iscoroutinefunction(async_page)

urlpatterns = [
    path("", home),
    path("login", login),
    path("soft", soft),
    path("usage", usage),
    path("page", Page.as_view()),
    path("async", async_page),
]
