"""What is decided of a message before anything is said of it: how it is sent, and to whom it can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from .._addresses import Path
from .._body import has_utf8_header
from .._client_connection import ClientConnection
from .._commands import Mail, Rcpt
from .._errors import LocalProtocolError, NotOffered
from .._limits import UNLIMITED
from .._parameter_table import ParameterValue
from .._parameters import NO_PARAMETERS, Parameters, canonical_parameters, check_parameters
from .._replies import Reply
from ._result import Outcome, Status

Transfer: TypeAlias = Literal["auto", "data", "chunking"]
"""How a message is sent: with DATA; in chunks, with BDAT (RFC 3030); or in one chunk if it is small and all
can go in one flight, else with DATA. BODY=BINARYMIME needs chunks.
"""

# A message of text that is not larger is sent before it is known who wants it.
_ONE_FLIGHT = 65536


class Prepared(NamedTuple):
    """A message that may be sent, for all that is known before anything is said."""

    mail: Mail
    rcpts: Sequence[Rcpt]
    """Those who can be said."""
    body: bytes | None
    is_binary: bool
    in_chunks: bool
    in_one_flight: bool
    share: int
    """How many of them one transaction takes."""
    unsaid: Sequence[tuple[int, Outcome]]
    """The others: their places among all, in ascending order, and why."""
    given: Sequence[Path] | None
    """All recipients as they were given, if some of them are said in another way."""

    @property
    def is_split(self) -> bool:
        """Whether it needs more than one transaction."""
        return len(self.rcpts) > self.share


class _Envelope(NamedTuple):
    """Sender and recipients, as they can be said to a server."""

    sender: Path
    rcpts: Sequence[Rcpt]
    unsaid: Sequence[tuple[int, Outcome]]
    given: Sequence[Path] | None
    utf8: bool
    """Whether they need SMTPUTF8."""


def prepare(
    conn: ClientConnection,
    sender: str,
    recipients: str | Sequence[str | Rcpt],
    body: bytes | None,
    size: int | None,
    parameters: Mapping[str, ParameterValue],
    transfer: Transfer,
    allow_8bit: bool,
    idna: Callable[[str], str] | None,
) -> Prepared:
    """Judge a message, and decide how it is sent. Raises as `send_message`."""
    if isinstance(recipients, str):
        recipients = [recipients]
    rcpts = [rcpt if isinstance(rcpt, Rcpt) else Rcpt(forward_path=rcpt) for rcpt in recipients]
    if not rcpts:
        raise LocalProtocolError("a message needs a recipient")
    given = canonical_parameters("MAIL", parameters) if parameters else NO_PARAMETERS
    is_binary = given.get("BODY") == "BINARYMIME"
    in_chunks = _is_in_chunks(conn, transfer, body, is_binary)
    if body is not None:
        if not is_binary:
            conn.check_body(body)
        size = len(body) if is_binary else _size(body)
    envelope = _envelope(conn, Path(sender), rcpts, idna)
    added = _added_parameters(conn, envelope, given, body, size, allow_8bit)
    mail = Mail(reverse_path=envelope.sender, parameters={**added, **given} if added else given)
    is_small = body is not None and len(body) <= _ONE_FLIGHT
    in_one_flight = in_chunks and is_small and "PIPELINING" in conn.features
    share = len(rcpts)
    if conn.quota.limits:
        share = conn.quota.limits.get("RCPTMAX", share)
    message = Prepared(
        mail,
        envelope.rcpts,
        body,
        is_binary,
        in_chunks,
        in_one_flight,
        share,
        envelope.unsaid,
        envelope.given,
    )
    if body is None and message.is_split:
        raise LocalProtocolError(f"the body is read once, and the server takes {share} recipients at a time")
    return message


def _size(body: bytes) -> int:
    """Octets of the message with regular line ends (RFC 1870 5)."""
    pairs = body.count(b"\r\n")
    stray = body.count(b"\n") + body.count(b"\r") - 2 * pairs
    unfinished = bool(body) and not body.endswith((b"\r", b"\n"))
    return len(body) + stray + 2 * unfinished


def _is_in_chunks(conn: ClientConnection, transfer: Transfer, body: bytes | None, is_binary: bool) -> bool:
    features = conn.features
    if transfer == "data" and is_binary:
        raise LocalProtocolError("a BINARYMIME message needs BDAT (RFC 3030 3)")
    if transfer == "auto" and not is_binary:
        can = "CHUNKING" in features and "PIPELINING" in features
        return can and body is not None and len(body) <= _ONE_FLIGHT
    if transfer != "data" and "CHUNKING" not in features:
        raise NotOffered("CHUNKING", "the message is to be sent in chunks")
    return transfer != "data"


def _envelope(
    conn: ClientConnection, sender: Path, rcpts: Sequence[Rcpt], idna: Callable[[str], str] | None
) -> _Envelope:
    """What is beyond ASCII is said with SMTPUTF8 or, if it is a domain alone, in A-labels (RFC 6531 3.2)."""
    utf8 = False
    is_ascii = sender._is_ascii
    for rcpt in rcpts:
        is_ascii = is_ascii and rcpt._forward_path._is_ascii
        if rcpt._parameters:
            utf8 = utf8 or not rcpt._parameters._text.isascii()
            if not utf8 or "SMTPUTF8" in conn.features:  # else that is what is wrong
                check_parameters("RCPT", rcpt._parameters, conn.features)
    if is_ascii:
        return _Envelope(sender, rcpts, (), None, utf8)
    if "SMTPUTF8" in conn.features:
        return _Envelope(sender, rcpts, (), None, True)
    path = _in_ascii(sender, idna)
    if path is None:
        raise NotOffered("SMTPUTF8", f"the sender's address is not ASCII: {sender!r}")
    said: list[Rcpt] = []
    unsaid: list[tuple[int, Outcome]] = []
    for place, rcpt in enumerate(rcpts):
        recipient = _in_ascii(rcpt.forward_path, idna)
        if recipient is not None:
            said.append(Rcpt(forward_path=recipient, parameters=rcpt.parameters))
            continue
        reply = Reply(code=553, enhanced="5.6.7", text="the server does not offer SMTPUTF8")
        reply._to = rcpt
        unsaid.append((place, Outcome(recipient=rcpt.forward_path, status=Status.REFUSED, reply=reply)))
    if not said:
        raise NotOffered("SMTPUTF8", "no recipient's address is ASCII")
    return _Envelope(path, said, unsaid, [rcpt.forward_path for rcpt in rcpts], utf8)


def _in_ascii(path: Path, idna: Callable[[str], str] | None) -> Path | None:
    """The path with its domain in A-labels; None if that is not all it needs, or nobody knows how."""
    domain = path.domain
    if path.is_ascii:
        return path
    if domain is None or idna is None or path.route:
        return None
    try:
        ascii_path = Path(f"{path[: path._at]}@{idna(domain)}")
    except (ValueError, LocalProtocolError):
        return None
    return ascii_path if ascii_path.is_ascii else None


def _added_parameters(
    conn: ClientConnection,
    envelope: _Envelope,
    given: Parameters,
    body: bytes | None,
    size: int | None,
    allow_8bit: bool,
) -> dict[str, ParameterValue]:
    """The parameters of MAIL that are due and offered."""
    features = conn.features
    added: dict[str, ParameterValue] = {}
    if size is not None and "SIZE" in features:
        limit = features.size
        if limit is not None and size > limit:
            raise LocalProtocolError(
                f"a message of {size} octets; the server takes {limit} (RFC 1870)", code=552
            )
        added["SIZE"] = size
    utf8 = envelope.utf8 or not given._text.isascii()
    if body is not None and not body.isascii():
        if "8BITMIME" in features:
            added["BODY"] = "8BITMIME"
        elif "BODY" not in given and not allow_8bit:
            raise NotOffered("8BITMIME", "the message is not ASCII")
        if has_utf8_header(body) and ("SMTPUTF8" in features or not allow_8bit):
            utf8 = True
    if utf8:
        if "SMTPUTF8" not in features:
            raise NotOffered("SMTPUTF8", "a parameter or the header of the message is not ASCII")
        added["SMTPUTF8"] = True
    return added


def within_limits(conn: ClientConnection, message: Prepared) -> Prepared:
    """The message without the recipients for whom there is no room left in the session (RFC 9422 4.3)."""
    room = conn.quota.left("RCPTDOMAINMAX")
    if room == UNLIMITED:
        return message
    met: set[str] = set()
    said = []
    unsaid = dict(message.unsaid)
    places = [place for place in range(len(message.rcpts) + len(unsaid)) if place not in unsaid]
    for place, rcpt in zip(places, message.rcpts, strict=True):
        domain = (rcpt.forward_path.domain or "").lower()
        if domain and domain not in met and not conn.quota.has_met(domain):
            if len(met) >= room:
                unsaid[place] = Outcome(recipient=rcpt.forward_path, status=Status.UNSENT, reply=None)
                continue
            met.add(domain)
        said.append(rcpt)
    return message._replace(rcpts=said, unsaid=[(place, unsaid[place]) for place in sorted(unsaid)])
