import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.mail import send_mail
from django.db import models
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac


class EmailCode(models.Model):
    """The code of six digits that a new user has been sent; the last one counts."""

    LIFETIME = timedelta(minutes=15)

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="email_code")
    digest = models.CharField(max_length=64)
    sent_at = models.DateTimeField()

    @classmethod
    def send(cls, user: User) -> None:
        code = f"{secrets.randbelow(1_000_000):06}"
        cls.objects.update_or_create(user=user, defaults={"digest": cls._digest(user, code), "sent_at": timezone.now()})
        send_mail("Your code", f"Your code is {code}. It is good for 15 minutes.\n", None, [user.email])

    def matches(self, code: str) -> bool:
        return timezone.now() < self.sent_at + self.LIFETIME and constant_time_compare(
            self.digest, self._digest(self.user, code)
        )

    @staticmethod
    def _digest(user: User, code: str) -> str:
        return salted_hmac("accounts.EmailCode", f"{user.pk}:{code}", algorithm="sha256").hexdigest()
