"""Sends a newsletter to each reader on their own, and tries again where that may help."""

import smtplib
import ssl
from email.message import EmailMessage


def send_newsletter(
    message: EmailMessage,
    readers: list[str],
    host: str,
    port: int,
    *,
    login: tuple[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    tries: int = 3,
) -> list[str]:
    """Send it through a submission server, with STARTTLS if there is a context. The readers who have not
    got it after so many tries.
    """
    left = list(readers)
    while left and tries:
        tries -= 1
        try:
            with smtplib.SMTP(host, port, timeout=10) as server:
                if context:
                    server.starttls(context=context)
                if login:
                    server.login(*login)
                _send_to_each(server, message, left)
        except smtplib.SMTPServerDisconnected:
            pass  # whoever has it is no longer among those who are left
    return left


def _send_to_each(server: smtplib.SMTP, message: EmailMessage, left: list[str]) -> None:
    for reader in list(left):
        try:
            server.send_message(message, to_addrs=[reader])
        except smtplib.SMTPRecipientsRefused:
            continue
        left.remove(reader)
