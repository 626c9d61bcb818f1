"""Dovecot's submission as a client of ours."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from clients_programs import DOMAIN, PATIENCE, Letter
from daemon import HOST, USERS, free_ports
from dovecot import Dovecot


class Relay(NamedTuple):
    """A Dovecot, and the port where it looks for our server."""

    dovecot: Dovecot
    port: int

    def submit(self, letter: Letter) -> smtplib.SMTPException | None:
        """Have the letter passed on; what it says if it cannot."""
        with smtplib.SMTP(HOST, self.dovecot.submission, DOMAIN, PATIENCE) as client:
            client.starttls(context=self.dovecot.context)
            client.login("alice", USERS["alice"])
            options = ["BODY=8BITMIME"] + ["RET=HDRS"] * letter.dsn
            try:
                client.sendmail(
                    letter.sender, letter.recipients, letter.data, options, ["NOTIFY=SUCCESS"] * letter.dsn
                )
            except smtplib.SMTPException as exc:
                return exc
        return None


@contextmanager
def relaying() -> Iterator[Relay]:
    """A Dovecot that passes on what its users submit."""
    (port,) = free_ports(1)
    with Dovecot(relay_to=(HOST, port)) as daemon:
        yield Relay(daemon, port)
