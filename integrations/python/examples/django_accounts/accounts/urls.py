from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.generic import RedirectView

from . import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="settings")),
    path("register/", views.register, name="register"),
    path("login/", views.login, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("verify/", views.verify, name="verify"),
    path("resend/", views.resend, name="resend"),
    path("forgot/", views.Forgot.as_view(), name="forgot"),
    path("reset/<uidb64>/<token>/", views.Reset.as_view(), name="reset"),
    path("settings/", views.settings, name="settings"),
]
