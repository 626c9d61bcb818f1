"""What the state alone cannot tell: rules about extensions, the same for both roles.

A client must not say what the server did not offer; a server must not take it. One function judges for
both: what it raises stops a client's `send()`, and at a server becomes the refusal that it carries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ._addresses import Path
from ._commands import (
    Auth,
    AuthResponse,
    Command,
    Data,
    Ehlo,
    Expn,
    Helo,
    Lhlo,
    Mail,
    Rcpt,
    StartTLS,
    Vrfy,
)
from ._errors import LocalProtocolError
from ._extension_commands import Burl, XClient, XForward
from ._features import Features
from ._limits import Quota
from ._parameters import check_parameters
from ._replies import AuthChallenge, Greeting, Hello, Reply
from ._state import TABLE, Opening


class Session(Protocol):
    """What a rule may look at."""

    @property
    def lmtp(self) -> bool: ...
    @property
    def tls(self) -> bool: ...
    @property
    def authenticated(self) -> bool: ...
    @property
    def features(self) -> Features: ...
    @property
    def quota(self) -> Quota: ...
    @property
    def mail(self) -> Mail | None: ...


def _smtp_only(session: Session, command: Ehlo | Helo) -> None:
    if session.lmtp:  # RFC 2033 4.1: "MUST NOT be implemented"
        raise LocalProtocolError(f"{command.verb} in LMTP; say LHLO", code=500, enhanced="5.5.1")


def _lmtp_only(session: Session, command: Lhlo) -> None:
    if not session.lmtp:
        raise LocalProtocolError("LHLO in SMTP; say EHLO", code=500, enhanced="5.5.1")


def _starttls(session: Session, command: StartTLS) -> None:
    if session.tls:  # RFC 3207 4.2
        raise LocalProtocolError("TLS is active already", code=503, enhanced="5.5.1")
    _offered(session, command)


def _auth(session: Session, command: Auth) -> None:
    if session.authenticated:  # RFC 4954 4: no second AUTH after a successful one
        raise LocalProtocolError("authenticated already", code=503, enhanced="5.5.1")
    _offered(session, command)
    if command.mechanism not in session.features.auth:
        raise LocalProtocolError(f"{command.mechanism} is not offered", code=504, enhanced="5.5.4")


def check_mail(session: Session, command: Mail) -> None:
    parameters = command._parameters
    if parameters:
        check_parameters("MAIL", parameters, session.features)
        if "REQUIRETLS" in parameters and not session.tls:  # RFC 8689 4.1
            raise LocalProtocolError("REQUIRETLS without TLS", code=530, enhanced="5.7.10")
    if not command._reverse_path._is_ascii:
        _utf8(command._reverse_path, command)
    if session.quota.limits:
        session.quota.count_mail()


def check_rcpt(session: Session, command: Rcpt) -> None:
    if command._parameters:
        check_parameters("RCPT", command._parameters, session.features)
    if not command._forward_path._is_ascii:
        _utf8(command._forward_path, session.mail)
    if session.quota.limits:
        session.quota.count_rcpt(command._forward_path.domain)


def _data(session: Session, command: Data) -> None:
    mail = session.mail if "BINARYMIME" in session.features else None
    if mail is not None and mail.parameters.get("BODY") == "BINARYMIME":  # RFC 3030 3
        raise LocalProtocolError("a BINARYMIME message needs BDAT", code=503, enhanced="5.5.1")


def _question(session: Session, command: Vrfy | Expn) -> None:
    if command.smtputf8 and "SMTPUTF8" not in session.features:
        raise LocalProtocolError("SMTPUTF8 is not offered", code=555)
    if not command.smtputf8 and not command.argument.isascii():  # RFC 6531 3.7.4.2
        raise LocalProtocolError("an argument beyond ASCII needs SMTPUTF8", code=553, enhanced="5.6.7")


def _burl(session: Session, command: Burl) -> None:
    _offered(session, command)
    if not command.last and "CHUNKING" not in session.features:  # RFC 4468 3.2
        raise LocalProtocolError("without CHUNKING a BURL is the last", code=503, enhanced="5.5.1")


def _attributes(session: Session, command: XClient | XForward) -> None:
    _offered(session, command)
    names = session.features.xclient if isinstance(command, XClient) else session.features.xforward
    for name in command.attributes:
        if name not in names:
            raise LocalProtocolError(f"{command.verb} does not take {name}")


def _offered(session: Session, command: Command) -> None:
    if command.keyword not in session.features:
        raise LocalProtocolError(f"{command.keyword} is not offered", code=502, enhanced="5.5.1")


def _utf8(path: Path, mail: Mail | None) -> None:
    if mail is not None and "SMTPUTF8" not in mail.parameters:  # RFC 6531 3.5
        raise LocalProtocolError(
            f"an address beyond ASCII needs SMTPUTF8 on MAIL: {path!r}", code=553, enhanced="5.6.7"
        )


RULES: dict[type[Command], Callable[[Any, Any], None]] = {
    **{kind: _offered for row in TABLE.values() for kind in row if kind.keyword},
    Ehlo: _smtp_only,
    Helo: _smtp_only,
    Lhlo: _lmtp_only,
    StartTLS: _starttls,
    Auth: _auth,
    Mail: check_mail,
    Rcpt: check_rcpt,
    Data: _data,
    Vrfy: _question,
    Expn: _question,
    Burl: _burl,
    XClient: _attributes,
    XForward: _attributes,
}


# The answers that are more than a code and text: to what, with which codes, and what they are.
SPECIAL_ANSWERS: dict[type[Command], tuple[range, type[Reply]]] = {
    Opening: (range(220, 221), Greeting),
    Ehlo: (range(200, 300), Hello),
    Lhlo: (range(200, 300), Hello),
    Auth: (range(334, 335), AuthChallenge),
    AuthResponse: (range(334, 335), AuthChallenge),
    XClient: (range(220, 221), Greeting),
}
_PLAIN = (range(0), Reply)


def check_answer(kind: type[Command], reply: Reply) -> None:
    """Raise `LocalProtocolError` if `reply` is of another class than the answer to `kind` has."""
    codes, special = SPECIAL_ANSWERS.get(kind, _PLAIN)
    if type(reply) is not (special if reply.code in codes else Reply):
        raise LocalProtocolError(f"{reply!r} is no answer to {kind.__name__}")
