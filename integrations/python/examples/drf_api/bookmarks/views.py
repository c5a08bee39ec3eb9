from django.db.models import Q
from django.http import HttpRequest, JsonResponse
from rest_framework import generics, mixins, permissions, status, viewsets
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.decorators import action
from rest_framework.response import Response

from .models import Bookmark
from .serializers import BookmarkSerializer, RegisterSerializer
from .throttles import LoginRateThrottle


def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


class Register(generics.CreateAPIView):
    serializer_class = RegisterSerializer
    permission_classes = (permissions.AllowAny,)
    throttle_scope = "register"


class Login(ObtainAuthToken):
    """A token for a name and a password."""

    authentication_classes = ()
    throttle_classes = (LoginRateThrottle,)


class IsOwnerOrReadOnly(permissions.BasePermission):
    def has_object_permission(self, request, view, obj):
        return request.method in permissions.SAFE_METHODS or obj.owner == request.user


class BookmarkViewSet(
    mixins.CreateModelMixin,
    mixins.DestroyModelMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    viewsets.GenericViewSet,
):
    queryset = Bookmark.objects.select_related("owner")
    serializer_class = BookmarkSerializer
    permission_classes = (permissions.IsAuthenticatedOrReadOnly, IsOwnerOrReadOnly)
    throttle_scope = None

    def perform_create(self, serializer):
        serializer.save(owner=self.request.user)

    @action(detail=False, throttle_scope="search")
    def search(self, request):
        """Those whose title or address contains `q`."""
        text = request.query_params.get("q", "")
        found = self.paginate_queryset(self.get_queryset().filter(Q(title__icontains=text) | Q(url__icontains=text)))
        return self.get_paginated_response(self.get_serializer(found, many=True).data)

    @action(detail=False, throttle_scope="suggest")
    def suggest(self, request):
        """Titles that begin with `q`, while it is typed."""
        found = self.get_queryset().filter(title__istartswith=request.query_params.get("q", ""))
        return Response(found.order_by("title").values_list("title", flat=True).distinct()[:10])

    @action(detail=False, methods=["post"], url_path="import", url_name="import", throttle_scope="import")
    def bulk(self, request):
        """Take a whole list over."""
        serializer = self.get_serializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        serializer.save(owner=request.user)
        return Response({"imported": len(serializer.data)}, status=status.HTTP_201_CREATED)
