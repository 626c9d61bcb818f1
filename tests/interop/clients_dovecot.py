"""Dovecot's submission as a client of ours."""

from __future__ import annotations

import smtplib

from clients_programs import DOMAIN, PATIENCE, Letter
from daemon import HOST, USERS, free_ports
from dovecot import Dovecot

# For each way, how it is told to take it.
WAYS = {"tcp": "no", "starttls": "starttls", "tls": "smtps"}


class Relay(Dovecot):
    """Passes on what its users submit to our server, which has to be at `port`."""

    def __init__(self, way: str) -> None:
        self.way = way
        (self.port,) = free_ports(1)
        super().__init__(relay_to=(HOST, self.port))

    def configure(self) -> None:
        super().configure()
        with (self.folder / "etc/dovecot/dovecot.conf").open("a") as file:
            file.write(f"submission_relay_ssl = {WAYS[self.way]}\nssl_client_ca_file = /etc/tls/ca.pem\n")

    def submit(self, letter: Letter) -> smtplib.SMTPException | None:
        """Have the letter passed on; what it says if it cannot."""
        with smtplib.SMTP(HOST, self.submission, DOMAIN, PATIENCE) as client:
            client.starttls(context=self.context)
            client.login("alice", USERS["alice"])
            mail = ["BODY=8BITMIME"] + ["RET=HDRS"] * letter.dsn
            rcpt = ["NOTIFY=SUCCESS"] * letter.dsn
            try:
                client.sendmail(letter.sender, letter.recipients, letter.data, mail, rcpt)
            except smtplib.SMTPException as exc:
                return exc
        return None
