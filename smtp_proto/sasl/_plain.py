"""PLAIN (RFC 4616), and LOGIN, which no RFC has: the password itself goes over the wire."""

from __future__ import annotations

from ._errors import AuthFailed, SASLError
from ._grammar import challenge, decode, end, response
from ._prepare import identity, saslprep
from ._values import CheckPassword, Client, Context, Credentials, Identity, Server, answer_of, only_self

# What old clients know, to the letter; others do not look (draft-murchison-sasl-login).
_USER, _PASSWORD = b"Username:", b"Password:"


def plain_client(name: str, credentials: Credentials, context: Context) -> Client:
    """RFC 4616 2: `[authzid] NUL authcid NUL passwd`. No NUL is left in any of the three."""
    authorize_as = identity(credentials.authorize_as)
    question = _prepared(credentials.user, credentials.password or "", authorize_as)
    end((yield f"{authorize_as}\0{question.user}\0{question.password}".encode()))


def plain_server(name: str, context: Context, initial: bytes | None) -> Server:
    words = response((yield b"") if initial is None else initial).split(b"\0")
    if len(words) != 3:
        raise SASLError("not a message of PLAIN (RFC 4616 2)")
    authorize_as, user, password = map(decode, words)
    question = _heard(user, password, identity(authorize_as))
    return _judged(question, (yield question))


def login_client(name: str, credentials: Credentials, context: Context) -> Client:
    """The server asks twice; how it words that is its own business."""
    only_self(credentials, name)
    question = _prepared(credentials.user, credentials.password or "")
    challenge((yield None))
    challenge((yield question.user.encode()))
    end((yield question.password.encode()))


def login_server(name: str, context: Context, initial: bytes | None) -> Server:
    """Some clients send the user name as an initial response."""
    user = response((yield _USER) if initial is None else initial)
    password = response((yield _PASSWORD))
    question = _heard(decode(user), decode(password))
    return _judged(question, (yield question))


def _heard(user: str, password: str, authorize_as: str = "") -> CheckPassword:
    """What nobody can have as a name or a password is a wrong one; to leave one out is an error."""
    try:
        return _prepared(user, password, authorize_as)
    except SASLError as exc:
        if user and password:
            raise AuthFailed from exc
        raise


def _prepared(user: str, password: str, authorize_as: str = "") -> CheckPassword:
    """Both sides prepare, by the same rules: what one has prepared the other does not change."""
    return CheckPassword(saslprep(user, "the user name"), saslprep(password, "the password"), authorize_as)


def _judged(question: CheckPassword, answer: object) -> Identity:
    answer_of(answer, CheckPassword, bool)
    if not answer:
        raise AuthFailed
    return Identity(question.user, question.authorize_as)
