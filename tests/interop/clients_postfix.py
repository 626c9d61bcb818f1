"""Postfix as a client of ours: the recipient's domain says where it is to go, and how."""

from __future__ import annotations

import re
import smtplib

from clients_ours import PASSWORD, USER
from clients_programs import DOMAIN, PATIENCE, Letter
from daemon import HOST, free_ports, until
from postfix import Postfix

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")

# For each way, how its client is told to take it.
WAYS = {
    "tcp": ["smtp_tls_security_level=none"],
    "starttls": ["smtp_tls_security_level=secure", "smtp_tls_secure_cert_match=localhost"],
    "tls": [
        "smtp_tls_wrappermode=yes",
        "smtp_tls_security_level=secure",
        "smtp_tls_secure_cert_match=localhost",
    ],
}
LOG_IN = [
    "smtp_sasl_auth_enable=yes",
    "smtp_sasl_security_options=noanonymous",
    "smtp_sasl_password_maps=texthash:/etc/postfix/credentials",
]


class Sender(Postfix):
    """Passes on what is for the domains of our servers. These have to be where it looks for them."""

    def __init__(self) -> None:
        self.places: dict[str, int] = dict(zip(WAYS, free_ports(len(WAYS)), strict=True))
        super().__init__()

    @property
    def socket(self) -> str:
        """Where it looks for our LMTP server."""
        return str(self.folder / "ours" / "socket")

    def recipient(self, user: str, way: str, mechanism: str | None = None) -> str:
        """Somebody whose mail goes to our server, in this way."""
        return f"{user}@{_service(way, mechanism)}.relay.test"

    def submit(self, letter: Letter, *options: str) -> None:
        """Give it a letter, with these options of MAIL. It goes on when it likes."""
        with smtplib.SMTP(HOST, self.smtp, DOMAIN, PATIENCE) as client:
            rcpt = ["NOTIFY=FAILURE,SUCCESS"] if letter.dsn else []
            client.sendmail(letter.sender, letter.recipients, letter.data, ["BODY=8BITMIME", *options], rcpt)

    def outcome(self, recipient: str) -> str:
        """What its log says, once it says it, of what became of the mail for somebody."""
        pattern = re.compile(rf"to=<{re.escape(recipient)}>,.* status=(.*)")
        until(lambda: pattern.search(self.logged()) is not None, self.logged)
        return pattern.findall(self.logged())[-1]

    def forget(self) -> None:
        """Drop what waits in its queue, and its log."""
        self.run("postsuper", "-d", "ALL")
        (self.folder / self.log).write_text("")

    def configure(self) -> None:
        self._routes.append(f"{self.recipient('', 'unix')[1:]} lmtp:unix:{self.socket}")
        services: list[str] = []
        for way, options in WAYS.items():
            for mechanism in (None, *MECHANISMS):
                name = _service(way, mechanism)
                more = [*LOG_IN, f"smtp_sasl_mechanism_filter={mechanism}"] if mechanism else []
                services.append(f"{name} unix - - n - - smtp")
                services += (f"  -o {option}" for option in (*options, *more))
                self._routes.append(f"{name}.relay.test {name}:[{HOST}]:{self.places[way]}")
        services.append("ours-tcp-xforward unix - - n - - smtp")
        services.append("  -o smtp_send_xforward_command=yes")
        self._routes.append(f"ours-tcp-xforward.relay.test ours-tcp-xforward:[{HOST}]:{self.places['tcp']}")
        super().configure()
        self.write("etc/postfix/credentials", f"{HOST} {USER}:{PASSWORD}")
        self.make_folder("ours")
        with (self.folder / "etc/postfix/master.cf").open("a") as file:
            file.writelines(f"{line}\n" for line in services)


def _service(way: str, mechanism: str | None) -> str:
    """What the client for a way is called in master.cf."""
    return f"ours-{way}-{mechanism or 'open'}".lower()
