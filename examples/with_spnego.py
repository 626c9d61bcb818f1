"""A mechanism of your own: NTLM ([MS-SMTPNTLM]), which `smtp_proto.sasl` has not, by pyspnego. Both ends.

    python examples/with_spnego.py

A server that offers NTLM, and a client that logs in to it and sends a message. Prints who was authenticated.
For the client's part alone, with a server that you have: `client.login(user, password, mechanisms=[Ntlm()])`.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from pathlib import Path

import spnego
from spnego.exceptions import SpnegoError

from smtp_proto.ops import Session
from smtp_proto.sasl import AuthFailed, Client, Context, Credentials, Identity, SASLError, Server
from smtp_transports.auth import AuthSettings
from smtp_transports.blocking import connect, serve
from smtp_transports.handlers import Mailbox

PURE_PYTHON = {"protocol": "ntlm", "options": spnego.NegotiateOptions.use_ntlm}

MALFORMED = (SpnegoError, ValueError, struct.error)  # what pyspnego raises for octets that are none of NTLM

DOMAIN, NAME, PASSWORD = "EXAMPLE", "ada", "correct horse"


class Ntlm:
    """The attributes of `smtp_proto.sasl.Mechanism`. A user is `DOMAIN\\name`."""

    name = "NTLM"
    needs = frozenset({"user", "password"})
    sends_secret = needs_binding = can_authorize = only_by_name = False
    client_first = True

    def client(self, credentials: Credentials, context: Context) -> Client:
        own = {"username": credentials.user, "password": credentials.password}
        ntlm = spnego.client(**own, hostname=context.host or None, service="smtp", **PURE_PYTHON)
        challenge = None
        try:
            while not ntlm.complete:
                challenge = yield ntlm.step(challenge)
        except MALFORMED as exc:
            raise SASLError(f"not a message of NTLM: {exc}") from exc
        if challenge is not None:
            raise SASLError("a challenge behind the last message of NTLM")

    def server(self, context: Context, initial: bytes | None) -> Server:
        """The passwords are in the file that the environment variable NTLM_USER_FILE names: nothing is asked
        of the handler.
        """
        ntlm = spnego.server(hostname=context.host or None, service="smtp", **PURE_PYTHON)
        response = (yield b"") if initial is None else initial
        try:
            while (challenge := ntlm.step(response)) is not None:
                response = yield challenge
        except MALFORMED as exc:
            raise AuthFailed from exc
        return Identity(ntlm.client_principal)


class Members(Mailbox):
    def message(self, session: Session) -> None:
        print("from", session.user)
        super().message(session)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        users = Path(folder) / "users"
        users.write_text(f"{DOMAIN}:{NAME}:{PASSWORD}\n", "utf-8")
        os.environ["NTLM_USER_FILE"] = str(users)
        auth = AuthSettings([Ntlm()], required=True)
        with serve(Members(), auth=auth) as server, connect(*server.address) as client:
            print(client.login(f"{DOMAIN}\\{NAME}", PASSWORD, mechanisms=[Ntlm()]))
            message = b"Subject: hi\r\n\r\nhi\r\n"
            result = client.send_message("ada@example.org", ["bob@example.com"], message)
    return 0 if result.all_accepted else 1


if __name__ == "__main__":
    sys.exit(main())
