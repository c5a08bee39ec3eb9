from django.contrib import messages
from django.contrib.auth import login as log_in
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django_ratelimit.decorators import ratelimit

from redis_ratelimit.django import http_headers

from .forms import LoginForm, RegisterForm, ResendForm, SettingsForm, VerifyForm


def email(group, request):
    """Whose account it is about, however they write their address."""
    return request.POST.get("email", "").strip().lower()


@ratelimit(key="ip", rate="3/h", method="POST")
def register(request):
    form = RegisterForm(request.POST or None)
    if form.is_valid():
        form.save()
        messages.info(request, "We have sent you a code.")
        return redirect("verify")
    return render(request, "accounts/form.html", {"title": "Register", "form": form})


@ratelimit(key="ip", rate="5/m", method="POST")
@ratelimit(key=email, rate="10/h", method="POST")
def login(request):
    form = LoginForm(request.POST or None)
    if form.is_valid():
        log_in(request, form.user)
        return redirect("settings")
    return render(request, "accounts/form.html", {"title": "Log in", "form": form})


@ratelimit(key=email, rate="10/h", method="POST")
def verify(request):
    form = VerifyForm(request.POST or None)
    if form.is_valid():
        log_in(request, form.save())
        return redirect("settings")
    return render(request, "accounts/form.html", {"title": "Enter your code", "form": form})


@ratelimit(key=email, rate="1/m", method="POST")
@ratelimit(key=email, rate="5/h", method="POST")
def resend(request):
    form = ResendForm(request.POST or None)
    if form.is_valid():
        form.save()
        messages.info(request, "We have sent you another code.")
        return redirect("verify")
    return render(request, "accounts/form.html", {"title": "Send the code again", "form": form})


@method_decorator(ratelimit(group="forgot", key="ip", rate="3/h", method="POST"), name="dispatch")
class Forgot(auth_views.PasswordResetView):
    template_name = "accounts/form.html"
    email_template_name = "accounts/forgot_email.txt"
    title = "Forgot your password?"
    success_url = reverse_lazy("login")


@method_decorator(ratelimit(group="reset", key="ip", rate="5/h", method="POST"), name="dispatch")
class Reset(auth_views.PasswordResetConfirmView):
    template_name = "accounts/form.html"
    title = "Set another password"
    success_url = reverse_lazy("login")


@ratelimit(key="user_or_ip", rate="60/m")
@login_required
def settings(request):
    form = SettingsForm(request.POST or None, instance=request.user)
    if form.is_valid():
        form.save()
        messages.info(request, "Saved.")
        return redirect("settings")
    return render(request, "accounts/form.html", {"title": "Settings", "form": form})


def too_many_requests(request, exception):
    """What `RATELIMIT_VIEW` names."""
    return TemplateResponse(request, "accounts/429.html", status=429, headers=http_headers(request))
