from bookmarks import views
from django.urls import include, path
from rest_framework.routers import DefaultRouter

router = DefaultRouter()
router.register("bookmarks", views.BookmarkViewSet)

urlpatterns = [
    path("health/", views.health),
    path("api/register/", views.Register.as_view()),
    path("api/login/", views.Login.as_view()),
    path("api/", include(router.urls)),
]
