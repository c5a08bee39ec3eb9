"""The views of REST framework in the project of django_project.py, whose default throttles are ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import django_project  # noqa: F401

# After the settings.
from django.urls import path  # isort: skip
from rest_framework.authentication import BaseAuthentication  # isort: skip
from rest_framework.decorators import api_view, throttle_classes  # isort: skip
from rest_framework.request import Request  # isort: skip
from rest_framework.response import Response  # isort: skip
from rest_framework.views import APIView  # isort: skip
from redis_ratelimit.drf import AnonRateThrottle, ScopedRateThrottle, SimpleRateThrottle, UserRateThrottle  # isort: skip


class ByHeader(BaseAuthentication):
    """Whoever says so is that user."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        name = request.headers.get("x-user")
        return (SimpleNamespace(pk=name, is_authenticated=True), None) if name else None


class View(APIView):
    authentication_classes = (ByHeader,)

    def get(self, request: Request) -> Response:
        return Response("welcome")


class Upload(View):
    throttle_classes = (ScopedRateThrottle,)
    throttle_scope = "uploads"


class Unscoped(View):
    throttle_classes = (ScopedRateThrottle,)


class Unlimited(Upload):
    throttle_scope = "off"


class Burst(UserRateThrottle):
    scope = "burst"


class Several(View):
    throttle_classes = (Burst, UserRateThrottle, AnonRateThrottle)


class Ten(SimpleRateThrottle):
    """All callers together."""

    rate = "10/hour"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        return None if "free" in request.GET else "everybody"


class Many(View):
    throttle_classes = (Ten,)


class Login(AnonRateThrottle):
    policy = "closed"


@api_view()
@throttle_classes([Login])
def login(request: Request) -> Response:
    return Response("welcome")


urlpatterns = [
    path("", View.as_view()),
    path("upload", Upload.as_view()),
    path("unscoped", Unscoped.as_view()),
    path("unlimited", Unlimited.as_view()),
    path("several", Several.as_view()),
    path("many", Many.as_view()),
    path("login", login),
]
