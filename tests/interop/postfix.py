"""Postfix: a server for SMTP in the clear, with STARTTLS and with TLS, and a client for SMTP and LMTP."""

from __future__ import annotations

import shutil

from daemon import ACCOUNTS, HOST, MAILBOXES, NAME, USERS, Daemon, lines

Address = tuple[str, int]

SERVICES = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved")
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")


class Postfix(Daemon):
    """Mail for example.test is kept, and what others send elsewhere refused.

    `lmtp_to`: where its LMTP client brings what is for lmtp.test, a path or host and port. `relay_to`: where
    its SMTP client brings what is for relay.test. `settings`: more of main.cf.
    """

    package = "postfix"
    log = "var/log/postfix"
    queues = tuple(f"var/spool/postfix/{queue}" for queue in ("active", "incoming", "maildrop"))

    def __init__(
        self, *, lmtp_to: str | Address | None = None, relay_to: Address | None = None, **settings: object
    ) -> None:
        self._routes = []
        if lmtp_to is not None:
            self._routes.append(f"lmtp.test lmtp:{_place(lmtp_to)}")
        if relay_to is not None:
            self._routes.append(f"relay.test smtp:{_place(relay_to).removeprefix('inet:')}")
        self._settings = settings
        super().__init__()

    @property
    def command(self) -> list[str]:
        return ["/usr/lib/postfix/sbin/master", "-s"]

    def configure(self) -> None:
        self._tables()
        self.write("etc/postfix/main.cf", *lines(self._main()))
        self.write(
            "etc/postfix/master.cf",
            f"{HOST}:{self.smtp} inet n - n - - smtpd",
            f"{HOST}:{self.submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt",
            "  -o smtpd_client_restrictions=permit_sasl_authenticated,reject",
            f"{HOST}:{self.smtps} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes",
            SERVICES,
        )
        self._queue()
        self._passwords()

    def _main(self) -> dict[str, object]:
        return {
            "compatibility_level": "3.6",
            "maillog_file": "/var/log/postfix",
            "myhostname": NAME,
            "mydomain": "example.test",
            "mydestination": "",
            "mynetworks": "",
            "inet_interfaces": HOST,
            "default_database_type": "texthash",
            "alias_maps": "",
            # Whose mail it takes, and where that goes.
            "virtual_mailbox_domains": "example.test",
            "virtual_mailbox_base": "/var/mail",
            "virtual_mailbox_maps": "texthash:/etc/postfix/mailboxes",
            "virtual_alias_maps": "texthash:/etc/postfix/aliases",
            "virtual_uid_maps": "static:64000",
            "virtual_gid_maps": "static:64000",
            "relay_domains": "relay.test lmtp.test",
            "transport_maps": "texthash:/etc/postfix/routes",
            "relay_transport": "error:nobody relays this",
            "default_transport": "discard",
            "smtpd_recipient_restrictions": "check_recipient_access texthash:/etc/postfix/refused",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
            "smtp_dns_support_level": "disabled",
            # What it offers.
            "smtpd_discard_ehlo_keywords": "",
            "smtpd_authorized_xclient_hosts": HOST,
            "smtpd_authorized_xforward_hosts": HOST,
            "smtpd_tls_security_level": "may",
            "smtpd_tls_auth_only": "yes",
            "smtpd_tls_chain_files": "/etc/tls/server.pem",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_local_domain": "example.test",
            "cyrus_sasl_config_path": "/etc/postfix/sasl",
            # Nobody here is an attacker, and nobody waits for long.
            "smtpd_error_sleep_time": "0",
            "smtpd_client_connection_rate_limit": "0",
            "minimal_backoff_time": "1s",
            "queue_run_delay": "1s",
            "smtp_tls_security_level": "may",
            "smtp_tls_CAfile": "/etc/tls/ca.pem",
        } | self._settings

    def _tables(self) -> None:
        self.write("etc/postfix/mailboxes", *(f"{user}@example.test {user}/" for user in MAILBOXES))
        self.write(
            "etc/postfix/aliases",
            "list@example.test alice@example.test, bob@example.test",
            "postmaster@example.test alice@example.test",
        )
        self.write(
            "etc/postfix/refused",
            "full@example.test 452 4.2.2 Mailbox full",
            "grey@example.test 450 4.7.1 Try again later",
        )
        self.write("etc/postfix/routes", *self._routes)

    def _queue(self) -> None:
        for queue in (*QUEUES, "trace"):
            self.make_folder(f"var/spool/postfix/{queue}", "postfix", mode=0o700)
        self.make_folder("var/spool/postfix/maildrop", "postfix", "postdrop", 0o730)
        self.make_folder("var/spool/postfix/public", "postfix", "postdrop", 0o710)
        self.make_folder("var/spool/postfix/pid")
        self.make_folder("var/lib/postfix", "postfix")

    def _passwords(self) -> None:
        self.write(
            "etc/postfix/sasl/smtpd.conf",
            "pwcheck_method: auxprop",
            "auxprop_plugin: sasldb",
            "sasldb_path: /var/lib/postfix/sasldb",
            f"mech_list: {' '.join(MECHANISMS)}",
        )
        create = ("saslpasswd2", "-p", "-c", "-f", "/var/lib/postfix/sasldb", "-u", "example.test")
        for user, password in USERS.items():
            self.run(*create, user, text=password)
        shutil.chown(self.folder / "var/lib/postfix/sasldb", ACCOUNTS["postfix"])


def _place(to: str | Address) -> str:
    """A place as transport(5) writes it."""
    return f"unix:{to}" if isinstance(to, str) else f"inet:[{to[0]}]:{to[1]}"
