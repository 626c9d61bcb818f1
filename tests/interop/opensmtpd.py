"""OpenSMTPD: a server for SMTP in the clear, with STARTTLS and with TLS."""

from __future__ import annotations

from daemon import MAILBOXES, NAME, USERS, Daemon

MECHANISMS = ("PLAIN", "LOGIN")

CONFIGURATION = """\
pki our cert "/etc/tls/server.pem"
pki our key "/etc/tls/server.pem"
table passwords file:/etc/smtpd/passwords
table mailboxes file:/etc/smtpd/mailboxes
table users file:/etc/smtpd/users
smtp max-message-size 10M
listen on lo port {smtp} tls pki our auth-optional <passwords> hostname {name}
listen on lo port {submission} tls-require pki our auth <passwords> hostname {name}
listen on lo port {smtps} smtps pki our auth-optional <passwords> hostname {name}
action keep maildir "/var/mail/%{{user.username}}" virtual <mailboxes> userbase <users>
match from any for domain "example.test" action keep
"""


class OpenSMTPD(Daemon):
    """Mail for example.test is kept, and all else refused."""

    package = "opensmtpd"
    log = "output"
    queues = ("var/spool/smtpd/incoming", "var/spool/smtpd/queue")

    @property
    def command(self) -> list[str]:
        return ["/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd/smtpd.conf"]

    def configure(self) -> None:
        ports = {"smtp": self.smtp, "submission": self.submission, "smtps": self.smtps}
        self.write("etc/smtpd/smtpd.conf", CONFIGURATION.format(name=NAME, **ports), mode=0o600)
        ascii_only = [user for user in MAILBOXES if user.isascii()]
        self.write("etc/smtpd/mailboxes", *(f"{user}@example.test {user}" for user in ascii_only))
        self.write("etc/smtpd/users", *(f"{user}:64000:64000:/var/mail/{user}" for user in ascii_only))
        for queue in ("corrupt", "incoming", "purge", "queue", "temporary"):
            self.make_folder(f"var/spool/smtpd/{queue}", "opensmtpq", mode=0o700)
        self.make_folder("var/spool/smtpd/offline", group="opensmtpq", mode=0o770)
        self.make_folder("var/spool/smtpd", mode=0o711)
        self.make_folder("var/lib/opensmtpd/empty")
        passwords = (f"{user} {self._hash(password)}" for user, password in USERS.items())
        self.write("etc/smtpd/passwords", *passwords)

    def _hash(self, password: str) -> str:
        """A password as crypt(3) keeps it."""
        return self.run("openssl", "passwd", "-6", "-stdin", text=password).strip()
