from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from .models import EmailCode


class EmailField(forms.EmailField):
    """An address; who is meant does not depend on upper and lower case."""

    def __init__(self):
        # As long as the name of a user, which it is.
        super().__init__(max_length=150)

    def clean(self, value):
        return super().clean(value).lower()


class RegisterForm(forms.Form):
    email = EmailField()
    password = forms.CharField(widget=forms.PasswordInput, validators=[validate_password])

    def save(self) -> None:
        """Send a code to a new user. Whether there was one already, nobody learns."""
        email = self.cleaned_data["email"]
        try:
            with transaction.atomic():
                user = User.objects.create_user(email, email, self.cleaned_data["password"], is_active=False)
                EmailCode.send(user)
        except IntegrityError:
            pass


class LoginForm(forms.Form):
    email = EmailField()
    password = forms.CharField(widget=forms.PasswordInput)

    def clean(self):
        data = super().clean()
        self.user = authenticate(username=data.get("email"), password=data.get("password"))
        if self.user is None:
            raise ValidationError("There is no such user, or the password is another one.")
        return data


class VerifyForm(forms.Form):
    email = EmailField()
    code = forms.CharField(max_length=6)

    def clean(self):
        data = super().clean()
        found = EmailCode.objects.filter(user__username=data.get("email")).select_related("user").first()
        if found is None or not found.matches(data.get("code", "")):
            raise ValidationError("This code is wrong, or too old.")
        self.found = found
        return data

    def save(self) -> User:
        user = self.found.user
        user.is_active = True
        user.save(update_fields=["is_active"])
        self.found.delete()
        return user


class ResendForm(forms.Form):
    email = EmailField()

    def save(self) -> None:
        user = User.objects.filter(username=self.cleaned_data["email"], is_active=False).first()
        if user is not None:
            EmailCode.send(user)


class SettingsForm(forms.ModelForm):
    class Meta:
        model = User
        fields = ("first_name", "last_name")
