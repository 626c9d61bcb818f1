"""Dovecot: LMTP into a Maildir, and a server for submission that passes on to another one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from daemon import HOST, MAILBOXES, NAME, USERS, Daemon

KEY = b"a key that signs tokens for Dovecot"
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2")

CONFIGURATION = """\
log_path = /var/log/dovecot
protocols = lmtp submission
listen = {host}
hostname = {name}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:/var/mail/%n
mail_uid = mailbox
mail_gid = mailbox
recipient_delimiter =
postmaster_address = postmaster@example.test
auth_username_format = %Ln
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
ssl = yes
ssl_cert = </etc/tls/server.pem
ssl_key = </etc/tls/server.pem
submission_relay_host = {relay_host}
submission_relay_port = {relay_port}
submission_relay_trusted = yes
submission_max_mail_size = 10M
passdb {{
  driver = passwd-file
  mechanisms = none plain login cram-md5 scram-sha-1 scram-sha-256
  args = /etc/dovecot/users
}}
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = /etc/dovecot/oauth2
}}
userdb {{
  driver = passwd-file
  args = /etc/dovecot/users
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service submission-login {{
  inet_listener submission {{
    port = {submission}
  }}
  inet_listener submissions {{
    port = {smtps}
    ssl = yes
  }}
}}
"""


class Dovecot(Daemon):
    """Who has logged in to submission may send by the server at `relay_to`."""

    package = "dovecot"
    log = "var/log/dovecot"

    def __init__(self, *, relay_to: tuple[str, int] = (HOST, 9)) -> None:
        self._relay_to = relay_to
        super().__init__()

    @property
    def command(self) -> list[str]:
        return ["/usr/sbin/dovecot", "-F", "-c", "/etc/dovecot/dovecot.conf"]

    @property
    def ports(self) -> list[int]:
        return [self.submission, self.lmtp]

    @property
    def socket(self) -> str:
        """Where it speaks LMTP on a Unix socket."""
        return str(self.folder / "run/dovecot/lmtp")

    def configure(self) -> None:
        self.write(
            "etc/dovecot/dovecot.conf",
            CONFIGURATION.format(
                host=HOST,
                name=NAME,
                mechanisms=" ".join(MECHANISMS).lower(),
                relay_host=self._relay_to[0],
                relay_port=self._relay_to[1],
                lmtp=self.lmtp,
                submission=self.submission,
                smtps=self.smtps,
            ),
        )
        self.write("etc/dovecot/users", *(_user(name) for name in MAILBOXES))
        self.write(
            "etc/dovecot/oauth2",
            "introspection_mode = local",
            "local_validation_key_dict = fs:posix:prefix=/etc/dovecot/keys/",
            "username_attribute = sub",
        )
        self.write("etc/dovecot/keys/default/HS256/default", base64.b64encode(KEY).decode())


def _user(name: str) -> str:
    """A line of the file of users; who has no password cannot log in."""
    password = base64.b64encode(USERS.get(name, "").encode()).decode()
    return f"{name}:{{PLAIN.b64}}{password}:::::" + ("" if name in USERS else ":nologin")


def token(user: str) -> str:
    """What OAUTHBEARER and XOAUTH2 log in with (RFC 7519), for all this century."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": user, "iat": 1_600_000_000, "exp": 4_102_444_800}]
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    return b".".join((signed, _base64url(hmac.digest(KEY, signed, hashlib.sha256)))).decode()


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
