"""Letters to readers."""

import logging
import smtplib
from email.message import EmailMessage

from flask import current_app

logger = logging.getLogger(__name__)


def send(to: str, subject: str, text: str) -> None:
    """Send a letter by SMTP_HOST. Without one it is logged, for development."""
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = current_app.config["MAIL_FROM"], to, subject
    letter.set_content(text)
    host = current_app.config["SMTP_HOST"]
    if not host:
        logger.info("no SMTP_HOST, so this was not sent to %s:\n%s", to, text)
        return
    with smtplib.SMTP(host, timeout=10) as server:
        server.send_message(letter)
